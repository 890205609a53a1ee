//! The headers of answers: what each says, and its form.
//!
//! Invariant: every header that an answer refers to is in this table.

use http::HeaderName;
use serde_json::{Value, json};

use super::{build, schemas::POSITIONS_PATTERN};

/// The headers that answers have.
const NAMES: [&str; 19] = [
    "x-request-id",
    "retry-after",
    "www-authenticate",
    "allow",
    "kv-position",
    "kv-staleness-ms",
    "kv-expires-at",
    "kv-duplicate",
    "etag",
    "last-modified",
    "cache-control",
    "location",
    "preference-applied",
    "x-content-type-options",
    "content-security-policy",
    "accept-patch",
    "accept-post",
    "accept-query",
    "accept-encoding",
];

/// What a header says, and its schema.
fn row(name: &str) -> Option<(&'static str, Value)> {
    let text = || json!({ "type": "string" });
    Some(match name {
        "x-request-id" => {
            ("Names the call in the server's log; the problem's `request_id` says the same.", text())
        }
        "retry-after" => ("When to come back, in seconds.", json!({ "type": "integer", "minimum": 0 })),
        "www-authenticate" => ("What a token is to be sent as.", text()),
        "allow" => ("The methods that the path takes.", text()),
        "kv-position" => (
            "On a write, the mutation's own position; of a batch, the highest of each partition. On a read, the position \
             of the state that was read. What follows it can be read with `KV-Min-Position`.",
            json!({ "type": "string", "pattern": POSITIONS_PATTERN }),
        ),
        "kv-staleness-ms" => (
            "By how many milliseconds the state that was read is behind the known end of the log; 0: it is not.",
            json!({ "type": "integer", "minimum": 0 }),
        ),
        "kv-expires-at" => ("When the key expires.", json!({ "type": "string", "format": "date-time" })),
        "kv-duplicate" => (
            "An earlier call with the same Idempotency-Key stands; this is its answer.",
            json!({ "const": "true" }),
        ),
        "etag" => (
            "The version: of a row, the position of the mutation that last changed it, the same on every replica.",
            json!({ "type": "string", "pattern": "^\"[!#-~]+\"$" }),
        ),
        "last-modified" => ("When the row last changed, to the second.", text()),
        "cache-control" => ("A cache asks again before it answers.", text()),
        "location" => (
            "Where to ask what became of the mutation.",
            json!({ "type": "string", "pattern": "^/mutations/" }),
        ),
        "preference-applied" => ("The part of `Prefer` that was honoured.", text()),
        "x-content-type-options" => {
            ("A browser does not guess what the bytes are.", json!({ "const": "nosniff" }))
        }
        "content-security-policy" => ("The page loads nothing from elsewhere.", text()),
        "accept-patch" => ("The media types that PATCH takes.", text()),
        "accept-post" => ("The media types that POST takes.", text()),
        "accept-query" => ("The media types of a query.", text()),
        "accept-encoding" => ("The content encodings that a body may have.", text()),
        _ => return None,
    })
}

/// A reference to a header of an answer.
pub(super) fn told(name: &HeaderName, required: bool) -> Value {
    let shown = build::shown(name);
    let kind = if required { "" } else { MAYBE };
    json!({ "$ref": format!("#/components/headers/{shown}{kind}") })
}

/// Behind the name of a header that is not always there.
const MAYBE: &str = "-maybe";

/// The headers that are referred to in `document`, by name.
pub(super) fn all(document: &Value) -> Vec<(String, Value)> {
    let text = document.to_string();
    let header = |name: &&str| {
        let (description, schema) = row(name)?;
        Some((build::shown(&HeaderName::try_from(*name).ok()?), build::text(description), schema))
    };
    let each = NAMES.iter().filter_map(header).flat_map(|(name, description, schema)| {
        ["", MAYBE].map(|kind| {
            let told = json!({
                "description": description, "required": kind.is_empty(), "schema": schema,
            });
            (format!("{name}{kind}"), told)
        })
    });
    each.filter(|(name, _)| text.contains(&format!("#/components/headers/{name}\""))).collect()
}
