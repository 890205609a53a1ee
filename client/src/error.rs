//! Errors, named for what the caller does next.
//!
//! Not here: absence, which is an answer. Invariant: only [`Error::Unknown`] leaves open whether a write is on the log.

use std::{error::Error as StdError, time::Duration};

use crate::Problem;

/// An answer of which only the beginning was read.
pub(crate) const ANSWER_TOO_LARGE: &str = "it is larger than 64 MiB";

pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call itself is wrong and nothing was sent: mend it.
    #[error("{0}")]
    Invalid(String),
    /// The server refused it; certainly not on the log: mend the call.
    #[error("refused: {0}")]
    Refused(Box<Problem>),
    /// Judged in log order and without effect: read the key again and decide.
    #[error("rejected: {0}")]
    Rejected(Box<Problem>),
    /// Certainly not on the log: the same call may be made again later.
    #[error("{}: {}", if problem.is_some() { "not accepted" } else { "cannot reach the server" },
        reason(problem.as_deref(), source.as_ref()))]
    Unavailable {
        /// What the server said; `None` when it could not be reached.
        problem: Option<Box<Problem>>,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
        /// Why it could not be reached.
        source: Option<Source>,
    },
    /// It may be on the log. Repeat it only with the same Idempotency-Key.
    #[error("outcome unknown: {}", reason(problem.as_deref(), source.as_ref()))]
    Unknown {
        /// What the server, or something between, said.
        problem: Option<Box<Problem>>,
        /// What cut the call off.
        source: Option<Source>,
    },
    /// The answer is not one of the contract's: is this a Millpond server, of a version that fits?
    #[error("answer not understood: {0}")]
    Protocol(String),
}

impl Error {
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }

    /// Whether no server was reached at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unavailable { problem: None, .. })
    }

    /// Whether the server said more than is read at once: ask for less.
    pub(crate) fn is_answer_too_large(&self) -> bool {
        matches!(self, Self::Protocol(text) if text == ANSWER_TOO_LARGE)
    }

    /// What the server said, where it said something.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) | Self::Rejected(problem) => Some(problem),
            Self::Unavailable { problem, .. } | Self::Unknown { problem, .. } => problem.as_deref(),
            Self::Invalid(_) | Self::Protocol(_) => None,
        }
    }

    /// What a status that is no success means.
    pub(crate) fn from_problem(problem: Problem, retry_after: Option<Duration>) -> Self {
        let problem = Box::new(problem);
        match (problem.status, problem.outcome.as_str()) {
            (_, "not-accepted") | (408 | 429, _) => {
                Self::Unavailable { problem: Some(problem), retry_after, source: None }
            }
            (503, "none") => Self::Unavailable { problem: Some(problem), retry_after, source: None },
            (_, "rejected") | (409 | 412, _) => Self::Rejected(problem),
            (400..=499, _) => Self::Refused(problem),
            // A 503 without an outcome comes from something between, which may have sent the call on.
            (500..=599, _) => Self::Unknown { problem: Some(problem), source: None },
            (status, _) => Self::Protocol(format!("status {status}")),
        }
    }
}

/// The innermost cause says what happened; the layers above it only where.
fn reason(problem: Option<&Problem>, source: Option<&Source>) -> String {
    match (problem, source) {
        (Some(problem), _) => problem.to_string(),
        (None, Some(source)) => {
            let mut cause: &dyn StdError = source.as_ref();
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            cause.to_string()
        }
        (None, None) => "no answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, outcome: &str) -> Error {
        Error::from_problem(Problem { status, outcome: outcome.into(), ..Problem::default() }, None)
    }

    #[test]
    fn an_outcome_decides_what_a_status_means() {
        assert!(matches!(of(503, "not-accepted"), Error::Unavailable { .. }));
        assert!(matches!(of(429, ""), Error::Unavailable { .. }));
        assert!(matches!(of(504, "unknown"), Error::Unknown { .. }));
        assert!(matches!(of(412, "rejected"), Error::Rejected(_)));
        assert!(matches!(of(422, "rejected"), Error::Rejected(_)));
        assert!(matches!(of(422, "refused"), Error::Refused(_)));
        assert!(matches!(of(400, "refused"), Error::Refused(_)));
        assert!(matches!(of(302, ""), Error::Protocol(_)));
    }

    #[test]
    fn a_503_that_is_not_the_servers_own_is_unknown() {
        assert!(matches!(of(503, ""), Error::Unknown { .. }));
    }
}
