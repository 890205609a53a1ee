//! The named schemas: positions, keys, and what single calls take and answer.
//!
//! Not here: batches (`batch_schemas.rs`) and queries (`query_schemas.rs`). Invariant: limits come from the code.

use millpond_schemas::limits::{
    BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, JSON_PATCH_OPERATIONS_MAX, KEY_BYTES_MAX, PAGE_ROWS_MAX,
    VALUE_BYTES_MAX,
};
use serde_json::{Value, json};

use super::{
    batch_schemas,
    build::{schema, text},
    problems, query_schemas,
};

/// One position.
pub(super) const POSITION_PATTERN: &str = "^[1-9][0-9]*-(0|[1-9][0-9]*)-(0|[1-9][0-9]*)$";
/// One or more.
pub(super) const POSITIONS_PATTERN: &str = "^[1-9][0-9]*-(0|[1-9][0-9]*)-(0|[1-9][0-9]*)\
     ( *, *[1-9][0-9]*-(0|[1-9][0-9]*)-(0|[1-9][0-9]*))*$";
/// A duration.
pub(super) const DURATION_PATTERN: &str = "^[0-9]+(ms|s|m|h|d)?$";
/// Standard base64 with padding.
pub(super) const BASE64_PATTERN: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";
/// A position in examples.
pub(super) const POSITION: &str = "1-3-42";
/// A moment in examples.
pub(super) const MOMENT: &str = "2030-01-31T12:00:00.000Z";

/// All of them, by name.
pub(super) fn all() -> impl Iterator<Item = (String, Value)> {
    let own = [
        ("Position", position()),
        (
            "Base64",
            json!({
                "type": "string", "pattern": BASE64_PATTERN, "contentEncoding": "base64",
                "description": "Bytes in standard base64 with padding.",
            }),
        ),
        (
            "Moment",
            json!({
                "type": "string", "format": "date-time", "examples": [MOMENT],
                "description": "RFC 3339 in UTC with milliseconds.",
            }),
        ),
        ("Duration", duration()),
        ("Problem", problem()),
        ("Accepted", accepted()),
        ("Applied", applied()),
        ("TtlChange", ttl_change()),
        ("TtlChanged", ttl_changed()),
        ("Ttl", ttl()),
        ("Meta", meta()),
        ("Increment", increment()),
        ("Append", append()),
        ("JsonPatch", json_patch()),
        ("Mutation", mutation()),
        ("Version", version()),
        ("Schemas", schemas()),
    ];
    let own = own.into_iter().chain(batch_schemas::all()).chain(query_schemas::all());
    own.map(|(name, schema)| (name.to_owned(), schema))
}

/// This or null.
pub(super) fn or_null(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn position() -> Value {
    json!({
        "type": "string", "pattern": POSITION_PATTERN, "examples": [POSITION],
        "description": "`<generation>-<partition>-<offset>`: a mutation's name, a row's version, and what can be read \
                        after it with `KV-Min-Position`.",
    })
}

fn duration() -> Value {
    json!({
        "description": "A whole number of seconds, or one with `ms`, `s`, `m`, `h` or `d`. A TTL is 1 s to 10 years.",
        "anyOf": [
            { "type": "string", "pattern": DURATION_PATTERN },
            { "type": "integer", "minimum": 1, "maximum": 315_576_000 },
        ],
        "examples": ["15m", 90],
    })
}

fn problem() -> Value {
    let description = text(
        "RFC 9457. Programs look at `code`, with `status` beside it; `title` and `detail` are for people and may change. \
         `outcome` says what is certain about the log: `none`, there was nothing to log; `refused`, certainly not on it, \
         the request is at fault; `not-accepted`, certainly not on it, try later; `unknown`, it may be; `rejected`, it is, \
         was judged in its order and had no effect.",
    );
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "description": description,
        "required": ["title", "status", "code", "outcome", "retryable"],
        "properties": {
            "title": text,
            "status": { "type": "integer" },
            "code": text,
            "outcome": { "enum": ["none", "refused", "not-accepted", "unknown", "rejected"] },
            "retryable": { "type": "boolean", "description": "Whether the same request may succeed later." },
            "detail": text,
            "hint": text,
            "limit": { "type": "integer", "description": "The limit that was passed." },
            "pointer": { "type": "string", "description": "A JSON Pointer into the body." },
            "position": schema("Position"),
            "current": or_null(&schema("Position")),
            "lag_records": { "type": "integer", "description": "How many records are missing." },
            "reason": { "type": "string", "description": "Why it is a dead letter." },
            "request_id": text,
        },
    })
}

fn accepted() -> Value {
    json!({
        "type": "object",
        "description": "The log has it, and it will certainly be judged; what becomes of it, `Location` tells.",
        "required": ["position", "status"],
        "properties": {
            "position": schema("Position"),
            "status": { "const": "accepted" },
            "expires_at": schema("Moment"),
        },
    })
}

fn applied() -> Value {
    json!({
        "type": "object",
        "description": "It is committed on the shard's primary.",
        "required": ["position", "status"],
        "properties": { "position": schema("Position"), "status": { "const": "applied" } },
    })
}

