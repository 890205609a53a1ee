//! How a problem is told (RFC 9457). Which there are: [`codes`].
//!
//! Not here: deciding that there is one. Invariant: no text in a problem holds a byte that a user sent.

use std::{borrow::Cow, fmt};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use millpond_schemas::{JsonInvalid, Offset, Position, Refusal, Rejected, Rejection};
use serde::Serialize;
use serde_json::Value;

use crate::headers::{KV_DUPLICATE, KV_POSITION};

mod codes;
#[cfg(test)]
mod page;

pub(crate) use codes::{Code, Fate};

/// A problem on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: Code,
    detail: Cow<'static, str>,
    hint: Option<&'static str>,
    limit: Option<u64>,
    pointer: Option<String>,
    position: Option<Position>,
    /// A position, or null: absent.
    current: Option<Value>,
    lag_records: Option<i64>,
    reason: Option<&'static str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The members of a problem, as JSON.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told<'a> {
    title: &'static str,
    status: u16,
    code: &'static str,
    outcome: &'static str,
    retryable: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// What the key's version was when it was judged; null: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_records: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Problem {
    /// A problem with what is wrong in words.
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            hint: None,
            limit: None,
            pointer: None,
            position: None,
            current: None,
            lag_records: None,
            reason: None,
            headers: Vec::new(),
        }))
    }

    /// A body that could never apply, with where.
    pub(crate) fn of_json(error: JsonInvalid) -> Self {
        Self::new(Code::ValueInvalid, error.message).at(error.pointer)
    }

    /// A rejection of the mutation at `position`.
    pub(crate) fn of_rejected(rejected: &Rejected, position: Position) -> Self {
        let code = match rejected.rejection {
            Rejection::ConditionFailed => Code::ConditionFailed,
            Rejection::NotFound => Code::NotFound,
            Rejection::WrongType => Code::WrongType,
            Rejection::PatchTestFailed => Code::PatchTestFailed,
            Rejection::PatchPathMissing => Code::PatchPathMissing,
            Rejection::IncrementOverflow => Code::IncrementOverflow,
            Rejection::ValueTooLarge => Code::ValueOutgrown,
            Rejection::IdempotencyConflict => Code::IdempotencyConflict,
        };
        let mut problem = Self::new(code, "").of(position);
        // Of use to try again with; other rejections do not turn on it.
        if rejected.rejection == Rejection::ConditionFailed {
            let current = rejected.current.map(|version| version.position(position.partition).to_string());
            problem.0.current = Some(current.into());
        }
        problem
    }

    /// A dead letter at `position`.
    pub(crate) fn of_refusal(refusal: &Refusal, position: Position) -> Self {
        let mut problem = Self::new(Code::DeadLettered, refusal.detail.clone()).of(position);
        problem.0.reason = Some(refusal.reason.code());
        problem
    }

    /// With the limit that was passed.
    pub(crate) fn limit(mut self, limit: usize) -> Self {
        self.0.limit = Some(limit as u64);
        self
    }

    /// With a JSON Pointer into the body.
    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.0.pointer = Some(pointer.into());
        self
    }

    /// With its pointer, if it has one, below this one.
    pub(crate) fn under(mut self, parent: impl fmt::Display) -> Self {
        self.0.pointer = self.0.pointer.map(|pointer| format!("{parent}{pointer}"));
        self
    }

    /// With what certainly helps.
    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.0.hint = Some(hint);
        self
    }

    /// With the position that it is about; a copy that has applied nothing yet has none.
    pub(crate) fn of(mut self, position: Position) -> Self {
        self.0.position = Some(position).filter(|position| position.offset > Offset::NONE);
        self
    }

    /// With how many records are missing.
    pub(crate) fn lag(mut self, records: i64) -> Self {
        self.0.lag_records = Some(records);
        self
    }

    /// With a header of its own.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// As the answer to a repeat.
    pub(crate) fn duplicate(self) -> Self {
        self.header(KV_DUPLICATE.clone(), HeaderValue::from_static("true"))
    }

    /// Whether it answers a repeat.
    pub(crate) fn is_duplicate(&self) -> bool {
        self.0.headers.iter().any(|(name, _)| *name == KV_DUPLICATE)
    }

    /// Which problem.
    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    /// Its members. `read`: the call could not have logged anything.
    pub(crate) fn told<'a>(&'a self, read: bool, request_id: Option<&'a str>) -> Told<'a> {
        let parts = &self.0;
        Told {
            title: parts.code.title(),
            status: parts.code.status().as_u16(),
            code: parts.code.code(),
            outcome: if read { Fate::None } else { parts.code.fate() }.word(),
            retryable: parts.code.retryable(),
            detail: &parts.detail,
            hint: parts.hint,
            limit: parts.limit,
            pointer: parts.pointer.as_deref(),
            position: parts.position.map(|position| position.to_string()),
            current: parts.current.as_ref(),
            lag_records: parts.lag_records,
            reason: parts.reason,
            request_id,
        }
    }

    /// Adds the headers of its answer.
    fn fill(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0.headers {
            headers.append(name, value.clone());
        }
        if let Some(position) = self.0.position {
            headers.insert(KV_POSITION.clone(), crate::headers::of_display(position));
        }
        if self.0.code.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
    }
}

/// Without a body yet: what fills it needs to know the request.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.code.status().into_response();
        self.fill(response.headers_mut());
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_code_is_lower_case_words_and_means_one_thing_per_status() {
        let mut seen = HashMap::new();
        for code in Code::ALL {
            assert!(code.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code:?}");
            assert!(seen.insert((code.code(), code.status()), code).is_none(), "{code:?} is there twice");
        }
    }

    #[test]
    fn what_a_write_is_told_of_the_log_follows_its_status() {
        for code in Code::ALL.iter().filter(|code| code.fate() != Fate::None) {
            let expected = match code.status().as_u16() {
                503 => Fate::NotAccepted,
                504 => Fate::Unknown,
                409 | 412 => Fate::Rejected,
                404 | 422 => continue,
                _ => Fate::Refused,
            };
            assert_eq!(code.fate(), expected, "{code:?}");
        }
    }

    #[test]
    fn only_429_503_and_504_are_worth_another_try() {
        for code in Code::ALL {
            let retryable = Problem::new(*code, "").told(false, None).retryable;
            assert_eq!(retryable, matches!(code.status().as_u16(), 429 | 503 | 504), "{code:?}");
        }
    }

    #[test]
    fn a_read_never_speaks_of_the_log() {
        for code in Code::ALL {
            assert_eq!(Problem::new(*code, "").told(true, None).outcome, "none");
        }
    }

    #[test]
    fn every_rejection_keeps_its_code() {
        let position = "1-0-7".parse().unwrap();
        for rejection in Rejection::ALL {
            let problem = Problem::of_rejected(&Rejected { rejection, current: None }, position);
            assert_eq!(problem.code().code(), rejection.code());
            assert_eq!(problem.code().fate(), Fate::Rejected);
        }
    }
}
