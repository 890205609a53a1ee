//! A place where one call at a time is made, and what became of it.
//!
//! Invariant: a call is good only with the very status that it wants; a version that somebody else has overwritten is
//! rejected, and a key that is not there a miss: neither is a failure of the server.

use std::sync::Arc;

use anyhow::Result;

use super::{
    bodies,
    connection::{Answer, Connection, Take},
    native,
    plan::{Plan, Step},
    workload::Kind,
};

/// One of the places.
pub(super) enum Slot {
    /// Over HTTP.
    Http { connection: Connection, plan: Arc<Plan> },
    /// Straight to the log.
    Native(native::Producer),
}

/// A call that was made.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) kind: Kind,
    pub(super) operations: u64,
    pub(super) verdict: Verdict,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As wanted.
    Good,
    /// There was no such key.
    Missed,
    /// Somebody else was faster.
    Rejected,
    /// Anything else, in words.
    Failed(String),
}

impl Slot {
    /// Makes call `number`.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) async fn call(&mut self, number: u64) -> Result<Called> {
        let (connection, plan) = match self {
            Self::Http { connection, plan } => (connection, plan),
            Self::Native(producer) => return Ok(producer.call(number).await),
        };
        let (kind, operations, verdict) = match plan.step(number) {
            Step::Once { kind, operations, request } => {
                (*kind, *operations, judge(*kind, &connection.send(request, Take::Nothing).await?))
            }
            Step::Modify { read, write } => {
                let read = connection.send(read, Take::Etag).await?;
                let verdict = match (judge(Kind::Get, &read), &read.etag) {
                    (Verdict::Good, Some(etag)) => {
                        judge(Kind::Wait, &connection.send(&write.if_match(etag)?, Take::Nothing).await?)
                    }
                    (verdict, _) => verdict,
                };
                (Kind::ReadModifyWrite, 1, verdict)
            }
            Step::ModifyMany { read, operations } => {
                let read = connection.send(read, Take::Body).await?;
                let mut verdict = judge(Kind::Query, &read);
                if verdict == Verdict::Good {
                    let write = plan.rewrite(&bodies::found(&read.body)?)?;
                    verdict = judge(Kind::ReadModifyWrite, &connection.send(&write, Take::Nothing).await?);
                }
                (Kind::ReadModifyWrite, *operations, verdict)
            }
        };
        Ok(Called { kind, operations, verdict })
    }
}

fn judge(kind: Kind, answer: &Answer) -> Verdict {
    match (kind, answer.status) {
        (Kind::Put | Kind::Insert | Kind::Batch, 202)
        // With `Prefer: wait`.
        | (Kind::Batch | Kind::Insert | Kind::Wait | Kind::Get | Kind::Query | Kind::Scan | Kind::ReadModifyWrite, 200) => {
            Verdict::Good
        }
        (Kind::Get, 404) => Verdict::Missed,
        (Kind::Wait, 412) | (Kind::ReadModifyWrite, 207) => Verdict::Rejected,
        (_, status) => {
            let body: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
            Verdict::Failed(format!("{} was answered {status} {body}", kind.name()))
        }
    }
}
