//! `/admin/mutations/{position}`: what became of whatever lies at a position, whosever it is.
//!
//! As `GET /mutations/{position}`, and besides `tenant` and `key` (or `key_b64`; `record_key` where it is no key of a
//! tenant). `status` is `forgotten` where the outcome is not kept any more. A control record has `"control": true`.
//! Invariant: tells no value.

use axum::{
    extract::{Path, Request, State as Shared},
    response::Response,
};
use millpond_schemas::Position;
use serde_json::json;

use super::json as answer;
use crate::{
    dead_letters, mutations,
    problem::{Code, Problem},
    query::Query,
    state::App,
    time,
};

/// Its status, and whose it is.
pub(super) async fn get(
    Shared(app): Shared<App>,
    Path(position): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Query::of(request.uri(), &[])?;
    let position: Position = position.parse().map_err(|error: millpond_schemas::PositionInvalid| {
        Problem::new(Code::PositionInvalid, error.to_string())
    })?;
    let received = app.record_at(position).await?;
    let mut told = match app.outcome_of(position, &received, None).await {
        Ok(outcome) => mutations::told(position, outcome.as_ref()),
        Err(problem) if problem.code() == Code::PositionGone => {
            json!({"position": position.to_string(), "status": "forgotten"})
        }
        Err(problem) => return Err(problem),
    };
    told["time"] = time::rfc3339(received.time).into();
    match &received.raw.key {
        Some(key) => dead_letters::insert_key(&mut told, key),
        None => told["control"] = true.into(),
    }
    Ok(answer(&told))
}
