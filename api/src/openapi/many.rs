//! The operations on many keys: batches and queries.
//!
//! Invariant: what they say is what `batch.rs` and `queries.rs` do.

use http::header;
use serde_json::{Value, json};

use super::{
    batch_schemas,
    build::{schema, text},
    operation::{Answer, Operation},
    problems::{ANY, BODY, Kind, READ, SEND, TENANT, all},
    schemas::POSITION,
};
use crate::{
    headers::{ACCEPT_POST, ACCEPT_QUERY, KV_POSITION, PREFERENCE_APPLIED},
    problem::Code,
};

const NDJSON: &str = "application/x-ndjson";

/// `/batch`.
pub(super) fn batch() -> Operation {
    Operation {
        method: "post",
        id: "postBatch",
        tag: "batches",
        summary: "Many operations in one call",
        description: "One append for all, in order per key. Up to 10,000 operations and 16 MiB. A line that is wrong fails \
            alone, with the code that the single call would have got; a malformed JSON array or protobuf framing is 400, and \
            nothing is accepted. It waits only with `Prefer: wait=N`, which is 200, or 207 when any line failed. Each line's \
            number makes a key of its own of an Idempotency-Key.",
        parameters: vec!["IdempotencyKey", "Prefer", "ContentEncoding", "Tenant"],
        body: Some(batch_body()),
        accepts: Some(&ACCEPT_POST),
        answers: vec![
            batch_answer(200, "It was waited for, and all are applied."),
            batch_answer(202, "The log has all of them."),
            batch_answer(207, "Some failed: `errors` names them. The log has the others."),
        ],
        kind: Kind::Write,
        problems: all(&[
            ANY,
            TENANT,
            BODY,
            SEND,
            &[
                Code::UnknownField,
                Code::BatchEmpty,
                Code::BatchTooLarge,
                Code::ContentTypeInvalid,
                Code::MediaTypeUnsupported,
                Code::NotAcceptable,
            ],
        ]),
        public: false,
    }
}

fn batch_body() -> Value {
    let lines = batch_schemas::example();
    let lines: Vec<String> = lines.as_array().into_iter().flatten().map(ToString::to_string).collect();
    json!({
        NDJSON: {
            "schema": {
                "type": "string",
                "description": "A `BatchLine` a line, ended by `\\n`; blank lines are skipped.",
                "contentMediaType": "application/json",
            },
            "x-item-schema": schema("BatchLine"),
            "example": lines.join("\n"),
        },
        "application/json": {
            "schema": { "type": "array", "items": schema("BatchLine"), "minItems": 1, "maxItems": 10_000 },
            "example": batch_schemas::example(),
        },
        "application/x-protobuf": {
            "schema": {
                "type": "string",
                "description": text("`millpond.v1.Record`s of `/schemas/mutation.proto`, each after its length as a varint. \
                    `key` is without a tenant."),
            },
        },
    })
}

fn batch_answer(status: u16, description: &'static str) -> Answer {
    let problem = json!({
        "line": 2, "id": "c2", "title": "The key is not valid", "status": 400, "code": "key-invalid",
        "outcome": "refused", "retryable": false,
    });
    let errors = if status == 207 { vec![problem] } else { Vec::new() };
    let example = json!({
        "accepted": 2, "failed": errors.len(), "positions": [POSITION], "errors": errors,
    });
    let schema = match status {
        200 => json!({ "allOf": [schema("BatchAnswer"), {
            "required": ["results"], "properties": { "failed": { "const": 0 } },
        }] }),
        202 => json!({ "allOf": [schema("BatchAnswer"), {
            "properties": { "failed": { "const": 0 }, "results": false },
        }] }),
        _ => json!({ "allOf": [schema("BatchAnswer"), { "properties": { "failed": { "minimum": 1 } } }] }),
    };
    let mut content = super::build::json_of(&schema, &example);
    if status == 200 {
        content["application/json"]["example"]["results"] = json!([
            { "line": 1, "id": "c1", "status": 200, "position": POSITION, "version": POSITION },
            { "line": 2, "id": "c2", "status": 200, "position": "1-0-7", "version": "1-0-7", "value": "5" },
        ]);
    }
    let answer = Answer::new(status, description, content).maybe(&[&PREFERENCE_APPLIED]);
    if status == 207 { answer.maybe(&[&KV_POSITION]) } else { answer.always(&[&KV_POSITION]) }
}

