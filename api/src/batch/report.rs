//! The answer to a batch: counts, a session token, what failed, and every result where it waited.
//!
//! Invariant: 202 or 200 says that nothing failed; with one failure it is 207. What is echoed is never read, so it
//! comes back as it was written and takes no more memory than its text.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{StatusCode, header};
use millpond_schemas::{PartitionId, Position};
use serde::Serialize;
use serde_json::value::RawValue;

use super::operations::{Operation, Pending};
use crate::{
    answer::{self, Answer, json_type},
    headers::{self, KV_POSITION},
    problem,
    submit::Accepted,
    time,
};

/// A batch's answer in the making.
pub(crate) struct Report {
    status: StatusCode,
    body: Vec<u8>,
    token: Vec<String>,
}

/// The body.
#[derive(Serialize)]
struct Told<'o> {
    accepted: usize,
    failed: usize,
    positions: &'o [String],
    errors: Vec<Entry<'o>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<Entry<'o>>>,
}

/// What is told of one operation.
#[derive(Serialize)]
struct Entry<'o> {
    line: usize,
    /// As it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'o RawValue>,
    /// Of a rejection that answers a repeat: the single call says so in a header.
    #[serde(rename = "duplicate", skip_serializing_if = "Option::is_none")]
    repeats: Option<bool>,
    #[serde(flatten)]
    end: End<'o>,
}

/// How it ended, as far as is known.
#[derive(Serialize)]
#[serde(untagged)]
enum End<'o> {
    Failed(problem::Told<'o>),
    Answered(Answered<'o>),
    Open {},
}

/// What the single call would have said in its status, headers and body.
#[derive(Serialize)]
struct Answered<'o> {
    status: u16,
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'o str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
}

impl Report {
    /// Of all operations. `waited`: with a result for each.
    pub(crate) fn new(operations: &[Operation<'_>], accepted: &[Accepted], waited: bool) -> Self {
        let token = token(accepted);
        let errors: Vec<Entry<'_>> =
            operations.iter().filter(|operation| operation.state.is_err()).map(Entry::of).collect();
        let failed = errors.len();
        let status = match (failed, waited) {
            (0, true) => StatusCode::OK,
            (0, false) => StatusCode::ACCEPTED,
            (_, _) => StatusCode::MULTI_STATUS,
        };
        let told = Told {
            accepted: operations.len() - failed,
            failed,
            positions: &token,
            errors,
            results: waited.then(|| operations.iter().map(Entry::of).collect()),
        };
        let body = serde_json::to_vec(&told).expect("texts and numbers are JSON");
        Self { status, body, token }
    }
}

/// The highest position of each partition: together a session token.
fn token(accepted: &[Accepted]) -> Vec<String> {
    let mut highest: BTreeMap<PartitionId, Position> = BTreeMap::new();
    for one in accepted {
        let position = highest.entry(one.position.partition).or_insert(one.position);
        *position = (*position).max(one.position);
    }
    highest.values().map(ToString::to_string).collect()
}

impl<'o> Entry<'o> {
    fn of(operation: &'o Operation<'_>) -> Self {
        let end = match &operation.state {
            Err(problem) => End::Failed(problem.told(false, None)),
            Ok(Pending { answer: Some(answer), .. }) => End::Answered(Answered::of(answer)),
            Ok(Pending { answer: None, .. }) => End::Open {},
        };
        let repeats = operation.state.as_ref().err().filter(|problem| problem.is_duplicate()).map(|_| true);
        Self { line: operation.number, id: operation.id, repeats, end }
    }
}

impl<'o> Answered<'o> {
    fn of(answer: &'o Answer) -> Self {
        let (changed, value) = match &answer.told {
            answer::Told::Ttl { changed } => (Some(*changed), None),
            answer::Told::Value { value, .. } => (None, Some(value)),
            answer::Told::Accepted | answer::Told::Applied | answer::Told::Empty => (None, None),
        };
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        Self {
            status: answer.status.as_u16(),
            position: answer.position.to_string(),
            version: answer.version.map(|version| version.to_string()),
            expires_at: answer.expires_at.map(time::rfc3339),
            duplicate: answer.duplicate.then_some(true),
            changed,
            value: text,
            value_b64: value.filter(|_| text.is_none()).map(|value| STANDARD.encode(value)),
        }
    }
}

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, json_type());
        if !self.token.is_empty() {
            let token = headers::of_display(self.token.join(","));
            response.headers_mut().insert(KV_POSITION.clone(), token);
        }
        response
    }
}
