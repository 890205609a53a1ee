//! `GET /openapi.json`: the HTTP contract as an `OpenAPI` 3.1 document, made from the code's own tables.
//!
//! Values and not macros, since handlers read raw requests: there is nothing that a macro could look at. Not here: the
//! ops listener. Invariant: every route, every code of a problem and every limit is in it; the suite sends what it
//! allows and what it forbids to a server, and `docs/openapi.json` is the same bytes.

mod about;
mod answer_headers;
mod batch_schemas;
mod beside;
mod build;
mod keys;
mod many;
mod operation;
mod parameters;
mod problems;
mod query_schemas;
mod schemas;
mod shared;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use build::text;
use operation::Operation;
use shared::Shared;

/// The document, as it is served and committed.
pub(crate) fn text_of_document() -> String {
    let document = serde_json::to_string_pretty(&document()).expect("a JSON value is JSON");
    document + "\n"
}

/// Every path with its operations, in the order in which they are shown.
fn paths() -> Vec<(&'static str, Vec<Operation>)> {
    vec![
        ("/kv/{key}", keys::operations()),
        ("/meta/{key}", vec![beside::meta()]),
        ("/ttl/{key}", beside::ttl()),
        ("/batch", vec![many::batch()]),
        ("/kv/query", vec![many::query()]),
        ("/kv", many::collection()),
        ("/mutations/{position}", vec![beside::mutation()]),
        ("/version", vec![about::version()]),
        ("/openapi.json", vec![about::document()]),
        ("/docs", vec![about::page()]),
        ("/schemas", vec![about::schemas()]),
        ("/schemas/mutation.proto", vec![about::proto("getMutationProto", "Records of the mutations log")]),
        ("/schemas/outcome.proto", vec![about::proto("getOutcomeProto", "Records of the outcomes topic")]),
    ]
}

fn document() -> Value {
    let mut shared = Shared::default();
    let paths = paths().into_iter().map(|(path, operations)| {
        let operations = operations.iter().map(|one| (one.method.to_owned(), one.told(&mut shared)));
        (path.to_owned(), build::object(operations))
    });
    let mut paths = build::object(paths);
    paths["/kv/query"]["description"] =
        text("POST is a query. With any other method, `query` is a key like every other: see `/kv/{key}`.")
            .into();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Millpond",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A SQL-backed key-value store that takes writes at log speed.",
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The server that this document came from." }],
        "security": [{ "bearer": [] }, {}],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": {
                "type": "http", "scheme": "bearer",
                "description": text("A token of `millpond token new`. Where the server has no tokens, none is needed. The token says \
                    whose keys a call is about, and whether it may read or write."),
            } },
            "parameters": build::object(parameters::all()),
            "responses": build::object(shared.all()),
            "schemas": build::object(schemas::all()),
        },
        "x-unmatched": {
            "description": "What answers a path or a method that is not described here. An OPTIONS is 204 with `Allow`; a \
                HEAD answers as the GET does.",
            "responses": unmatched(),
        },
    });
    document["components"]["headers"] = build::object(answer_headers::all(&document));
    document
}

/// What answers a call that no operation matches.
fn unmatched() -> Value {
    let answers = problems::answers(problems::UNMATCHED, problems::Kind::Read, None);
    build::object(answers.into_iter().map(|(status, answer)| (status.to_string(), answer)))
}

fn tags() -> Value {
    json!([
        { "name": "keys", "description": "One key: its value, its meta data, its TTL." },
        { "name": "batches", "description": "Many writes in one call." },
        { "name": "queries", "description": "Many keys in one call." },
        { "name": "mutations", "description": "What became of a write." },
        { "name": "about", "description": "The server itself." },
    ])
}

const DESCRIPTION: &str = "Raw bytes in, raw bytes out, with the stored content type. A write is a mutation: once the log has it, \
it is accepted and will be judged in its order; then it is applied, or rejected by its condition.\n\n\
**Errors** are `application/problem+json` (RFC 9457) with a stable `code`; `docs/errors.md` says what to do about each. 429 \
and 503 come with `Retry-After`.\n\n\
**Versions.** An ETag is the position of the mutation that last changed the row, in quotes: strong, and the same on every \
replica.\n\n\
**Reading what was written.** A write answers with `KV-Position`; a read that sends it as `KV-Min-Position` is not older.\n\n\
**Times** are RFC 3339 in UTC with milliseconds; durations are `90`, `90s`, `15m`, `1500ms`.\n\n\
**Unknown** query parameters and members are refused, never passed over.\n\n\
**Nothing was changed** by an answer of 4xx; 404, 409, 412 and 422 with the `outcome` rejected leave a mutation on the log that \
had no effect.";