/// `POST /kv/query`.
pub(super) fn query() -> Operation {
    Operation {
        method: "post",
        id: "queryKeys",
        tag: "queries",
        summary: "Read many keys",
        description: "Keys by name, by prefix or in a range, over all shards, in bytewise order. A shard that does not answer \
            is named and makes `complete` false. There is no snapshot across partitions. `Accept: application/x-ndjson` \
            streams: without `limit` the whole range.",
        parameters: vec!["Consistency", "MinPosition", "CacheControl", "ContentEncoding", "Tenant"],
        body: Some(json!({ "application/json": {
            "schema": schema("Query"), "example": { "prefix": "users/", "limit": 100 },
        } })),
        accepts: Some(&ACCEPT_QUERY),
        answers: vec![found()],
        kind: Kind::Read,
        problems: all(&[
            ANY,
            TENANT,
            BODY,
            READ,
            OF_QUERY,
            &[Code::BodyTooLarge, Code::ContentTypeInvalid, Code::MediaTypeUnsupported],
        ]),
        public: false,
    }
}

const OF_QUERY: &[Code] = &[
    Code::UnknownField,
    Code::KeyInvalid,
    Code::LimitInvalid,
    Code::CursorInvalid,
    Code::TooManyKeys,
    Code::BodyInvalid,
    Code::NotAcceptable,
    Code::ShardUnavailable,
];

fn found() -> Answer {
    let item = json!({ "key": "users/1", "value": "Ada", "version": POSITION });
    let example = json!({
        "items": [item], "missing": [], "next_cursor": null, "complete": true, "limit": 100,
        "shards": [{ "name": "shard-0", "status": "answered" }], "positions": [POSITION],
    });
    let tail = json!({
        "complete": true, "next_cursor": null, "missing": [],
        "shards": [{ "name": "shard-0", "status": "answered" }], "positions": [POSITION],
    });
    let mut content = super::build::json_of(&schema("QueryAnswer"), &example);
    content[NDJSON] = json!({
        "schema": { "type": "string", "description": "A `QueryLine` a line; the last one is a `QueryTail`." },
        "x-item-schema": schema("QueryLine"),
        "example": format!("{item}\n{tail}\n"),
    });
    Answer::new(200, "A page, or a stream.", content).always(&[&header::CACHE_CONTROL])
}

/// `GET` and `HEAD /kv`, and `QUERY /kv`, which is an extension: `OpenAPI` 3.1 knows no such method.
pub(super) fn collection() -> Vec<Operation> {
    let get = || Operation {
        method: "get",
        id: "listKeys",
        summary: "Read many keys, by parameters",
        description: "The query of `POST /kv/query` in parameters.",
        parameters: vec![
            "Prefix",
            "PrefixB64",
            "Start",
            "StartB64",
            "End",
            "EndB64",
            "Keys",
            "Limit",
            "Cursor",
            "Reverse",
            "Include",
            "Consistency",
            "MinPosition",
            "CacheControl",
            "Tenant",
        ],
        body: None,
        accepts: None,
        problems: all(&[ANY, TENANT, READ, OF_QUERY]),
        ..query()
    };
    let head = Operation {
        method: "head",
        id: "headKeys",
        summary: "Whether a query can be answered",
        description: "The headers of a GET.",
        answers: vec![Answer { content: None, ..found() }],
        ..get()
    };
    let query = Operation {
        method: "x-query",
        id: "queryCollection",
        description: "The method QUERY (RFC 10008), with the body and the answers of `POST /kv/query`: safe, and it may be \
            repeated.",
        ..query()
    };
    vec![get(), head, query]
}
