//! JSON objects that we define: known members only, each of its type.
//!
//! Not for values and patches, which stay bytes. Invariant: a member that nobody reads is refused.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millpond_schemas::json;
use serde_json::{Map, Value};

use crate::problem::{Code, Problem};

/// A checked object.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads an object: strict JSON without duplicate names.
    ///
    /// # Errors
    /// `value-invalid` with a pointer.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Problem> {
        json::check(text).map_err(Problem::of_json)?;
        match serde_json::from_slice(text) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(invalid("", "the body is a JSON object")),
            Err(_) => Err(invalid("", "not valid JSON")),
        }
    }

    /// Refuses members that are not among `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        if self.0.keys().all(|name| known.contains(&name.as_str())) {
            return Ok(());
        }
        Err(Problem::new(Code::UnknownField, format!("the members here are {}", known.join(", "))))
    }

    /// A member as it is.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A string.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let wrong = || invalid(&format!("/{name}"), "this is a string");
        self.0.get(name).map(|value| value.as_str().ok_or_else(wrong)).transpose()
    }

    /// A whole number that fits 64 bits.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Problem> {
        let wrong = || invalid(&format!("/{name}"), "this is a whole number of at most 64 bits");
        self.0.get(name).map(|value| value.as_i64().ok_or_else(wrong)).transpose()
    }

    /// Bytes: the string `name` as UTF-8, or `<name>_b64` in standard base64; not both.
    pub(crate) fn bytes(&self, name: &str) -> Result<Option<Bytes>, Problem> {
        let name_b64 = format!("{name}_b64");
        match (self.text(name)?, self.text(&name_b64)?) {
            (Some(_), Some(_)) => {
                Err(Problem::new(Code::ValueInvalid, format!("{name} or {name_b64}, not both")))
            }
            (Some(text), None) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
            (None, Some(text)) => {
                let decoded = STANDARD.decode(text);
                let wrong = |_| invalid(&format!("/{name_b64}"), "this is standard base64 with padding");
                decoded.map(|bytes| Some(bytes.into())).map_err(wrong)
            }
            (None, None) => Ok(None),
        }
    }
}

fn invalid(pointer: &str, detail: &'static str) -> Problem {
    Problem::new(Code::ValueInvalid, detail).at(pointer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_read_by_type() {
        let fields = Fields::parse(br#"{"s":"x","n":-5,"v_b64":"//4="}"#).unwrap();
        assert_eq!(fields.text("s").unwrap(), Some("x"));
        assert_eq!(fields.integer("n").unwrap(), Some(-5));
        assert_eq!(fields.integer("m").unwrap(), None);
        assert_eq!(fields.bytes("v").unwrap(), Some(Bytes::from_static(b"\xff\xfe")));
        assert!(fields.only(&["s", "n", "v_b64"]).is_ok());
        assert_eq!(fields.only(&["s", "n"]).unwrap_err().code(), Code::UnknownField);
    }

    #[test]
    fn wrong_types_and_broken_json_are_refused() {
        for text in ["", "[]", "1", "{", "{\"a\":1,\"a\":2}", "{\"a\":NaN}", "{\"a\":\"\\ud800\"}"] {
            assert_eq!(Fields::parse(text.as_bytes()).unwrap_err().code(), Code::ValueInvalid, "{text}");
        }
        let fields = Fields::parse(br#"{"n":1.5,"s":1,"big":9223372036854775808,"v":"a","v_b64":"YQ=="}"#);
        let fields = fields.unwrap();
        assert!(fields.integer("n").is_err());
        assert!(fields.integer("big").is_err());
        assert!(fields.text("s").is_err());
        assert!(fields.bytes("v").is_err());
        assert!(Fields::parse(br#"{"v_b64":"YQ"}"#).unwrap().bytes("v").is_err());
    }

    proptest! {
        #[test]
        fn every_i64_is_read_back(number in any::<i64>()) {
            let fields = Fields::parse(format!("{{\"n\":{number}}}").as_bytes()).unwrap();
            prop_assert_eq!(fields.integer("n").unwrap(), Some(number));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Fields::parse(&bytes);
        }
    }
}
