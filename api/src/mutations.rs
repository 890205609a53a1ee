//! `GET /mutations/{position}`: what became of a mutation.
//!
//! Whose it is, the log says; what became of it, the shard. Invariant: of another tenant's mutation, of a control
//! record and of what was never issued the answer is the same 404.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State as Shared},
    response::Response,
};
use http::{HeaderValue, header};
use millpond_log::Error;
use millpond_schemas::{Outcome, Position, Received, RecordKey, Tenant, limits::MEMORY_MS};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    accept,
    answer::json_type,
    call, duration,
    prefer::WAIT_MAX,
    problem::{Code, Problem},
    query::Query,
    state::{App, State, kept_outcome},
    time,
};

const ROOT: &str = "/mutations/";

/// Status and all that is known with it.
pub(crate) async fn get(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, _body) = request.into_parts();
    accept::json(&head.headers)?;
    let tenant = call::tenant(&app, &head)?;
    let query = Query::of(&head.uri, &["wait"])?;
    let wait = query.get("wait").map(wait_of).transpose()?;
    let text = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let position: Position = text.parse().map_err(|error: millpond_schemas::PositionInvalid| {
        Problem::new(Code::PositionInvalid, error.to_string())
    })?;
    let received = app.record_of(position, &tenant).await?;
    let outcome = app.outcome_of(position, &received, wait).await?;
    let mut told = told(position, outcome.as_ref());
    told["time"] = time::rfc3339(received.time).into();
    let mut response = Response::new(Body::from(told.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, json_type());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn wait_of(text: &str) -> Result<Duration, Problem> {
    let wait = duration::parse(text).ok_or_else(|| {
        Problem::new(Code::WaitInvalid, "a wait is a whole number with ms, s, m, h or d, or of seconds")
    })?;
    Ok(wait.min(WAIT_MAX))
}

/// The members that an outcome is told by.
pub(crate) fn told(position: Position, outcome: Option<&Outcome>) -> Value {
    let name = position.to_string();
    match outcome {
        None => json!({"position": name, "status": "accepted"}),
        Some(Outcome::Applied(effect)) => {
            let version = effect.as_ref().map(|effect| effect.version.position(position.partition));
            let version = version.unwrap_or(position).to_string();
            let mut told = json!({"position": name, "status": "applied", "version": version});
            if let Some(effect) = effect {
                told["changed"] = effect.changed.into();
                told["expires_at"] = effect.expires_at.map(time::rfc3339).into();
            }
            told
        }
        Some(Outcome::Rejected(rejected)) => {
            let problem = Problem::of_rejected(rejected, position);
            json!({"position": name, "status": "rejected", "problem": problem.told(false, None)})
        }
        Some(Outcome::Duplicate { of, .. }) => {
            json!({"position": name, "status": "duplicate", "of": of.to_string()})
        }
        Some(Outcome::DeadLettered(refusal)) => {
            let problem = Problem::of_refusal(refusal, position);
            json!({"position": name, "status": "dead_lettered", "problem": problem.told(false, None)})
        }
    }
}

fn unknown() -> Problem {
    Problem::new(Code::PositionUnknown, "")
}

fn gone() -> Problem {
    Problem::new(Code::PositionGone, "outcomes are kept for 24 hours")
}

impl State {
    /// The record at a position, if it is this tenant's mutation.
    async fn record_of(&self, position: Position, tenant: &Tenant) -> Result<Received, Problem> {
        let record = self.record_at(position).await?;
        let key = record.raw.key.clone().and_then(|key| RecordKey::parse(key).ok());
        if key.is_none_or(|key| key.tenant() != tenant.as_str()) {
            return Err(unknown());
        }
        Ok(record)
    }

    /// The record at a position, whatever it is.
    pub(crate) async fn record_at(&self, position: Position) -> Result<Received, Problem> {
        if position.generation != self.generation() || !self.is_issued(position).await? {
            return Err(unknown());
        }
        match self.log.record(position.partition, position.offset).await {
            Ok(record) => record.ok_or_else(unknown),
            Err(Error::Trimmed { .. }) => Err(gone()),
            Err(Error::BeyondEnd { .. }) => Err(unknown()),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a record cannot be read");
                Err(Problem::new(Code::LogUnavailable, ""))
            }
        }
    }

    /// What became of it; none: it is not applied yet.
    pub(crate) async fn outcome_of(
        &self,
        position: Position,
        received: &Received,
        wait: Option<Duration>,
    ) -> Result<Option<Outcome>, Problem> {
        let Position { partition, offset, .. } = position;
        let (known, time) = {
            let partition = self.partitions.of(partition);
            (partition.outcome(offset), partition.committed_time())
        };
        if time.ms_since(received.time) > MEMORY_MS {
            return Err(gone());
        }
        if known.is_some() {
            return Ok(known);
        }
        let wait = wait.filter(|wait| !wait.is_zero());
        let deadline = wait.map_or(self.config.shard_deadline, |wait| wait.min(self.config.shard_deadline));
        match (self.read_outcomes(partition, (offset, offset), deadline).await, wait) {
            // What the shard has forgotten it would take for plain success.
            (Ok(outcomes), _) if outcomes.freshness.time.ms_since(received.time) > MEMORY_MS => Err(gone()),
            (Ok(outcomes), None) => Ok(kept_outcome(&outcomes, offset)),
            (Err(problem), None) => Err(problem),
            (read, Some(wait)) => match read.as_ref().ok().and_then(|read| kept_outcome(read, offset)) {
                Some(outcome) => Ok(Some(outcome)),
                // A shard that does not answer now may do so before the wait is over.
                None => Ok(self.outcomes_of(&[position], Instant::now() + wait).await.pop().flatten()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{DeadReason, Refusal, Rejected, Rejection};

    use super::*;

    #[test]
    fn every_status_is_told_with_what_belongs_to_it() {
        let position: Position = "1-2-3".parse().unwrap();
        let of = |outcome: Option<Outcome>| told(position, outcome.as_ref());
        assert_eq!(of(None), json!({"position": "1-2-3", "status": "accepted"}));
        assert_eq!(
            of(Some(Outcome::Applied(None))),
            json!({"position": "1-2-3", "status": "applied", "version": "1-2-3"})
        );
        let first = "1-2-1".parse().unwrap();
        assert_eq!(
            of(Some(Outcome::Duplicate { of: first, original: None })),
            json!({"position": "1-2-3", "status": "duplicate", "of": "1-2-1"})
        );
        let rejected = Rejected { rejection: Rejection::ConditionFailed, current: None };
        let rejected = of(Some(Outcome::Rejected(rejected)));
        assert_eq!(rejected["status"], "rejected");
        assert_eq!(rejected["problem"]["code"], "condition-failed");
        assert_eq!(rejected["problem"]["status"], 412);
        assert_eq!(rejected["problem"]["current"], Value::Null);
        let dead = of(Some(Outcome::DeadLettered(Refusal::new(DeadReason::Skipped, "given up"))));
        assert_eq!(dead["status"], "dead_lettered");
        assert_eq!(dead["problem"]["reason"], "skipped");
    }

    #[test]
    fn a_wait_is_a_duration_of_at_most_thirty_seconds() {
        let of = |text: &str| wait_of(text).map_err(|problem| problem.code());
        assert_eq!(of("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(of("1d"), Ok(WAIT_MAX));
        assert_eq!(of("0"), Ok(Duration::ZERO));
        assert_eq!(of("soon"), Err(Code::WaitInvalid));
    }
}
