//! Which form a batch has: its media type.
//!
//! Not here: reading it. Invariant: the three carry the same operations under the same rules.

use http::{HeaderMap, HeaderValue, header};

use crate::{
    headers::{self, ACCEPT_POST},
    problem::{Code, Problem},
};

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";
/// The three, as `Accept-Post` lists them.
const ACCEPTED: &str = "application/x-ndjson, application/json, application/x-protobuf";

/// How the operations follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A JSON object a line; a bad line fails alone.
    Lines,
    /// An array of such objects.
    Array,
    /// `millpond.v1.Record`s, each after its length as a varint.
    Records,
}

impl Form {
    /// The one that the Content-Type says.
    ///
    /// # Errors
    /// 415 with those that there are.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = headers::single(headers, &header::CONTENT_TYPE, Code::ContentTypeInvalid)?;
        Self::named(text.unwrap_or_default()).ok_or_else(|| {
            Problem::new(Code::MediaTypeUnsupported, "the content type names the form of the batch")
                .header(ACCEPT_POST.clone(), HeaderValue::from_static(ACCEPTED))
        })
    }

    /// The form of this media type.
    pub(crate) fn named(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let forms = [(NDJSON, Self::Lines), (JSON, Self::Array), (PROTOBUF, Self::Records)];
        forms.into_iter().find(|(name, _)| essence.eq_ignore_ascii_case(name)).map(|(_, form)| form)
    }
}
