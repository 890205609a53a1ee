//! `POST /batch`: many operations in one call, one append, one answer.
//!
//! Invariant: 202 only if all were accepted; a line that is refused fails alone and is named; order is kept per key.

mod line;
mod report;

use std::time::Duration;

use axum::{
    extract::{Request, State as Shared},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use millpond_schemas::{
    Mutation,
    limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX},
};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    accept,
    answer::{Answer, Asked},
    body::{self, Limit},
    call,
    headers::{self, PREFERENCE_APPLIED},
    prefer::Preference,
    problem::{Code, Problem},
    query::Query,
    state::{App, State},
    submit::Accepted,
};
use line::{Context, Line};
use report::Report;

const NDJSON: &str = "application/x-ndjson";
static ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// One operation on its way.
pub(crate) struct Operation<'a> {
    /// From 1, blank lines counted.
    number: usize,
    /// Echoed.
    id: Option<&'a RawValue>,
    /// What the single call would answer, as far as is known.
    state: Result<Pending, Problem>,
}

/// An operation that was not refused.
struct Pending {
    asked: Asked,
    answer: Option<Answer>,
}

/// Takes a batch in NDJSON.
pub(crate) async fn post(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let tenant = call::tenant(&head.headers)?;
    Query::of(&head.uri, &[])?;
    check_media_type(&head.headers)?;
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
    let (mut operations, mutations) = parse(&body.bytes, &context)?;
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

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let text = headers::single(headers, &header::CONTENT_TYPE, Code::ContentTypeInvalid)?.unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(NDJSON) {
        return Ok(());
    }
    Err(Problem::new(Code::MediaTypeUnsupported, "a batch is application/x-ndjson: one JSON object a line")
        .header(ACCEPT_POST.clone(), HeaderValue::from_static(NDJSON)))
}

/// A batch waits only when it is told to.
fn wait_of(preference: Preference) -> Option<Duration> {
    match preference {
        Preference::RespondAsync => None,
        Preference::Wait(wait) => Some(wait),
    }
}

/// Every line that is not blank, in order, and the mutations of those that are not refused.
fn parse<'a>(body: &'a Bytes, context: &Context<'_>) -> Result<(Vec<Operation<'a>>, Vec<Mutation>), Problem> {
    let lines = || (1..).zip(body.split(|b| *b == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty());
    match lines().take(BATCH_OPERATIONS_MAX + 1).count() {
        0 => return Err(Problem::new(Code::BatchEmpty, "a batch holds an operation a line")),
        1..=BATCH_OPERATIONS_MAX => {}
        _ => return Err(Problem::new(Code::BatchTooLarge, "too many operations").limit(BATCH_OPERATIONS_MAX)),
    }
    let (mut operations, mut mutations) = (Vec::new(), Vec::new());
    for (number, text) in lines() {
        let line = Line::parse(text.trim_ascii());
        let id = line.as_ref().map_or_else(|_| line::id_of(text), |line| line.id);
        let state = line.and_then(|line| line.mutation(number, context)).map(|mutation| {
            let asked = Asked::of(&mutation);
            mutations.push(mutation);
            Pending { asked, answer: None }
        });
        operations.push(Operation { number, id, state });
    }
    Ok((operations, mutations))
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
            Ok(told) => *answer = Some(told),
            Err(problem) => operation.state = Err(problem),
        }
    }
}
