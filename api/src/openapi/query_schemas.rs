//! The schemas of queries and their answers.
//!
//! Invariant: the members of a query are those that the handler reads.

use millpond_schemas::limits::PAGE_ROWS_MAX;
use serde_json::{Map, Value, json};

use super::{build::schema, schemas::meta_members};

/// All of them, by name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("Query", json!({ "oneOf": [schema("QueryByKeys"), schema("QueryByRange")] })),
        ("QueryByKeys", by_keys()),
        ("QueryByRange", by_range()),
        ("KeyName", key_name()),
        ("Item", item()),
        ("QueryAnswer", answer()),
        ("QueryLine", line()),
        ("QueryTail", tail()),
    ]
}

/// A member named so in bytes or in text.
fn bound(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// What every query may say.
fn common() -> Map<String, Value> {
    let common = json!({
        "limit": {
            "type": "integer", "minimum": 1, "examples": [100],
            "description": format!("Most items of the answer; more than {PAGE_ROWS_MAX} are clamped to it."),
        },
        "cursor": {
            "type": ["string", "null"],
            "description": "`next_cursor` of an answer: alone, or with the same query; `limit` may change.",
        },
        "reverse": { "type": "boolean", "default": false, "description": "From the highest key down." },
        "include": { "type": "array", "items": { "enum": ["value", "meta"] }, "default": ["value"] },
        "consistency": { "enum": ["eventual", "session", "strong"] },
    });
    if let Value::Object(members) = common { members } else { Map::new() }
}

fn by_keys() -> Value {
    let mut properties = common();
    let keys = json!({ "type": "array", "items": schema("KeyName"), "maxItems": PAGE_ROWS_MAX });
    properties.insert("keys".to_owned(), keys);
    json!({
        "type": "object", "required": ["keys"], "properties": properties, "additionalProperties": false,
        "description": "Of these keys, in bytewise order, each once.",
        "examples": [{ "keys": ["users/1", { "key_b64": "/w==" }], "include": ["value", "meta"] }],
    })
}

fn by_range() -> Value {
    let mut properties = common();
    for (name, description) in [
        ("prefix", "Keys that begin with it."),
        ("start", "The lowest key, inclusive."),
        ("end", "The highest key, exclusive."),
    ] {
        properties.insert(name.to_owned(), bound(description));
        properties.insert(format!("{name}_b64"), schema("Base64"));
    }
    let either = |name: &str| json!({ "not": { "required": [name, format!("{name}_b64")] } });
    json!({
        "type": "object", "properties": properties, "additionalProperties": false,
        "description": "Of every key in all of the bounds that it names; without any, of every key.",
        "allOf": [either("prefix"), either("start"), either("end")],
        "examples": [{ "prefix": "users/", "limit": 100 }],
    })
}

fn key_name() -> Value {
    json!({
        "description": "A key: its text where it is UTF-8, else its bytes in base64.",
        "oneOf": [
            { "type": "string", "minLength": 1 },
            {
                "type": "object", "required": ["key_b64"], "additionalProperties": false,
                "properties": { "key_b64": { "$ref": "#/components/schemas/Base64", "minLength": 4 } },
            },
        ],
    })
}

fn item() -> Value {
    let mut properties = meta_members();
    properties["key"] = json!({ "type": "string" });
    properties["key_b64"] = schema("Base64");
    properties["value"] = json!({ "type": "string" });
    properties["value_b64"] = schema("Base64");
    properties["version"] = schema("Position");
    json!({
        "type": "object",
        "description": "`key` and `value` where they are UTF-8, `key_b64` and `value_b64` where they are not; the members \
                        of `/meta` where `include` names meta.",
        "required": ["version"],
        "properties": properties,
        "oneOf": [{ "required": ["key"] }, { "required": ["key_b64"] }],
    })
}

/// What is true of all items.
fn tail_members() -> Value {
    json!({
        "missing": {
            "type": "array", "items": schema("KeyName"),
            "description": "Keys that were asked for by name and do not exist.",
        },
        "next_cursor": { "type": ["string", "null"], "description": "Null: this was the last page." },
        "complete": { "type": "boolean", "description": "Whether every shard answered." },
        "shards": { "type": "array", "items": {
            "type": "object", "required": ["name", "status"],
            "properties": {
                "name": { "type": "string" }, "status": { "enum": ["answered", "unavailable", "unreadable"] },
            },
        } },
        "positions": {
            "type": "array", "items": schema("Position"),
            "description": "What was read of each partition: together a session token.",
        },
    })
}

fn answer() -> Value {
    let mut properties = tail_members();
    properties["items"] = json!({ "type": "array", "items": schema("Item") });
    properties["limit"] = json!({ "type": "integer", "minimum": 1, "description": "The one that was used." });
    json!({
        "type": "object",
        "required": ["items", "missing", "next_cursor", "complete", "limit", "shards", "positions"],
        "properties": properties,
    })
}

fn tail() -> Value {
    json!({
        "type": "object",
        "description": "The last line of a stream; a stream without it was cut.",
        "required": ["complete", "next_cursor", "missing", "shards", "positions"],
        "properties": tail_members(),
    })
}

fn line() -> Value {
    json!({
        "description": "A line of a stream: an item, or at the end what is true of all.",
        "oneOf": [schema("Item"), schema("QueryTail")],
    })
}

/// The members that are plain parameters of `GET /kv`, too: the parameter's name here, and what it is.
pub(super) fn parameters() -> Vec<(&'static str, Value)> {
    let names = [
        ("Prefix", "prefix"),
        ("PrefixB64", "prefix_b64"),
        ("Start", "start"),
        ("StartB64", "start_b64"),
        ("End", "end"),
        ("EndB64", "end_b64"),
        ("Limit", "limit"),
        ("Cursor", "cursor"),
        ("Reverse", "reverse"),
    ];
    let members = by_range();
    let parameter = |(shown, name): (&'static str, &str)| {
        let mut schema = members["properties"][name].clone();
        let description = schema.as_object_mut().and_then(|members| members.remove("description"));
        if name == "cursor" {
            schema = json!({ "type": "string" });
        }
        let parameter = json!({
            "name": name, "in": "query", "schema": schema,
            "description": description.unwrap_or_else(|| "The same, as bytes in base64.".into()),
        });
        (shown, parameter)
    };
    names.into_iter().map(parameter).collect()
}
