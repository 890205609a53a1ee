//! A batch as one JSON array: its elements, not yet looked into.
//!
//! Invariant: what is no JSON array, to its last byte, has no elements at all.

use std::fmt;

use millpond_schemas::limits::BATCH_OPERATIONS_MAX;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::operations::too_many;
use crate::problem::{Code, Problem};

/// The elements, in order.
///
/// # Errors
/// 400 where it is malformed anywhere, 413 as soon as there are too many.
pub(super) fn elements(body: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    let mut elements = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = reader.deserialize_seq(Elements(&mut elements)).and_then(|()| reader.end());
    match read {
        _ if elements.len() > BATCH_OPERATIONS_MAX => Err(too_many()),
        Ok(()) => Ok(elements),
        Err(_) => Err(Problem::new(Code::BodyInvalid, "the body is not a JSON array")),
    }
}

struct Elements<'v, 'a>(&'v mut Vec<&'a RawValue>);

impl<'a> Visitor<'a> for Elements<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            self.0.push(element);
            if self.0.len() > BATCH_OPERATIONS_MAX {
                return Err(A::Error::custom("too many"));
            }
        }
        Ok(())
    }
}
