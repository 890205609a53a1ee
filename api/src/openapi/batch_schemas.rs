//! The schemas of batches: a line for each operation, and the answer.
//!
//! Invariant: a line has the members of its operation and those that every line may have, and no other.

use serde_json::{Map, Value, json};

use super::{
    build::schema,
    problems,
    schemas::{MOMENT, integer, or_null},
};

/// All of them, by name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("BatchLine", line()),
        ("PutLine", put()),
        ("DeleteLine", of_op("delete", json!({}), &[])),
        ("TtlLine", ttl()),
        ("IncrementLine", of_op("increment", json!({ "by": integer(1), "initial": integer(0) }), &[])),
        ("AppendLine", append()),
        ("MergePatchLine", of_op("merge-patch", json!({ "patch": {} }), &["patch"])),
        ("JsonPatchLine", of_op("json-patch", json!({ "patch": schema("JsonPatch") }), &["patch"])),
        ("BatchAnswer", answer()),
        ("BatchResult", result()),
        ("BatchError", error()),
    ]
}

/// One example of a batch.
pub(super) fn example() -> Value {
    json!([
        { "id": "c1", "op": "put", "key": "users/1", "value": "Ada", "content_type": "text/plain", "ttl": "1h" },
        { "id": "c2", "op": "increment", "key": "visits", "by": 5 },
        { "id": "c3", "op": "delete", "key_b64": "/w==" },
    ])
}

fn line() -> Value {
    let lines = ["Put", "Delete", "Ttl", "Increment", "Append", "MergePatch", "JsonPatch"];
    let lines = lines.map(|name| schema(&format!("{name}Line")));
    let ops = [
        ("put", "Put"),
        ("delete", "Delete"),
        ("ttl", "Ttl"),
        ("increment", "Increment"),
        ("append", "Append"),
        ("merge-patch", "MergePatch"),
        ("json-patch", "JsonPatch"),
    ];
    let target =
        |(op, name): (&str, &str)| (op.to_owned(), format!("#/components/schemas/{name}Line").into());
    json!({
        "description": "One operation of a batch: which members it has, `op` decides.",
        "oneOf": lines,
        "discriminator": { "propertyName": "op", "mapping": super::build::object(ops.into_iter().map(target)) },
    })
}

/// A line of an operation with these members of its own.
fn of_op(op: &str, own: Value, required: &[&str]) -> Value {
    let common = json!({
        "id": { "description": "Echoed beside the line's result; any JSON but null." },
        "op": { "const": op },
        "key": { "type": "string", "minLength": 1, "description": "1 to 1024 bytes of UTF-8." },
        "key_b64": schema("Base64"),
        "if_version": { "type": "string", "minLength": 1, "maxLength": 255, "description": "As `If-Match`: a position." },
        "if_absent": { "type": "boolean", "description": "As `If-None-Match: *`." },
        "idempotency_key": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$" },
    });
    let members = |value: Value| if let Value::Object(members) = value { members } else { Map::new() };
    let mut properties = members(common);
    properties.extend(members(own));
    let mut all = vec!["op"];
    all.extend(required);
    json!({
        "type": "object",
        "required": all,
        "properties": properties,
        "oneOf": [{ "required": ["key"] }, { "required": ["key_b64"] }],
        "additionalProperties": false,
    })
}

/// Adds what `oneOf` cannot say twice.
fn with(mut line: Value, rules: Value) -> Value {
    line["allOf"] = rules;
    line
}

fn put() -> Value {
    let own = json!({
        "value": { "type": "string", "description": "Stored as its UTF-8 bytes." },
        "value_b64": schema("Base64"),
        "content_type": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$" },
        "ttl": schema("Duration"),
        "expires_at": { "type": "string", "format": "date-time", "examples": [MOMENT] },
    });
    with(of_op("put", own, &[]), json!([one_value(), { "not": { "required": ["ttl", "expires_at"] } }]))
}

fn ttl() -> Value {
    let own = json!({
        "ttl": schema("Duration"),
        "expires_at": { "type": "string", "format": "date-time", "examples": [MOMENT] },
        "mode": { "enum": ["set", "extend", "only_longer", "only_shorter", "if_none"] },
    });
    let one = json!({ "oneOf": [{ "required": ["ttl"] }, { "required": ["expires_at"] }] });
    with(of_op("ttl", own, &[]), json!([one]))
}

fn append() -> Value {
    let own = json!({ "value": { "type": "string" }, "value_b64": schema("Base64") });
    with(of_op("append", own, &[]), json!([one_value()]))
}

fn one_value() -> Value {
    json!({ "oneOf": [{ "required": ["value"] }, { "required": ["value_b64"] }] })
}

fn answer() -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    json!({
        "type": "object",
        "required": ["accepted", "failed", "positions", "errors"],
        "properties": {
            "accepted": count,
            "failed": { "type": "integer", "minimum": 0, "description": "Refused, and where it waited, rejected." },
            "positions": {
                "type": "array", "items": schema("Position"),
                "description": "The highest of each partition: together a session token.",
            },
            "errors": { "type": "array", "items": schema("BatchError") },
            "results": {
                "type": "array", "items": { "anyOf": [schema("BatchResult"), schema("BatchError")] },
                "description": "Only where it waited: one a line, in order.",
            },
        },
    })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 1, "description": "From 1 on, blank lines counted." })
}

fn result() -> Value {
    json!({
        "type": "object",
        "required": ["line", "status", "position"],
        "properties": {
            "line": number(),
            "id": {},
            "status": { "enum": [200, 201, 202, 204] },
            "position": schema("Position"),
            "version": schema("Position"),
            "expires_at": or_null(&schema("Moment")),
            "duplicate": { "const": true },
            "changed": { "type": "boolean" },
            "value": { "type": "string" },
            "value_b64": schema("Base64"),
        },
    })
}

fn error() -> Value {
    json!({ "allOf": [
        schema("Problem"),
        { "required": ["line"], "properties": { "line": number(), "id": {}, "duplicate": { "const": true } } },
        problems::one_of(&[problems::LINE, problems::REJECTED].concat()),
    ] })
}
