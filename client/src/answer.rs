//! Answers to reads and writes, typed.
//!
//! Invariant: what the contract promises in an answer is there, or the answer is [`Error::Protocol`].

use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use serde::Deserialize;

use crate::{
    Error, Position, Problem,
    options::{KV_EXPIRES_AT, KV_POSITION},
    transport::Reply,
};

/// How far a mutation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// On the log; it will be applied.
    Accepted,
    /// In its shard.
    Applied,
    /// A condition failed; without effect.
    Rejected,
    /// Of an earlier position, whose effect stands.
    Duplicate,
    /// Could never apply; without effect.
    DeadLettered,
}

/// A put or delete that the log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The mutation's name, the key's version once applied, and a token to read from.
    pub position: Position,
    /// [`Status::Accepted`] or [`Status::Applied`].
    pub status: Status,
    /// Once applied.
    pub etag: Option<String>,
    /// When the key expires, RFC 3339, where that is known.
    pub expires_at: Option<String>,
    /// A put under `if_absent` that made the key.
    pub created: bool,
    /// The answer repeats that of an earlier call with the same Idempotency-Key.
    pub duplicate: bool,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The key and its value.
    Value(Box<Value>),
    /// The key is still at the `ETag` that was named.
    NotModified,
    /// No such key, or it has expired.
    Absent {
        /// The state that was read.
        position: Option<Position>,
    },
}

/// A value with what the server says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What was put, byte for byte; empty for a HEAD.
    pub bytes: Bytes,
    /// As it was put.
    pub content_type: String,
    /// The version, quoted: what `if_match` takes.
    pub etag: String,
    /// The state that was read.
    pub position: Position,
    /// How far that state may be behind, milliseconds.
    pub staleness_ms: Option<u64>,
    /// When the key expires, RFC 3339.
    pub expires_at: Option<String>,
}

/// What became of a mutation.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutation {
    /// Its name.
    pub position: Position,
    /// How far it has come.
    pub status: Status,
    /// Its append time, as the server spells it.
    #[serde(default)]
    pub time: Option<String>,
    /// Once applied: the key's version afterwards.
    #[serde(default)]
    pub version: Option<Position>,
    /// Once applied, where the operation can leave the key as it was.
    #[serde(default)]
    pub changed: Option<bool>,
    /// Once applied: when the key expires, RFC 3339, where the operation says so.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Of a duplicate: the first one, whose effect stands.
    #[serde(default)]
    pub of: Option<Position>,
    /// Why it had no effect.
    #[serde(default)]
    pub problem: Option<Problem>,
}

#[derive(Deserialize)]
struct WriteBody {
    position: Position,
    status: Status,
    #[serde(default)]
    expires_at: Option<String>,
}

impl Written {
    pub(crate) fn read(reply: &Reply) -> Result<Self, Error> {
        let body = if reply.status == StatusCode::NO_CONTENT {
            WriteBody { position: position(reply)?, status: Status::Applied, expires_at: None }
        } else {
            json(reply)?
        };
        Ok(Self {
            position: body.position,
            status: body.status,
            etag: text(reply, &header::ETAG),
            expires_at: body.expires_at.or_else(|| text(reply, &KV_EXPIRES_AT)),
            created: reply.status == StatusCode::CREATED,
            duplicate: text(reply, &HeaderName::from_static("kv-duplicate")).as_deref() == Some("true"),
        })
    }
}

impl Fetched {
    pub(crate) fn read(reply: Reply) -> Result<Self, Error> {
        match reply.status {
            StatusCode::NOT_MODIFIED => Ok(Self::NotModified),
            StatusCode::NOT_FOUND => Ok(Self::Absent { position: absent(&reply)? }),
            _ => Ok(Self::Value(Box::new(Value {
                content_type: text(&reply, &header::CONTENT_TYPE).unwrap_or_default(),
                etag: text(&reply, &header::ETAG).ok_or_else(|| missing("an ETag"))?,
                position: position(&reply)?,
                staleness_ms: text(&reply, &HeaderName::from_static("kv-staleness-ms"))
                    .and_then(|text| text.parse().ok()),
                expires_at: text(&reply, &KV_EXPIRES_AT),
                bytes: reply.body,
            }))),
        }
    }
}

/// What a listener says of a path that it does not serve.
const ROUTE_UNKNOWN: &str = "route-unknown";

/// The position of a miss. Without one, the 404 is of some other server or path, unless it is a problem of ours.
pub(crate) fn absent(reply: &Reply) -> Result<Option<Position>, Error> {
    let at = text(reply, &KV_POSITION).map(Position::new).transpose()?;
    let problem = Problem::parse(404, &reply.body);
    match problem.code.as_str() {
        // Another listener of ours, or a path in front of it that is not the server's.
        ROUTE_UNKNOWN => Err(Error::Refused(Box::new(problem))),
        "" if at.is_none() => Err(Error::Protocol("a 404 that is not about a key".into())),
        _ => Ok(at),
    }
}

pub(crate) fn json<'a, T: Deserialize<'a>>(reply: &'a Reply) -> Result<T, Error> {
    // serde's words could quote the body, which may hold user data: only the place is told.
    serde_json::from_slice(&reply.body).map_err(|error| {
        Error::Protocol(format!("a body of status {} at column {}", reply.status.as_u16(), error.column()))
    })
}

pub(crate) fn text(reply: &Reply, name: &HeaderName) -> Option<String> {
    reply.headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn position(reply: &Reply) -> Result<Position, Error> {
    let text = text(reply, &KV_POSITION).ok_or_else(|| missing("a KV-Position"))?;
    Position::new(text).map_err(|error| Error::Protocol(error.to_string()))
}

fn missing(what: &str) -> Error {
    Error::Protocol(format!("an answer without {what}"))
}
