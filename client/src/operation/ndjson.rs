//! An operation as a line of `/batch`.
//!
//! Invariant: what is UTF-8 is a JSON string, anything else stands in base64, under the name that says so.

use serde_json::{Map, Value};

use super::{Change, Condition, Expiry, Operation, rfc3339};
use crate::opaque;

/// Appends the line and its newline.
pub(super) fn write(operation: &Operation, body: &mut Vec<u8>) {
    let line = Value::Object(line(operation));
    serde_json::to_writer(&mut *body, &line).expect("JSON is written into memory");
    body.push(b'\n');
}

fn line(operation: &Operation) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("op".to_owned(), name(&operation.change).into());
    opaque::insert(&mut line, "key", &operation.key);
    fill(&mut line, &operation.change);
    match &operation.condition {
        Condition::None => {}
        Condition::Version(version) => drop(line.insert("if_version".to_owned(), version.as_str().into())),
        Condition::Absent => drop(line.insert("if_absent".to_owned(), true.into())),
    }
    line
}

fn name(change: &Change) -> &'static str {
    match change {
        Change::Put { .. } => "put",
        Change::Delete => "delete",
        Change::Ttl { .. } => "ttl",
        Change::Increment { .. } => "increment",
        Change::Append { .. } => "append",
        Change::MergePatch(_) => "merge-patch",
        Change::JsonPatch(_) => "json-patch",
    }
}

fn fill(line: &mut Map<String, Value>, change: &Change) {
    match change {
        Change::Put { value, content_type, expiry } => {
            opaque::insert(line, "value", value);
            line.insert("content_type".to_owned(), content_type.as_str().into());
            expire(line, *expiry);
        }
        Change::Delete => {}
        Change::Ttl { expiry, mode } => {
            expire(line, *expiry);
            line.insert("mode".to_owned(), serde_json::to_value(mode).expect("a mode is a word"));
        }
        Change::Increment { by, initial } => {
            line.insert("by".to_owned(), (*by).into());
            line.insert("initial".to_owned(), (*initial).into());
        }
        Change::Append { value } => opaque::insert(line, "value", value),
        Change::MergePatch(patch) | Change::JsonPatch(patch) => {
            // Numbers keep their digits and objects their order; what is no JSON the server refuses by its line.
            let patch = serde_json::from_str(patch).unwrap_or_else(|_| patch.as_str().into());
            line.insert("patch".to_owned(), patch);
        }
    }
}

fn expire(line: &mut Map<String, Value>, expiry: Expiry) {
    match expiry {
        Expiry::Never => {}
        Expiry::After(ttl) => drop(line.insert("ttl".to_owned(), format!("{}ms", ttl.as_millis()).into())),
        Expiry::AtMillis(ms) => drop(line.insert("expires_at".to_owned(), rfc3339::of_millis(ms).into())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Encoding;

    #[test]
    fn every_kind_is_a_line_of_the_contract() {
        let mut body = Vec::new();
        for operation in super::super::tests::some() {
            operation.write(Encoding::Ndjson, &mut body);
        }
        let body = String::from_utf8(body).unwrap();
        let expected = r#"{"op":"put","key_b64":"/wA=","value":"é","content_type":"text/plain","ttl":"1500ms","if_absent":true}
{"op":"put","key":"a","value_b64":"/g==","content_type":"x/y"}
{"op":"delete","key":"a","if_version":"1-3-42"}
{"op":"put","key":"a","value":"é","content_type":"text/plain","expires_at":"2026-01-01T00:00:00.123Z"}
{"op":"ttl","key":"a","ttl":"1500ms","mode":"only_longer"}
{"op":"ttl","key":"a","mode":"set"}
{"op":"increment","key":"a","by":-3,"initial":7}
{"op":"append","key":"a","value":"\n"}
{"op":"merge-patch","key":"a","patch":{"a":1}}
{"op":"json-patch","key":"a","patch":[]}
"#;
        assert_eq!(body, expected);
    }
}
