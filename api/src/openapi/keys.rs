//! The operations on one key's value: PUT, GET, HEAD, PATCH, DELETE.
//!
//! Invariant: what they say is what `write.rs` and `read.rs` do.

use http::header;
use serde_json::{Value, json};

use super::{
    build::{json_of, schema},
    operation::{Answer, Operation},
    problems::{ANY, KEY, Kind, READ, READ_KEY, SEND, TENANT, WRITE_KEY, all, of_change},
    schemas::POSITION,
};
use crate::{
    headers::{ACCEPT_PATCH, KV_DUPLICATE, KV_EXPIRES_AT, KV_POSITION, KV_STALENESS_MS, PREFERENCE_APPLIED},
    problem::Code,
};

/// The group.
pub(super) const TAG: &str = "keys";

/// In the order in which they are shown.
pub(super) fn operations() -> Vec<Operation> {
    vec![put(), get(), head(), patch(), delete()]
}

/// 202 of a single write.
pub(super) fn accepted() -> Answer {
    let example = json!({ "position": POSITION, "status": "accepted" });
    let links = json!({ "outcome": {
        "operationId": "getMutation", "parameters": { "position": "$response.body#/position" },
        "description": "What became of it.",
    } });
    Answer::new(
        202,
        "The log has it. It was not waited for, or its outcome took longer.",
        json_of(&schema("Accepted"), &example),
    )
    .always(&[&header::LOCATION, &KV_POSITION])
    .maybe(&[&KV_EXPIRES_AT, &KV_DUPLICATE, &PREFERENCE_APPLIED])
    .links(links)
}

/// The body of a write that was waited for.
fn applied() -> Value {
    json_of(&schema("Applied"), &json!({ "position": POSITION, "status": "applied" }))
}

/// A success that names the new version.
fn changed(status: u16, description: &'static str, content: Option<Value>) -> Answer {
    Answer { content, ..Answer::empty(status, description) }.always(&[&KV_POSITION, &header::ETAG]).maybe(&[
        &KV_EXPIRES_AT,
        &KV_DUPLICATE,
        &PREFERENCE_APPLIED,
    ])
}

/// A value as it was stored. Without a schema: whatever its content type promises, it is bytes.
fn value() -> Value {
    json!({ "*/*": { "examples": { "json": { "value": { "name": "Ada", "visits": 1 } } } } })
}

fn put() -> Operation {
    Operation {
        method: "put",
        id: "putKey",
        tag: TAG,
        summary: "Store a value",
        description: "Replaces value, content type and TTL. The body is stored byte for byte, with its Content-Type \
            (`application/octet-stream` without one). Without a condition and an Idempotency-Key it is answered once the \
            log has it.",
        parameters: vec![
            "Key",
            "TtlHeader",
            "TtlQuery",
            "ExpiresAt",
            "IfMatch",
            "IfAbsent",
            "IdempotencyKey",
            "Prefer",
            "ContentEncoding",
            "Tenant",
        ],
        body: Some(json!({
            "application/json": { "schema": {}, "example": { "name": "Ada", "visits": 1 } },
            "text/plain": { "schema": { "type": "string" }, "example": "Ada" },
            "*/*": { "schema": {} },
        })),
        accepts: None,
        answers: vec![
            changed(200, "It was waited for, and it is applied.", Some(applied())),
            changed(201, "As 200, with `If-None-Match: *`.", Some(applied())),
            accepted(),
        ],
        kind: Kind::Write,
        problems: of_change(&[Code::ContentTypeInvalid, Code::ValueTooLarge]),
        public: false,
    }
}

/// What changes of one key with a body take.
pub(super) fn change_parameters() -> Vec<&'static str> {
    vec!["Key", "IfMatch", "IfAbsent", "IdempotencyKey", "Prefer", "ContentEncoding", "Tenant"]
}

/// What reads of one key take.
pub(super) fn read_parameters() -> Vec<&'static str> {
    vec!["Key", "Consistency", "MinPosition", "CacheControl", "IfNoneMatch", "Tenant"]
}

