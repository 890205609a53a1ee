//! Small pieces that the document is put together from.
//!
//! Pure. Invariant: names of headers come from `http` and `headers.rs`, never spelled here a second time.

use http::HeaderName;
use serde_json::{Map, Value, json};

/// A JSON object of these members.
pub(super) fn object(members: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(members.into_iter().collect::<Map<_, _>>())
}

/// A reference to a named schema.
pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A body that is JSON of this schema.
pub(super) fn json_of(schema: &Value, example: &Value) -> Value {
    json!({ "application/json": { "schema": schema, "example": example } })
}

/// A header's name as people write it.
pub(super) fn shown(name: &HeaderName) -> String {
    let word = |word: &str| match word {
        "kv" => "KV".to_owned(),
        "www" => "WWW".to_owned(),
        "etag" => "ETag".to_owned(),
        "ttl" => "TTL".to_owned(),
        _ => {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        }
    };
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}

/// Text that lies on several lines here, as one line.
pub(super) fn text(lines: &str) -> String {
    lines.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::headers;

    #[test]
    fn headers_are_shown_as_the_contract_writes_them() {
        for (name, expected) in [
            (&headers::KV_POSITION, "KV-Position"),
            (&headers::KV_TTL, "KV-TTL"),
            (&headers::X_REQUEST_ID, "X-Request-Id"),
            (&header::ETAG, "ETag"),
            (&header::WWW_AUTHENTICATE, "WWW-Authenticate"),
            (&header::IF_NONE_MATCH, "If-None-Match"),
        ] {
            assert_eq!(shown(name), expected);
        }
    }
}
