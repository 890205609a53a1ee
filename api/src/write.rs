//! PUT, DELETE and PATCH of a key, and the way of every single write: check, send, wait if asked, answer.
//!
//! Invariant: everything that can be refused is refused before the log has it; nothing is judged early.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State as Shared},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header, request::Parts};
use millpond_schemas::{ByteString, CONTENT_TYPE_DEFAULT, Mutation, Op, limits::CONTENT_TYPE_BYTES_MAX};
use tokio::time::Instant;

use crate::{
    Config,
    answer::{Answer, Asked},
    body::{self, Limit},
    call::{self, Called},
    conditions, expiry,
    headers::{self, PREFERENCE_APPLIED},
    patch::Form,
    prefer::Preference,
    problem::{Code, Problem},
    query::Query,
    settle::Settled,
    state::{App, State},
    submit::{Accepted, Sent},
};

const ROOT: &str = "/kv/";

/// `PUT /kv/{key}`: replaces everything.
pub(crate) async fn put(Shared(app): Shared<App>, request: Request) -> Response {
    put_key(&app, request).await
}

/// The same, without a router.
pub(crate) fn put_key(app: &App, request: Request) -> impl Future<Output = Response> + Send + use<> {
    let app = Arc::clone(app);
    // Apart, so that a call that waits for its outcome holds nothing of its request.
    let begun = Box::pin(begin_put(Arc::clone(&app), request));
    async move {
        let (sent, turn) = match begun.await {
            Ok(begun) => begun,
            Err(problem) => return problem.into_response(),
        };
        let accepted = match accepted(&app, sent).await {
            Ok(accepted) => accepted,
            Err(problem) => return problem.into_response(),
        };
        let settled = turn.settled(&app, &accepted).await;
        turn.answer(accepted, settled).into_response()
    }
}

async fn begin_put(app: App, request: Request) -> Result<(Sent, Turn), Problem> {
    let (head, body) = request.into_parts();
    let called = Called::of(&app, &head, ROOT)?;
    let query = Query::of(&head.uri, &["ttl"])?;
    refuse_part(&head.headers)?;
    let expiry = expiry::of_put(&head.headers, query.get("ttl"), app.now())?;
    let content_type = content_type(&head.headers)?;
    let checked = Checked::of(&head, called)?;
    let limit = Limit { bytes: app.value_bytes_max(checked.called.partition), code: Code::ValueTooLarge };
    let value = body::read(&app.bodies, &head.headers, body, limit).await?.bytes;
    begin(&app, checked.mutation(Op::Put { value, content_type, expiry }))
}

/// `DELETE /kv/{key}`.
pub(crate) async fn delete(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, _body) = request.into_parts();
    let called = Called::of(&app, &head, ROOT)?;
    Query::of(&head.uri, &[])?;
    expiry::refuse(&head.headers)?;
    write(&app, Checked::of(&head, called)?.mutation(Op::Delete)).await
}

/// `PATCH /kv/{key}`: increment, append, merge-patch or json-patch.
pub(crate) async fn patch(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let called = Called::of(&app, &head, ROOT)?;
    Query::of(&head.uri, &[])?;
    expiry::refuse(&head.headers)?;
    let form = Form::of(&head.headers)?;
    let checked = Checked::of(&head, called)?;
    let value_bytes_max = app.value_bytes_max(checked.called.partition);
    let limit = Limit { bytes: form.body_bytes_max(value_bytes_max), code: Code::ValueTooLarge };
    let body = body::read(&app.bodies, &head.headers, body, limit).await?.bytes;
    write(&app, checked.mutation(form.op(body, value_bytes_max)?)).await
}

/// What every single write says in its headers.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Which key.
    pub(crate) called: Called,
    id: millpond_schemas::MutationId,
    conditions: millpond_schemas::Conditions,
    preference: Option<Preference>,
}

/// A mutation, and how its caller wants to be answered.
#[derive(Debug)]
pub(crate) struct Asking {
    mutation: Mutation,
    preference: Option<Preference>,
}

impl Checked {
    /// Reads conditions, Idempotency-Key and preference.
    pub(crate) fn of(head: &Parts, called: Called) -> Result<Self, Problem> {
        Ok(Self {
            conditions: conditions::of_write(&head.headers)?,
            id: call::mutation_id(&head.headers, &called.key)?,
            preference: Preference::of(&head.headers),
            called,
        })
    }

    /// With an operation it is a mutation.
    pub(crate) fn mutation(self, op: Op) -> Asking {
        let mutation = Mutation { key: self.called.key, id: Some(self.id), conditions: self.conditions, op };
        Asking { mutation, preference: self.preference }
    }
}

/// What an answer turns on, beside what becomes of the mutation.
#[derive(Clone, Copy, Debug)]
struct Turn {
    asked: Asked,
    wait: Option<Duration>,
    preference: Option<Preference>,
}

