//! What a write is answered: accepted, applied, or a problem; once for every way that a mutation can end.
//!
//! Not here: waiting for it. Invariant: a repeat is answered as the first one was, and says that it is one.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millpond_schemas::{CONTENT_TYPE_DEFAULT, Effect, Mutation, Op, Outcome, Position, UnixMillis};
use serde_json::json;

use crate::{
    headers::{self, KV_DUPLICATE, KV_EXPIRES_AT, KV_POSITION},
    problem::Problem,
    settle::Settled,
    submit::Accepted,
    time,
};

/// What was asked: decides how success is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A put; `if_absent` makes its success a 201.
    Put {
        /// Whether it carried `If-None-Match: *`.
        if_absent: bool,
        /// Whether its expiry is a moment, the same for every repeat.
        expires_at: bool,
    },
    /// A delete.
    Delete,
    /// An operation that returns the new value.
    Patch,
    /// A ttl change.
    Ttl,
}

impl Asked {
    /// What a mutation asks.
    pub(crate) fn of(mutation: &Mutation) -> Self {
        match &mutation.op {
            Op::Put { expiry, .. } => Self::Put {
                if_absent: mutation.conditions.absent,
                expires_at: matches!(expiry, Some(millpond_schemas::Expiry::At(_))),
            },
            Op::Delete => Self::Delete,
            Op::Ttl { .. } => Self::Ttl,
            Op::Increment { .. } | Op::Append { .. } | Op::MergePatch { .. } | Op::JsonPatch { .. } => {
                Self::Patch
            }
        }
    }
}

/// A write's answer, short of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 200, 201, 202 or 204.
    pub(crate) status: StatusCode,
    /// The mutation's own position, or that of the one that it repeats.
    pub(crate) position: Position,
    /// The row's version, where the outcome is known and the key exists.
    pub(crate) version: Option<Position>,
    /// When the key expires, where that is known.
    pub(crate) expires_at: Option<UnixMillis>,
    /// Whether an earlier one with the same id stands.
    pub(crate) duplicate: bool,
    /// The body.
    pub(crate) told: Told,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Position and status.
    Accepted,
    /// Position and status.
    Applied,
    /// What a ttl change did.
    Ttl {
        /// Whether the row changed.
        changed: bool,
    },
    /// The new value.
    Value {
        /// As a GET would give it.
        value: Bytes,
        /// Its content type.
        content_type: String,
    },
    /// Nothing.
    Empty,
}

impl Answer {
    /// The log has it; what becomes of it is open.
    pub(crate) fn accepted(accepted: Accepted) -> Self {
        Self {
            status: StatusCode::ACCEPTED,
            position: accepted.position,
            version: None,
            expires_at: accepted.expires_at,
            duplicate: false,
            told: Told::Accepted,
        }
    }

    /// Its outcome is known.
    ///
    /// # Errors
    /// The problem that a rejection or a dead letter is.
    pub(crate) fn settled(asked: Asked, accepted: Accepted, settled: Settled) -> Result<Self, Problem> {
        let Settled { position, outcome, duplicate } = settled;
        let repeat = |problem: Problem| if duplicate { problem.duplicate() } else { problem };
        let effect = match outcome {
            Outcome::Applied(effect) => effect,
            Outcome::Rejected(rejected) => return Err(repeat(Problem::of_rejected(&rejected, position))),
            Outcome::DeadLettered(refusal) => return Err(repeat(Problem::of_refusal(&refusal, position))),
            // Of the first one nothing is known now: the client may ask for it.
            Outcome::Duplicate { of, .. } => {
                let first = Accepted { position: of, expires_at: None };
                return Ok(Self { duplicate: true, ..Self::accepted(first) });
            }
        };
        let answer = Self {
            status: StatusCode::OK,
            position,
            version: Some(position),
            expires_at: accepted.expires_at,
            duplicate,
            told: Told::Applied,
        };
        Ok(match asked {
            Asked::Put { if_absent, expires_at } => Self {
                status: if if_absent { StatusCode::CREATED } else { StatusCode::OK },
                // A TTL began with the first one, whose time is not known here.
                expires_at: answer.expires_at.filter(|_| !duplicate || expires_at),
                ..answer
            },
            Asked::Delete => {
                Self { status: StatusCode::NO_CONTENT, version: None, told: Told::Empty, ..answer }
            }
            Asked::Patch | Asked::Ttl => answer.with_effect(asked, effect),
        })
    }

    fn with_effect(self, asked: Asked, effect: Option<Effect>) -> Self {
        let Some(effect) = effect else {
            return Self { status: StatusCode::NO_CONTENT, told: Told::Empty, ..self };
        };
        let version = Some(effect.version.position(self.position.partition));
        let expires_at = effect.expires_at;
        let (status, told) = match (asked, effect.value) {
            (Asked::Ttl, _) => (StatusCode::OK, Told::Ttl { changed: effect.changed }),
            (_, Some(value)) => (StatusCode::OK, Told::Value { value, content_type: effect.content_type }),
            (_, None) => (StatusCode::NO_CONTENT, Told::Empty),
        };
        Self { status, version, expires_at, told, ..self }
    }

    fn fill(&self, headers: &mut HeaderMap) {
        headers.insert(KV_POSITION.clone(), headers::of_display(self.position));
        if let Some(version) = self.version {
            headers.insert(header::ETAG, headers::etag(version));
        }
        if let Some(at) = self.expires_at {
            headers.insert(KV_EXPIRES_AT.clone(), headers::of_display(time::rfc3339(at)));
        }
        if self.duplicate {
            headers.insert(KV_DUPLICATE.clone(), HeaderValue::from_static("true"));
        }
        if self.told == Told::Accepted {
            let location = headers::of_display(format_args!("/mutations/{}", self.position));
            headers.insert(header::LOCATION, location);
        }
    }
}

/// A stored content type as a header. A native producer may have stored what is none.
pub(crate) fn content_type_header(content_type: &str) -> HeaderValue {
    HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static(CONTENT_TYPE_DEFAULT))
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        self.fill(response.headers_mut());
        let position = self.position.to_string();
        let at = self.expires_at.map(time::rfc3339);
        let (content_type, body) = match self.told {
            Told::Empty => return response,
            Told::Value { value, content_type } => (content_type_header(&content_type), value),
            // Positions and times hold nothing that JSON escapes.
            Told::Accepted => {
                let at = at.map_or_else(String::new, |at| format!(r#","expires_at":"{at}""#));
                (json_type(), format!(r#"{{"position":"{position}","status":"accepted"{at}}}"#).into())
            }
            Told::Applied => {
                (json_type(), format!(r#"{{"position":"{position}","status":"applied"}}"#).into())
            }
            Told::Ttl { changed } => {
                let told = json!({
                    "position": position, "status": "applied", "changed": changed, "expires_at": at,
                });
                (json_type(), told.to_string().into())
            }
        };
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        *response.body_mut() = Body::from(body);
        response
    }
}

pub(crate) fn json_type() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

#[cfg(test)]
mod tests;
