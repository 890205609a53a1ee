//! The operations beside a key's value: its meta data, its TTL, and what became of a mutation.
//!
//! Invariant: what they say is what `meta.rs`, `ttl.rs` and `mutations.rs` do.

use http::header;
use serde_json::{Value, json};

use super::{
    build::{json_of, schema},
    keys::{accepted, found, read_parameters, same},
    operation::{Answer, Operation},
    problems::{ANY, KEY, Kind, READ, READ_KEY, SEND, TENANT, WRITE_KEY, all, of_change},
    schemas::{MOMENT, POSITION},
};
use crate::{
    headers::{KV_DUPLICATE, KV_EXPIRES_AT, KV_POSITION, PREFERENCE_APPLIED},
    problem::Code,
};

/// `/meta/{key}`.
pub(super) fn meta() -> Operation {
    let example = json!({
        "size": 25, "content_type": "application/json", "version": POSITION, "created_at": MOMENT,
        "updated_at": MOMENT, "expires_at": null, "partition": 3, "shard": "shard-1",
    });
    read(
        "getMeta",
        "All about a key but its value",
        "As fresh as a GET of the key, by the same parameters.",
        &json_of(&schema("Meta"), &example),
    )
}

fn read(id: &'static str, summary: &'static str, description: &'static str, content: &Value) -> Operation {
    Operation {
        method: "get",
        id,
        tag: super::keys::TAG,
        summary,
        description,
        parameters: read_parameters(),
        body: None,
        accepts: None,
        answers: vec![found("The key exists.", Some(content.clone())), same()],
        kind: Kind::Read,
        problems: all(&[ANY, TENANT, KEY, READ, READ_KEY, &[Code::NotAcceptable]]),
        public: false,
    }
}

/// `/ttl/{key}`.
pub(super) fn ttl() -> Vec<Operation> {
    let example = json!({ "ttl_ms": 899_000, "expires_at": MOMENT });
    let get = read(
        "getTtl",
        "When a key expires",
        "As fresh as a GET of the key, by the same parameters.",
        &json_of(&schema("Ttl"), &example),
    );
    let delete = Operation {
        method: "delete",
        id: "deleteTtl",
        tag: super::keys::TAG,
        summary: "Keep a key for ever",
        description: "It waits for its outcome.",
        parameters: vec!["Key", "IfMatch", "IfAbsent", "IdempotencyKey", "Prefer", "Tenant"],
        body: None,
        accepts: None,
        answers: vec![changed(), accepted()],
        kind: Kind::Write,
        problems: all(&[ANY, TENANT, KEY, SEND, WRITE_KEY, &[Code::NotFound, Code::NotAcceptable]]),
        public: false,
    };
    vec![get, put(), delete]
}

fn put() -> Operation {
    Operation {
        method: "put",
        id: "putTtl",
        tag: super::keys::TAG,
        summary: "Change when a key expires",
        description: "It waits for its outcome. A change that changes nothing keeps the ETag and says so.",
        parameters: super::keys::change_parameters(),
        body: Some(json_of(&schema("TtlChange"), &json!({ "ttl": "15m", "mode": "only_longer" }))),
        accepts: None,
        answers: vec![changed(), accepted()],
        kind: Kind::Write,
        problems: of_change(&[Code::NotFound, Code::NotAcceptable, Code::ValueInvalid]),
        public: false,
    }
}

fn changed() -> Answer {
    let example = json!({ "position": POSITION, "status": "applied", "changed": true, "expires_at": MOMENT });
    Answer::new(200, "It is applied.", json_of(&schema("TtlChanged"), &example))
        .always(&[&KV_POSITION, &header::ETAG])
        .maybe(&[&KV_EXPIRES_AT, &KV_DUPLICATE, &PREFERENCE_APPLIED])
}

/// `/mutations/{position}`.
pub(super) fn mutation() -> Operation {
    let example = json!({ "position": POSITION, "status": "applied", "version": POSITION, "time": MOMENT });
    Operation {
        method: "get",
        id: "getMutation",
        tag: "mutations",
        summary: "What became of a mutation",
        description: "For 24 hours of log time. Always 200 for a known one, with its `problem` when it was rejected or \
            dead-lettered. Of another tenant's it is the same 404 as of one that was never issued.",
        parameters: vec!["PositionInPath", "Wait", "Tenant"],
        body: None,
        accepts: None,
        answers: vec![
            Answer::new(200, "What is known.", json_of(&schema("Mutation"), &example))
                .always(&[&header::CACHE_CONTROL]),
        ],
        kind: Kind::Read,
        problems: all(&[
            ANY,
            TENANT,
            &[
                Code::PositionInvalid,
                Code::UnknownField,
                Code::WaitInvalid,
                Code::PositionUnknown,
                Code::PositionGone,
                Code::NotAcceptable,
                Code::LogUnavailable,
                Code::ShardUnavailable,
                Code::Internal,
            ],
        ]),
        public: false,
    }
}
