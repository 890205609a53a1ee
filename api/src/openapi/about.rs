//! The operations that tell of the server itself: its version, this document, its page, and the schemas.
//!
//! Invariant: they need no token, and nothing that they tell is of any tenant.

use http::header;
use millpond_schemas::limits::{
    BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, KEY_BYTES_MAX, PAGE_ROWS_MAX, VALUE_BYTES_MAX,
};
use serde_json::{Value, json};

use super::{
    build::{json_of, schema},
    operation::{Answer, Operation},
    problems::{ANY, Kind, all},
};
use crate::problem::Code;

fn get(id: &'static str, summary: &'static str, answers: Vec<Answer>, problems: &[Code]) -> Operation {
    Operation {
        method: "get",
        id,
        tag: "about",
        summary,
        description: "Needs no token.",
        parameters: Vec::new(),
        body: None,
        accepts: None,
        answers,
        kind: Kind::Read,
        problems: all(&[ANY, &[Code::UnknownField], problems]),
        public: true,
    }
}

/// `/version`.
pub(super) fn version() -> Operation {
    let example = json!({ "version": env!("CARGO_PKG_VERSION"), "limits": {
        "key_bytes_max": KEY_BYTES_MAX, "value_bytes_max": VALUE_BYTES_MAX,
        "batch_operations_max": BATCH_OPERATIONS_MAX, "batch_bytes_max": BATCH_BYTES_MAX,
        "page_rows_max": PAGE_ROWS_MAX,
    } });
    let answer =
        Answer::new(200, "Which build this is, and its limits.", json_of(&schema("Version"), &example));
    get("getVersion", "Version and limits", vec![answer], &[Code::NotAcceptable])
}

/// A text that is the same until the next build.
fn fixed(id: &'static str, summary: &'static str, content: Value) -> Operation {
    let with = |answer: Answer| answer.always(&[&header::ETAG, &header::CACHE_CONTROL]);
    let answers = vec![
        with(Answer::new(200, "The same until the next build.", content))
            .always(&[&header::X_CONTENT_TYPE_OPTIONS])
            .maybe(&[&header::CONTENT_SECURITY_POLICY]),
        with(Answer::empty(304, "The client has it.")),
    ];
    let parameters = vec!["IfNoneMatch"];
    Operation { parameters, ..get(id, summary, answers, &[Code::ConditionInvalid]) }
}

/// `/openapi.json`.
pub(super) fn document() -> Operation {
    fixed("getOpenApi", "This document", json!({ "application/json": { "schema": { "type": "object" } } }))
}

/// `/docs`.
pub(super) fn page() -> Operation {
    fixed("getDocs", "This document, to be read", json!({ "text/html": { "schema": { "type": "string" } } }))
}

/// `/schemas`.
pub(super) fn schemas() -> Operation {
    let example = json!({ "schemas": [{
        "name": "mutation.proto", "href": "/schemas/mutation.proto", "title": "What lies on the mutations log",
    }] });
    fixed("listSchemas", "The schemas of what is on the log", json_of(&schema("Schemas"), &example))
}

/// `/schemas/mutation.proto` and its like.
pub(super) fn proto(id: &'static str, summary: &'static str) -> Operation {
    fixed(id, summary, json!({ "text/plain": { "schema": { "type": "string" } } }))
}
