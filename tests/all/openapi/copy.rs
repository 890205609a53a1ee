//! Copies of the document for the fuzzer: stricter on answers, narrower on what is sent.
//!
//! Invariant: what a copy allows, the document allows, so what breaks a copy's promise breaks the document's or adds to an
//! answer what the document does not name.

use anyhow::{Result, ensure};
use millpond_tests::http::Http;
use serde_json::{Value, json};

/// Positions and versions of keys that are there.
pub(super) struct Found {
    /// Of the last write of each key.
    positions: Vec<String>,
}

const KEYS: [(&str, &str, &str); 3] = [
    ("users/1", "application/json", r#"{"name":"Ada","visits":1}"#),
    ("counter", "text/plain", "41"),
    ("text", "text/plain", "some text"),
];

/// Puts a few keys.
pub(super) async fn fill(http: &Http) -> Result<Found> {
    let mut positions = Vec::new();
    for (key, content_type, value) in KEYS {
        let path = format!("/kv/{key}");
        let put = http.put(&path, value).header("content-type", content_type).header("prefer", "wait=30");
        let answer = put.send().await?;
        ensure!(answer.status == 200, "{answer:?}");
        positions.push(answer.header("kv-position").to_owned());
    }
    Ok(Found { positions })
}

/// With objects in answers that have no members but those that are named.
pub(super) fn strict(mut document: Value) -> Value {
    let schemas = &mut document["components"]["schemas"];
    let closed = schemas.as_object_mut().into_iter().flatten();
    // Problems are made from parts: the whole is closed, not each part.
    closed.filter(|(name, _)| *name != "Problem").for_each(|(_, schema)| close(schema));
    close(&mut document["components"]["responses"]);
    document["paths"].as_object_mut().into_iter().flatten().for_each(|(_, path)| close_answers(path));
    // The media type of lines has a schema of its own here.
    lines(&mut document["paths"]["/batch"]["post"]["requestBody"]["content"]["application/x-ndjson"]);
    document
}

fn close_answers(path: &mut Value) {
    let operations = path.as_object_mut().into_iter().flatten();
    operations.for_each(|(_, operation)| {
        if operation.is_object() {
            close(&mut operation["responses"]);
        }
    });
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let parts = members.get("allOf").is_some_and(|parts| parts.to_string().contains("$ref"));
            if parts && !members.contains_key("additionalProperties") {
                members.insert("unevaluatedProperties".to_owned(), false.into());
            } else if members.contains_key("properties")
                && members.get("type").is_some_and(|kind| kind == "object")
            {
                members.entry("additionalProperties").or_insert(false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// A list that the fuzzer's hook writes as lines.
fn lines(media: &mut Value) {
    let item = media["x-item-schema"].take();
    media["schema"] = json!({ "type": "array", "items": item, "minItems": 1 });
}

/// With parameters that mostly lead to what is there.
pub(super) fn narrow(mut document: Value, found: &Found) -> Value {
    let positions = &found.positions;
    let etags: Vec<String> = positions.iter().map(|position| format!("\"{position}\"")).collect();
    let list = positions.join(", ");
    let parameters = &mut document["components"]["parameters"];
    let keys: Vec<&str> = KEYS.iter().map(|(key, ..)| *key).collect();
    let mut set = |name: &str, values: Value| parameters[name]["schema"] = json!({ "enum": values });
    set("MinPosition", json!([positions[0], list]));
    set("IfMatch", json!(["*", etags[0], etags[1]]));
    set("IfNoneMatch", json!(["*", etags[0], etags[2], "W/\"1-0-1\", \"x\""]));
    set("Tenant", json!(["default"]));
    set("TtlHeader", json!(["15m"]));
    set("TtlQuery", json!(["15m", "900"]));
    set("ContentEncoding", json!(["identity"]));
    set("PositionInPath", json!(positions));
    set("Prefer", json!(["wait=5", "respond-async", "wait=0"]));
    set("CacheControl", json!(["no-cache"]));
    parameters["Key"]["schema"] = json!({ "anyOf": [
        { "enum": keys }, { "type": "string", "minLength": 1, "maxLength": 50 },
    ] });
    // No two that exclude each other.
    for path in document["paths"].as_object_mut().into_iter().flatten().map(|(_, path)| path) {
        for (_, operation) in path.as_object_mut().into_iter().flatten() {
            if let Some(named) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
                let excluded = ["ExpiresAt", "PrefixB64", "StartB64", "EndB64", "Keys", "Cursor"];
                named.retain(|parameter| {
                    let name = parameter["$ref"].as_str().and_then(|name| name.rsplit('/').next());
                    !name.is_some_and(|name| excluded.contains(&name))
                });
            }
        }
    }
    document
}
