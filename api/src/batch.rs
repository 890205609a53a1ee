//! `POST /batch`: many operations in one call, one append, one answer.
//!
//! Invariant: 202 only if all were accepted; a line that is refused fails alone and is named; order is kept per key.

mod array;
pub(crate) mod cost;
mod form;
mod line;
mod operations;
mod records;
mod report;

use std::time::Duration;

use axum::{
    extract::{Request, State as Shared},
    response::{IntoResponse, Response},
};
use millpond_schemas::{Mutation, limits::BATCH_BYTES_MAX};
use tokio::time::Instant;

use crate::{
    accept,
    answer::Answer,
    body::{self, Limit},
    call,
    headers::PREFERENCE_APPLIED,
    prefer::Preference,
    problem::{Code, Problem},
    query::Query,
    state::{App, State},
    submit::Accepted,
};
use form::Form;
use operations::{Batch, Context, Operation, Pending};
use report::Report;

/// Takes a batch in any of its forms.
pub(crate) async fn post(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let tenant = call::tenant(&app, &head)?;
    Query::of(&head.uri, &[])?;
    let form = Form::of(&head.headers)?;
    accept::json(&head.headers)?;
    let idempotency_key = call::idempotency_key(&head.headers)?;
    let preference = Preference::of(&head.headers);
    let limit = Limit { bytes: BATCH_BYTES_MAX, code: Code::BatchTooLarge };
    let body = body::read(&app.bodies, &head.headers, body, limit).await?;

    let context = Context {
        tenant: &tenant,
        body: &body.bytes,
        now: app.now(),
        idempotency_key,
        value_bytes_max: app.value_bytes_max_of_all(),
    };
    let mut batch = Batch::read(form, &context)?;
    if app.clocks.count_apart() > 0 {
        batch.refuse(|mutation| app.judge_clock(mutation));
    }
    let Batch { mut operations, mutations } = batch;
    let accepted = submit(&app, &mutations).await?;
    drop(mutations);
    let wait = preference.and_then(wait_of);
    fill(&app, &mut operations, &accepted, wait).await;
    let mut response = Report::new(&operations, &accepted, wait.is_some()).into_response();
    if let Some(preference) = preference {
        response.headers_mut().insert(PREFERENCE_APPLIED.clone(), preference.applied());
    }
    Ok(response)
}

/// A batch waits only when it is told to.
fn wait_of(preference: Preference) -> Option<Duration> {
    match preference {
        Preference::RespondAsync => None,
        Preference::Wait(wait) => Some(wait),
    }
}

/// One append for all of them.
async fn submit(app: &State, mutations: &[Mutation]) -> Result<Vec<Accepted>, Problem> {
    if mutations.is_empty() {
        return Ok(Vec::new());
    }
    app.accepted(app.send(mutations)?).await
}

/// What became of each operation that was accepted: 202, or its outcome where the batch waits.
async fn fill(app: &State, operations: &mut [Operation<'_>], accepted: &[Accepted], wait: Option<Duration>) {
    let Some(wait) = wait else { return };
    let positions: Vec<_> = accepted.iter().map(|one| one.position).collect();
    let settled = app.settle_all(&positions, Instant::now() + wait).await;
    let pending = operations.iter_mut().filter(|operation| operation.state.is_ok());
    for ((operation, accepted), settled) in pending.zip(accepted).zip(settled) {
        let Ok(Pending { asked, answer }) = &mut operation.state else { continue };
        let told = match settled {
            None => Ok(Answer::accepted(*accepted)),
            Some(settled) => Answer::settled(*asked, *accepted, settled),
        };
        match told {
            Ok(told) => *answer = Some(Box::new(told)),
            Err(problem) => operation.state = Err(problem),
        }
    }
}
