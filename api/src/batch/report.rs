//! The answer to a batch: counts, a session token, what failed, and every result where it waited.
//!
//! Invariant: 202 or 200 says that nothing failed; with one failure it is 207.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{StatusCode, header};
use millpond_schemas::{PartitionId, Position};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Operation, Pending};
use crate::{
    answer::{Answer, Told, json_type},
    headers::{self, KV_POSITION},
    problem::Problem,
    submit::Accepted,
    time,
};

/// A batch's answer in the making.
pub(crate) struct Report {
    status: StatusCode,
    body: Value,
    token: Vec<String>,
}

impl Report {
    /// Of all operations. `waited`: with a result for each.
    pub(crate) fn new(operations: &[Operation<'_>], accepted: &[Accepted], waited: bool) -> Self {
        let token = token(accepted);
        let errors: Vec<Value> = operations.iter().filter_map(error).collect();
        let failed = errors.len();
        let status = match (failed, waited) {
            (0, true) => StatusCode::OK,
            (0, false) => StatusCode::ACCEPTED,
            (_, _) => StatusCode::MULTI_STATUS,
        };
        let mut body = json!({
            "accepted": operations.len() - failed,
            "failed": failed,
            "positions": token,
            "errors": errors,
        });
        if waited {
            body["results"] = operations.iter().map(result).collect();
        }
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

fn error(operation: &Operation<'_>) -> Option<Value> {
    let problem = operation.state.as_ref().err()?;
    Some(of_problem(operation, problem))
}

fn result(operation: &Operation<'_>) -> Value {
    match &operation.state {
        Err(problem) => of_problem(operation, problem),
        Ok(Pending { answer, .. }) => {
            let mut entry = named(operation);
            if let Some(answer) = answer {
                fill(&mut entry, answer);
            }
            Value::Object(entry)
        }
    }
}

/// What the single call would have said in its status, headers and body.
fn fill(entry: &mut Map<String, Value>, answer: &Answer) {
    let mut set = |name: &str, value: Value| entry.insert(name.to_owned(), value);
    set("status", answer.status.as_u16().into());
    set("position", answer.position.to_string().into());
    if let Some(version) = answer.version {
        set("version", version.to_string().into());
    }
    if let Some(at) = answer.expires_at {
        set("expires_at", time::rfc3339(at).into());
    }
    if answer.duplicate {
        set("duplicate", true.into());
    }
    match &answer.told {
        Told::Ttl { changed } => drop(set("changed", (*changed).into())),
        Told::Value { value, .. } => match std::str::from_utf8(value) {
            Ok(text) => drop(set("value", text.into())),
            Err(_) => drop(set("value_b64", STANDARD.encode(value).into())),
        },
        Told::Accepted | Told::Applied | Told::Empty => {}
    }
}

fn of_problem(operation: &Operation<'_>, problem: &Problem) -> Value {
    let mut entry = named(operation);
    let told = serde_json::to_value(problem.told(false, None));
    if let Ok(Value::Object(told)) = told {
        entry.extend(told);
    }
    Value::Object(entry)
}

/// The line's number, and its id as it came.
fn named(operation: &Operation<'_>) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("line".to_owned(), operation.number.into());
    let echo = |id: &RawValue| serde_json::from_str(id.get()).ok();
    if let Some(id) = operation.id.and_then(echo) {
        entry.insert("id".to_owned(), id);
    }
    entry
}

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body.to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, json_type());
        if !self.token.is_empty() {
            let token = headers::of_display(self.token.join(","));
            response.headers_mut().insert(KV_POSITION.clone(), token);
        }
        response
    }
}
