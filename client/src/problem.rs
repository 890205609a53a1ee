//! `application/problem+json` as the server sends it (RFC 9457).
//!
//! Not an error by itself: `error` decides what a problem means to the caller.
//! Invariant: an unknown field is ignored and a missing one has a default, so that newer servers stay readable.

use std::fmt;

use serde::Deserialize;

/// What the server said about a call that it did not carry out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status; filled in from the answer when the body has none.
    pub status: u16,
    /// One stable word per condition, such as `version-mismatch`. Empty when the answer was no problem document.
    pub code: String,
    /// What became of a write: refused, not-accepted, unknown, rejected; `none` on reads.
    pub outcome: String,
    /// One line for a person.
    pub title: String,
    /// What is particular to this occurrence.
    pub detail: String,
    /// What to do, where that is certain.
    pub hint: String,
    /// Why a record is a dead letter, one stable word.
    pub reason: String,
    /// Names this request in the server's own log.
    pub request_id: String,
}

impl Problem {
    /// Reads an answer's body; what is no problem document gives one with only the status.
    pub(crate) fn parse(status: u16, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status;
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        let text = if self.detail.is_empty() { &self.title } else { &self.detail };
        if !text.is_empty() {
            write!(f, ": {text}")?;
        }
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        if !self.request_id.is_empty() {
            write!(f, " [request {}]", self.request_id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_one_line() {
        let body = br#"{"status":412,"code":"version-mismatch","title":"t","hint":"read it again","x":1}"#;
        assert_eq!(Problem::parse(412, body).to_string(), "412 version-mismatch: t (read it again)");
    }

    #[test]
    fn what_is_no_problem_document_keeps_its_status() {
        assert_eq!(Problem::parse(502, b"<html>"), Problem { status: 502, ..Problem::default() });
    }
}