fn ttl_change() -> Value {
    json!({
        "type": "object",
        "description": text(
            "`set` replaces the expiry; `extend` adds `ttl` to the present one, to now when there is none; `only_longer` and \
             `only_shorter` are the later and the earlier of the two, no TTL counting as for ever; `if_none` changes it only \
             where there is none."),
        "properties": {
            "ttl": schema("Duration"),
            "expires_at": schema("Moment"),
            "mode": { "enum": ["set", "extend", "only_longer", "only_shorter", "if_none"], "default": "set" },
        },
        "oneOf": [
            { "required": ["ttl"], "properties": { "expires_at": false } },
            {
                "required": ["expires_at"],
                "properties": { "ttl": false, "mode": { "enum": ["set", "only_longer", "only_shorter", "if_none"] } },
            },
        ],
        "additionalProperties": false,
    })
}

fn ttl_changed() -> Value {
    json!({
        "type": "object",
        "required": ["position", "status", "changed", "expires_at"],
        "properties": {
            "position": schema("Position"),
            "status": { "const": "applied" },
            "changed": { "type": "boolean", "description": "False: nothing changed, and the ETag is the old one." },
            "expires_at": or_null(&schema("Moment")),
        },
    })
}

fn ttl() -> Value {
    json!({
        "type": "object",
        "required": ["ttl_ms", "expires_at"],
        "properties": {
            "ttl_ms": { "type": ["integer", "null"], "description": "Milliseconds left, by the shard's clock; null: for ever." },
            "expires_at": or_null(&schema("Moment")),
        },
    })
}

/// What is known of a row but its value.
pub(super) fn meta_members() -> Value {
    json!({
        "size": { "type": "integer", "minimum": 0, "description": "Of the value, bytes." },
        "content_type": { "type": "string" },
        "created_at": schema("Moment"),
        "updated_at": schema("Moment"),
        "expires_at": or_null(&schema("Moment")),
        "partition": { "type": "integer", "minimum": 0 },
        "shard": { "type": "string" },
    })
}

fn meta() -> Value {
    let mut properties = meta_members();
    properties["version"] = schema("Position");
    json!({
        "type": "object",
        "required": ["size", "content_type", "version", "created_at", "updated_at", "expires_at", "partition", "shard"],
        "properties": properties,
    })
}

/// An integer of 64 bits.
pub(super) fn integer(default: i64) -> Value {
    json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX, "default": default })
}

fn increment() -> Value {
    json!({
        "type": "object",
        "description": "Adds to a decimal integer of 64 bits in ASCII; an absent key counts as `initial`.",
        "required": ["op"],
        "properties": { "op": { "const": "increment" }, "by": integer(1), "initial": integer(0) },
        "additionalProperties": false,
    })
}

fn append() -> Value {
    json!({
        "type": "object",
        "description": "Appends bytes to the value; makes it on an absent key.",
        "required": ["op"],
        "properties": { "op": { "const": "append" }, "value": { "type": "string" }, "value_b64": schema("Base64") },
        "oneOf": [{ "required": ["value"] }, { "required": ["value_b64"] }],
        "additionalProperties": false,
    })
}

fn json_patch() -> Value {
    let pointer = json!({ "type": "string", "pattern": "^(/([^/~]|~[01])*)*$" });
    json!({
        "type": "array",
        "description": "RFC 6902. On an absent key it is 409 `wrong-type`, unless it adds the root.",
        "maxItems": JSON_PATCH_OPERATIONS_MAX,
        "items": { "oneOf": [
            {
                "type": "object", "required": ["op", "path", "value"],
                "properties": { "op": { "enum": ["add", "replace", "test"] }, "path": pointer, "value": {} },
            },
            {
                "type": "object", "required": ["op", "path"],
                "properties": { "op": { "const": "remove" }, "path": pointer },
            },
            {
                "type": "object", "required": ["op", "path", "from"],
                "properties": { "op": { "enum": ["move", "copy"] }, "path": pointer, "from": pointer },
            },
        ] },
    })
}

fn mutation() -> Value {
    let problem = json!({ "allOf": [schema("Problem"), problems::one_of(problems::REJECTED)] });
    json!({
        "type": "object",
        "required": ["position", "status", "time"],
        "properties": {
            "position": schema("Position"),
            "status": { "enum": ["accepted", "applied", "rejected", "duplicate", "dead_lettered"] },
            "time": schema("Moment"),
            "version": { "$ref": "#/components/schemas/Position", "description": "The row's, once it is applied." },
            "changed": { "type": "boolean" },
            "expires_at": or_null(&schema("Moment")),
            "of": { "$ref": "#/components/schemas/Position", "description": "The first one, which stands." },
            "problem": problem,
        },
    })
}

fn version() -> Value {
    let limits = [
        ("key_bytes_max", KEY_BYTES_MAX),
        ("value_bytes_max", VALUE_BYTES_MAX),
        ("batch_operations_max", BATCH_OPERATIONS_MAX),
        ("batch_bytes_max", BATCH_BYTES_MAX),
        ("page_rows_max", PAGE_ROWS_MAX),
    ];
    let limit = |(name, max): &(&str, usize)| {
        ((*name).to_owned(), json!({ "type": "integer", "minimum": 1, "examples": [max] }))
    };
    json!({
        "type": "object",
        "required": ["version", "limits"],
        "properties": {
            "version": { "type": "string" },
            "limits": {
                "type": "object",
                "required": limits.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
                "properties": super::build::object(limits.iter().map(limit)),
            },
        },
    })
}

fn schemas() -> Value {
    json!({
        "type": "object",
        "required": ["schemas"],
        "properties": { "schemas": { "type": "array", "items": {
            "type": "object",
            "required": ["name", "href", "title"],
            "properties": {
                "name": { "type": "string" }, "href": { "type": "string" }, "title": { "type": "string" },
            },
        } } },
    })
}
