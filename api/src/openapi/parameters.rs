//! The named parameters: of the path, of the query, of headers.
//!
//! Invariant: a parameter is named once here; operations refer to it.

use http::{HeaderName, header};
use serde_json::{Value, json};

use super::{
    build::{self, schema, text},
    query_schemas,
    schemas::{DURATION_PATTERN, POSITION, POSITIONS_PATTERN},
};
use crate::headers;

/// All of them, by name.
pub(super) fn all() -> impl Iterator<Item = (String, Value)> {
    let all = path()
        .into_iter()
        .chain(of_headers())
        .chain(of_write_headers())
        .chain(of_other_headers())
        .chain(of_query());
    all.map(|(name, parameter)| (name.to_owned(), parameter))
}

fn path() -> Vec<(&'static str, Value)> {
    let key = "1 to 1024 bytes of anything. Percent-encoded once, slashes too where a client's library wants them so: `a/b` \
               and `a%2Fb` are one key. Keys that clients mangle (`.`, `..`, `//`) are reached through `key_b64` in `/batch` \
               and `/kv/query`.";
    vec![
        (
            "Key",
            json!({
                "name": "key", "in": "path", "required": true, "description": text(key),
                "schema": { "type": "string", "minLength": 1, "maxLength": 1024 }, "example": "users/1",
            }),
        ),
        (
            "PositionInPath",
            json!({
                "name": "position", "in": "path", "required": true,
                "description": "As `Location` and `KV-Position` told it.",
                "schema": schema("Position"), "example": POSITION,
            }),
        ),
    ]
}

/// A header with its schema and, in most cases, an example.
fn of_header(name: &HeaderName, description: &str, schema: &Value, example: Option<&str>) -> Value {
    let mut told = json!({
        "name": build::shown(name), "in": "header", "description": text(description), "schema": schema,
    });
    if let Some(example) = example {
        told["schema"]["examples"] = json!([example]);
    }
    told
}

/// Whose keys, and how long they live.
fn of_headers() -> Vec<(&'static str, Value)> {
    let plain = json!({ "type": "string" });
    let of = of_header;
    vec![
        (
            "Tenant",
            of(
                &headers::KV_TENANT,
                "Whose keys: selects among the tenants that the token allows. Where there are no \
            tokens, any; `default` without it.",
                &json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$" }),
                None,
            ),
        ),
        (
            "RequestId",
            of(
                &headers::X_REQUEST_ID,
                "Taken over when it is 1 to 128 of letters, digits and `-_.:/+=`; else the \
            server makes one.",
                &plain,
                None,
            ),
        ),
        (
            "TtlHeader",
            of(
                &headers::KV_TTL,
                "How long the key lives, from when the log has it: at most one of `KV-TTL`, \
            `?ttl=` and `KV-Expires-At`.",
                &json!({ "type": "string", "pattern": DURATION_PATTERN }),
                Some("15m"),
            ),
        ),
        (
            "ExpiresAt",
            of(
                &headers::KV_EXPIRES_AT,
                "When the key expires: 1 s to 10 years ahead.",
                &json!({ "type": "string", "format": "date-time" }),
                None,
            ),
        ),
    ]
}

/// Conditions, and how a write is answered.
fn of_write_headers() -> Vec<(&'static str, Value)> {
    let plain = json!({ "type": "string" });
    let of = of_header;
    vec![
        (
            "IfMatch",
            of(
                &header::IF_MATCH,
                "One strong ETag, as a read gave it, or `*` for any version. Judged in log order.",
                &json!({ "type": "string", "pattern": "^(\\*|\"[!#-~]+\")$", "maxLength": 257 }),
                None,
            ),
        ),
        (
            "IfAbsent",
            of(&header::IF_NONE_MATCH, "Only where the key does not exist.", &json!({ "const": "*" }), None),
        ),
        (
            "IfNoneMatch",
            of(
                &header::IF_NONE_MATCH,
                "The versions that the client has: a list of ETags, compared weakly, or \
            `*`. 304 when it has the present one.",
                &plain,
                None,
            ),
        ),
        (
            "IdempotencyKey",
            of(
                &headers::IDEMPOTENCY_KEY,
                "Names the change, for this tenant and key, for 24 hours: a repeat \
            answers as the first one and has no effect. Such a call waits for its outcome.",
                &json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$" }),
                None,
            ),
        ),
        (
            "Prefer",
            of(
                &headers::PREFER,
                "`wait=N`: answer with the outcome, waiting up to N whole seconds, at most 30; \
            `respond-async`: answer once the log has it. What is not understood is passed over; `Preference-Applied` says \
            what was honoured.",
                &plain,
                Some("wait=5"),
            ),
        ),
    ]
}

/// How fresh a read is, and how a body is packed.
fn of_other_headers() -> Vec<(&'static str, Value)> {
    let plain = json!({ "type": "string" });
    let of = of_header;
    vec![
        (
            "MinPosition",
            of(
                &headers::KV_MIN_POSITION,
                "Positions that the answer is not older than, separated by commas; only \
            the key's own partition is waited for. Alone it means `consistency=session`.",
                &json!({ "type": "string", "pattern": POSITIONS_PATTERN }),
                None,
            ),
        ),
        ("CacheControl", of(&header::CACHE_CONTROL, "`no-cache` is `consistency=strong`.", &plain, None)),
        (
            "ContentEncoding",
            of(
                &header::CONTENT_ENCODING,
                "How the body is packed; its limit is that of the unpacked bytes.",
                &json!({ "enum": ["identity", "gzip", "zstd"] }),
                None,
            ),
        ),
    ]
}

fn of_query() -> Vec<(&'static str, Value)> {
    let duration = || json!({ "type": "string", "pattern": DURATION_PATTERN });
    let mut all = vec![
        (
            "Consistency",
            json!({
                "name": "consistency", "in": "query",
                "description": text("`eventual`: any replica, which says how fresh it is. `session`: not older than \
                    `KV-Min-Position`. `strong`: not older than the log's end at the time of the call."),
                "schema": { "enum": ["eventual", "session", "strong"], "default": "eventual" },
            }),
        ),
        (
            "TtlQuery",
            json!({
                "name": "ttl", "in": "query", "description": "As `KV-TTL`.", "schema": duration(),
            }),
        ),
        (
            "Wait",
            json!({
                "name": "wait", "in": "query",
                "description": "How long to wait until it is known what became of it; at most 30 s.",
                "schema": duration(), "example": "10s",
            }),
        ),
        (
            "Keys",
            json!({
                "name": "keys", "in": "query", "description": "A JSON array, as `keys` in a body.",
                "content": { "application/json": {
                    "schema": { "type": "array", "items": schema("KeyName"), "maxItems": 1000 },
                } },
            }),
        ),
        (
            "Include",
            json!({
                "name": "include", "in": "query", "style": "form", "explode": false,
                "description": "What is told of each key beside its version.",
                "schema": { "type": "array", "items": { "enum": ["value", "meta"] } },
            }),
        ),
    ];
    all.extend(query_schemas::parameters());
    all
}
