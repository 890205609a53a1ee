//! `/batch` answers: how many lines the log has, and which failed why.
//!
//! Not here: making operations; `operation` makes one, `import` those of whole files.
//! Invariant: `accepted + failed` is the number of operations that were sent.

use http::StatusCode;
use serde::Deserialize;

use crate::{Encoding, Error, Position, Wait, answer, transport::Reply};

/// What one batch asks for.
#[derive(Clone, Debug, Default)]
pub struct BatchOptions {
    /// How the operations are written.
    pub encoding: Encoding,
    /// Makes the batch repeatable: each line's number makes a key of it. Give it, or a key in every line and
    /// `keyed_lines`, or unknown outcomes are not retried.
    pub idempotency_key: Option<String>,
    /// Every line carries an `idempotency_key` of its own.
    pub keyed_lines: bool,
    /// [`Wait::Applied`] waits for every outcome.
    pub wait: Wait,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BatchAnswer {
    /// Lines that the log has; when waited for: that took effect.
    pub accepted: u64,
    /// Lines that it has not; when waited for: or that were rejected.
    pub failed: u64,
    /// The highest position of each partition: together a token to read from.
    #[serde(default)]
    pub positions: Vec<Position>,
    /// One per failed line, in order.
    #[serde(default)]
    pub errors: Vec<LineFailure>,
    /// One per line, in order, when outcomes were waited for; else empty.
    #[serde(default)]
    pub results: Vec<LineResult>,
}

/// What became of one line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LineResult {
    /// Counts from 1.
    pub line: u64,
    /// The line's own `id`, echoed: any JSON.
    #[serde(default)]
    pub id: Option<serde_json::Value>,
    /// The status that the single call would have got; 202: the outcome was not known in time.
    pub status: u16,
    /// Where it lies on the log; `None`: it does not.
    #[serde(default)]
    pub position: Option<Position>,
    /// Why it failed; empty when it did not.
    #[serde(default)]
    pub code: String,
}

/// Why one line failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LineFailure {
    /// Counts from 1, blank lines included.
    pub line: u64,
    /// The line's own `id`, echoed: any JSON.
    pub id: Option<serde_json::Value>,
    /// The status that the single call would have got.
    pub status: u16,
    /// One stable word per condition.
    pub code: String,
    /// What is particular to this line.
    pub detail: String,
    /// One line for a person.
    pub title: String,
    /// Where in the line, a JSON Pointer; may be empty.
    pub pointer: String,
    /// Where it lies on the log, when it was rejected there.
    pub position: Option<Position>,
}

impl LineFailure {
    /// Whether the line is certainly not on the log, or may be, and is worth sending again as it is.
    pub fn is_retryable(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..=599)
    }
}

impl BatchAnswer {
    pub(crate) fn read(reply: &Reply) -> Result<Self, Error> {
        let answer: Self = answer::json(reply)?;
        let told = u64::try_from(answer.errors.len()).unwrap_or(u64::MAX);
        if told != answer.failed || (reply.status == StatusCode::ACCEPTED && answer.failed > 0) {
            return Err(Error::Protocol("a batch's answer that does not add up".into()));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn read(status: StatusCode, body: &'static str) -> Result<BatchAnswer, Error> {
        BatchAnswer::read(&Reply {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        })
    }

    #[test]
    fn a_partly_failed_batch_names_its_lines() {
        let body = r#"{"accepted":2,"failed":1,"positions":["1-0-7"],
            "errors":[{"line":7,"id":"c1","status":400,"code":"ttl-invalid","pointer":"/ttl"}]}"#;
        let answer = read(StatusCode::MULTI_STATUS, body).unwrap();
        assert_eq!((answer.accepted, answer.failed), (2, 1));
        assert_eq!((answer.errors[0].line, answer.errors[0].code.as_str()), (7, "ttl-invalid"));
        assert!(!answer.errors[0].is_retryable());
    }

    #[test]
    fn an_id_is_any_json() {
        let body = r#"{"accepted":0,"failed":2,"errors":[{"line":1,"id":7},{"line":2,"id":{"a":[1]}}]}"#;
        let ids: Vec<_> =
            read(StatusCode::MULTI_STATUS, body).unwrap().errors.into_iter().map(|e| e.id).collect();
        assert_eq!(ids, [Some(7.into()), Some(serde_json::json!({"a": [1]}))]);
    }

    #[test]
    fn an_answer_that_does_not_add_up_is_none() {
        for (status, body) in [
            (StatusCode::MULTI_STATUS, r#"{"accepted":2,"failed":1}"#),
            (StatusCode::ACCEPTED, r#"{"accepted":1,"failed":1,"errors":[{"line":1,"status":400}]}"#),
            (StatusCode::ACCEPTED, r#"{"accepted":"#),
        ] {
            assert!(matches!(read(status, body), Err(Error::Protocol(_))), "{body}");
        }
    }
}
