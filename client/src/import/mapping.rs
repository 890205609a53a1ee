//! What a line means: an operation of `/batch`, or a value to put under a key that it holds.
//!
//! Invariant: nothing that a line says is re-serialised: an operation is sent as it stands, with one field added, and a
//! value is the line's own bytes.

use std::{borrow::Cow, io::Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};
use xxhash_rust::xxh3::xxh3_64;

/// What the lines of an input are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Operations as `/batch` takes them: `{"op":"put","key":"a","value":"1"}`.
    Operations,
    /// JSON documents: each is put whole, as `application/json`, under a key made of its own fields.
    Documents {
        /// JSON Pointers to strings, numbers or booleans, at least one.
        key_pointers: Vec<String>,
        /// Between the fields of a key.
        separator: String,
        /// Before every key.
        prefix: String,
    },
}

/// Why a line cannot be sent at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsendable {
    pub(super) code: &'static str,
    /// Holds no user data.
    pub(super) detail: String,
}

/// The fields of an operation that an import looks at.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    key_b64: Option<&'a RawValue>,
    idempotency_key: Option<IgnoredAny>,
}

#[derive(Serialize)]
struct Put<'a> {
    idempotency_key: &'a str,
    op: &'static str,
    key: &'a str,
    content_type: &'static str,
    value: &'a str,
}

impl Mapping {
    /// Two imports of one input with different mappings have nothing in common.
    pub(super) fn fingerprint(&self) -> String {
        match self {
            Self::Operations => "operations".to_owned(),
            Self::Documents { key_pointers, separator, prefix } => {
                serde_json::to_string(&(key_pointers, separator, prefix)).expect("strings serialise")
            }
        }
    }

    /// Appends the operation that `line` stands for and a newline to `out`; returns a hash of its key.
    pub(super) fn write(&self, line: &[u8], id: &str, out: &mut Vec<u8>) -> Result<u64, Unsendable> {
        match self {
            Self::Operations => write_operation(line, id, out),
            Self::Documents { key_pointers, separator, prefix } => {
                let text = std::str::from_utf8(line).map_err(|_| unsendable("is not UTF-8"))?;
                let document = serde_json::from_str(text).map_err(|error| not_json(&error))?;
                let mut key = prefix.clone();
                for (n, pointer) in key_pointers.iter().enumerate() {
                    key.push_str(if n == 0 { "" } else { separator });
                    key.push_str(&field(&document, pointer)?);
                }
                let put = Put {
                    idempotency_key: id,
                    op: "put",
                    key: &key,
                    content_type: "application/json",
                    value: text,
                };
                serde_json::to_writer(&mut *out, &put).expect("strings serialise into memory");
                out.push(b'\n');
                Ok(xxh3_64(key.as_bytes()))
            }
        }
    }
}

fn write_operation(line: &[u8], id: &str, out: &mut Vec<u8>) -> Result<u64, Unsendable> {
    let line = line.trim_ascii();
    let head: Head<'_> = serde_json::from_slice(line).map_err(|error| not_json(&error))?;
    let Some(rest) = line.strip_prefix(b"{") else { return Err(unsendable("is not a JSON object")) };
    if head.idempotency_key.is_some() {
        out.extend_from_slice(line);
    } else {
        let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
        write!(out, "{{\"idempotency_key\":\"{id}\"{comma}").expect("memory takes every write");
        out.extend_from_slice(rest);
    }
    out.push(b'\n');
    Ok(key_hash(&head))
}

/// The same for one key in any spelling; a key that is none may go anywhere, the server refuses its line.
fn key_hash(head: &Head<'_>) -> u64 {
    let text = |raw: &RawValue| serde_json::from_str::<Cow<'_, str>>(raw.get()).ok().map(Cow::into_owned);
    if let Some(key) = head.key.and_then(text) {
        return xxh3_64(key.as_bytes());
    }
    let decoded = head.key_b64.and_then(text).and_then(|key| STANDARD.decode(key).ok());
    decoded.map_or(0, |key| xxh3_64(&key))
}

fn field(document: &Value, pointer: &str) -> Result<String, Unsendable> {
    match document.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(bool)) => Ok(bool.to_string()),
        Some(_) => Err(unsendable(format!("has no string, number or boolean at {pointer}"))),
        None => Err(unsendable(format!("has nothing at {pointer}"))),
    }
}

/// Only the place: serde's own words could quote the line.
fn not_json(error: &serde_json::Error) -> Unsendable {
    let what = if error.is_data() { "is no operation" } else { "is not JSON" };
    unsendable(format!("{what}, at column {}", error.column()))
}

fn unsendable(detail: impl Into<String>) -> Unsendable {
    Unsendable { code: "line-invalid", detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(mapping: &Mapping, line: &str) -> Result<(String, u64), Unsendable> {
        let mut out = Vec::new();
        let hash = mapping.write(line.as_bytes(), "f:1:a", &mut out)?;
        Ok((String::from_utf8(out).unwrap(), hash))
    }

    #[test]
    fn an_operation_is_sent_as_it_stands_with_one_field_more() {
        let (line, _) = write(&Mapping::Operations, r#" { "op":"put", "key":"a","value":"1"}"#).unwrap();
        assert_eq!(line, "{\"idempotency_key\":\"f:1:a\", \"op\":\"put\", \"key\":\"a\",\"value\":\"1\"}\n");
        let (line, _) = write(&Mapping::Operations, "{ }").unwrap();
        assert_eq!(line, "{\"idempotency_key\":\"f:1:a\" }\n");
        let own = r#"{"op":"delete","key":"a","idempotency_key":"mine"}"#;
        assert_eq!(write(&Mapping::Operations, own).unwrap().0, format!("{own}\n"));
    }

    #[test]
    fn every_spelling_of_a_key_goes_to_one_lane() {
        let hash = |line: &str| write(&Mapping::Operations, line).unwrap().1;
        let plain = hash(r#"{"key":"a"}"#);
        assert_eq!(hash(r#"{"key":"\u0061"}"#), plain);
        assert_eq!(hash(r#"{"key_b64":"YQ=="}"#), plain);
        assert_ne!(hash(r#"{"key":"b"}"#), plain);
    }

    #[test]
    fn a_line_that_is_no_object_is_not_sent_and_not_quoted() {
        for line in ["secret", "[1]", "{\"key\":\"secret\"", "{\"key\":1,\"key\":2}", "null"] {
            let error = write(&Mapping::Operations, line).unwrap_err();
            assert!(error.code == "line-invalid" && !error.detail.contains("secret"), "{line}: {error:?}");
        }
    }

    #[test]
    fn a_document_is_put_byte_for_byte_under_its_own_fields() {
        let mapping = Mapping::Documents {
            key_pointers: vec!["/a/id".into(), "/n".into()],
            separator: "-".into(),
            prefix: "x:".into(),
        };
        let document = r#"{"n": 1.50, "a":{"id":"é\"\t"}}"#;
        let (line, _) = write(&mapping, document).unwrap();
        let put: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(put["key"], "x:é\"\t-1.50");
        assert_eq!(put["value"], document);
        assert_eq!((&put["op"], &put["content_type"]), (&"put".into(), &"application/json".into()));
        assert_eq!(write(&mapping, "{}").unwrap_err().detail, "has nothing at /a/id");
    }
}