/// Sends one mutation and answers: 202, or its outcome.
pub(crate) async fn write(app: &State, asking: Asking) -> Result<Response, Problem> {
    let (sent, turn) = begin(app, asking)?;
    let accepted = accepted(app, sent).await?;
    let settled = turn.settled(app, &accepted).await;
    turn.answer(accepted, settled)
}

/// Sends one mutation. From then on the log's queue owns the record: a client that goes away takes nothing back.
fn begin(app: &State, asking: Asking) -> Result<(Sent, Turn), Problem> {
    let Asking { mutation, preference } = asking;
    let asked = Asked::of(&mutation);
    let wait = wait_of(&mutation, preference, &app.config);
    let sent = app.send(std::slice::from_ref(&mutation))?;
    Ok((sent, Turn { asked, wait, preference }))
}

async fn accepted(app: &State, sent: Sent) -> Result<Accepted, Problem> {
    Ok(app.accepted(sent).await?.pop().expect("one record has one ack"))
}

impl Turn {
    /// What becomes of it. None: that is not waited for, or open when time is over.
    async fn settled(&self, app: &State, accepted: &Accepted) -> Option<Settled> {
        app.settle(accepted.position, Instant::now() + self.wait?).await
    }

    fn answer(&self, accepted: Accepted, settled: Option<Settled>) -> Result<Response, Problem> {
        let answer = match settled {
            None => Answer::accepted(accepted),
            Some(settled) => Answer::settled(self.asked, accepted, settled)?,
        };
        let mut response = answer.into_response();
        if let Some(preference) = self.preference {
            response.headers_mut().insert(PREFERENCE_APPLIED.clone(), preference.applied());
        }
        Ok(response)
    }
}

/// How long a write waits for its outcome; none: not at all.
fn wait_of(mutation: &Mutation, preference: Option<Preference>, config: &Config) -> Option<Duration> {
    match preference {
        Some(Preference::RespondAsync) => None,
        Some(Preference::Wait(wait)) => Some(wait),
        None if mutation.is_blind() && !mutation.id.is_some_and(|id| id.durable) => {
            Some(config.default_wait).filter(|wait| !wait.is_zero())
        }
        None => Some(config.write_wait),
    }
}

/// A part of a value would replace the whole of it.
fn refuse_part(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Problem::new(Code::BodyInvalid, "PUT takes a whole value, without Content-Range"));
    }
    Ok(())
}

fn content_type(headers: &HeaderMap) -> Result<ByteString, Problem> {
    let code = Code::ContentTypeInvalid;
    match headers::single(headers, &header::CONTENT_TYPE, code)?.unwrap_or_default() {
        "" => Ok(ByteString::from_static(CONTENT_TYPE_DEFAULT)),
        // A header may hold one; a row, and so the log, may not.
        text if text.contains('\t') => Err(Problem::new(code, "a content type holds no tab")),
        text if text.len() <= CONTENT_TYPE_BYTES_MAX => Ok(text.into()),
        _ => Err(Problem::new(code, format!("at most {CONTENT_TYPE_BYTES_MAX} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{Conditions, MutationId, RecordKey, Tenant};

    use super::*;

    #[test]
    fn only_blind_writes_without_a_durable_id_do_not_wait() {
        let key = RecordKey::new(&Tenant::new("a").unwrap(), b"k").unwrap();
        let mutation =
            |op: Op| Mutation { key: key.clone(), id: None, conditions: Conditions::default(), op };
        let default = Duration::from_secs(5);
        let config = Config { write_wait: default, ..Config::default() };
        let wait = |mutation: &Mutation, preference| wait_of(mutation, preference, &config);
        let blind = mutation(Op::Delete);
        let conditional = Mutation {
            conditions: Conditions { exists: true, ..Conditions::default() },
            ..mutation(Op::Delete)
        };
        let durable =
            Mutation { id: Some(MutationId { bytes: [1; 16], durable: true }), ..mutation(Op::Delete) };
        let increment = mutation(Op::Increment { by: 1, initial: 0 });
        assert_eq!(wait(&blind, None), None);
        for waits in [&conditional, &durable, &increment] {
            assert_eq!(wait(waits, None), Some(default));
            assert_eq!(wait(waits, Some(Preference::RespondAsync)), None);
        }
        let asked = Duration::from_secs(9);
        assert_eq!(wait(&blind, Some(Preference::Wait(asked))), Some(asked));
        let patient = Config { default_wait: Duration::from_secs(3), ..config };
        let wait = |mutation: &Mutation, preference| wait_of(mutation, preference, &patient);
        assert_eq!(wait(&blind, None), Some(patient.default_wait));
        assert_eq!(wait(&blind, Some(Preference::RespondAsync)), None);
        assert_eq!(wait(&conditional, None), Some(default));
    }
}