/// 304 of a read.
pub(super) fn same() -> Answer {
    Answer::empty(304, "The client has this very version.")
        .always(&[
            &header::ETAG,
            &header::LAST_MODIFIED,
            &header::CACHE_CONTROL,
            &KV_POSITION,
            &KV_STALENESS_MS,
        ])
        .maybe(&[&KV_EXPIRES_AT])
}

/// 200 of a read.
pub(super) fn found(description: &'static str, content: Option<Value>) -> Answer {
    Answer { content, status: 200, description, ..same() }
}

fn get() -> Operation {
    Operation {
        method: "get",
        id: "getKey",
        tag: TAG,
        summary: "Read a value",
        description: "The bytes as they were put, with their content type. What has expired does not exist. `Accept` is \
            ignored.",
        parameters: read_parameters(),
        body: None,
        accepts: None,
        answers: vec![found("The value.", Some(value())).always(&[&header::X_CONTENT_TYPE_OPTIONS]), same()],
        kind: Kind::Read,
        problems: all(&[ANY, TENANT, KEY, READ, READ_KEY, &[Code::Overloaded]]),
        public: false,
    }
}

fn head() -> Operation {
    Operation {
        method: "head",
        id: "headKey",
        summary: "Read a value's headers",
        description: "The headers of a GET, without the value.",
        answers: vec![found("It exists.", None).always(&[&header::X_CONTENT_TYPE_OPTIONS]), same()],
        ..get()
    }
}

fn patch() -> Operation {
    let own = json!({ "oneOf": [schema("Increment"), schema("Append")] });
    Operation {
        method: "patch",
        id: "patchKey",
        tag: TAG,
        summary: "Change a value where it is",
        description: "Content-Type decides: RFC 7396, RFC 6902, or an operation of ours. The TTL stays. On an absent key \
            increment makes `initial` + `by` as `text/plain`, append the value itself, merge-patch applies to nothing. It \
            waits for its outcome.",
        parameters: change_parameters(),
        body: Some(json!({
            "application/merge-patch+json": { "schema": {}, "example": { "visits": 2, "name": null } },
            "application/json-patch+json": {
                "schema": schema("JsonPatch"),
                "example": [
                    { "op": "test", "path": "/visits", "value": 1 },
                    { "op": "replace", "path": "/name", "value": "Grace" },
                ],
            },
            "application/vnd.millpond.op+json": {
                "schema": own, "example": { "op": "increment", "by": 5, "initial": 0 },
            },
        })),
        accepts: Some(&ACCEPT_PATCH),
        answers: vec![
            changed(200, "The new value, as a GET would give it.", Some(value())),
            changed(204, "It is applied; the new value is above 4 KiB.", None),
            accepted(),
        ],
        kind: Kind::Write,
        problems: of_change(&[
            Code::ContentTypeInvalid,
            Code::MediaTypeUnsupported,
            Code::ValueTooLarge,
            Code::ValueInvalid,
            Code::WrongType,
            Code::PatchTestFailed,
            Code::PatchPathMissing,
            Code::IncrementOverflow,
            Code::ValueOutgrown,
        ]),
        public: false,
    }
}

fn delete() -> Operation {
    Operation {
        method: "delete",
        id: "deleteKey",
        tag: TAG,
        summary: "Delete a key",
        description: "Whether it exists or not. Without a condition and an Idempotency-Key it is answered once the log has it.",
        parameters: vec!["Key", "IfMatch", "IfAbsent", "IdempotencyKey", "Prefer", "Tenant"],
        body: None,
        accepts: None,
        answers: vec![
            accepted(),
            Answer::empty(204, "It was waited for: the key does not exist now.")
                .always(&[&KV_POSITION])
                .maybe(&[&KV_DUPLICATE, &PREFERENCE_APPLIED]),
        ],
        kind: Kind::Write,
        problems: all(&[ANY, TENANT, KEY, SEND, WRITE_KEY]),
        public: false,
    }
}
