//! A key's time to live: read, set, taken away.
//!
//! Invariant: `expires_at` is the server's spelling; no clock of ours enters it.

use serde::{Deserialize, Serialize};

use crate::{Position, Status};

/// When a key expires.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ttl {
    /// Milliseconds left when it was read; `None`: it never expires.
    pub ttl_ms: Option<u64>,
    /// The moment, RFC 3339.
    pub expires_at: Option<String>,
}

/// What to set an expiry to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expires {
    /// After a duration in the contract's spelling: `90`, `90s`, `15m`.
    After(String),
    /// At a moment, RFC 3339.
    At(String),
    /// Never.
    Never,
}

/// How a new expiry meets the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlMode {
    /// Replaces it.
    #[default]
    Set,
    /// Adds to it.
    Extend,
    /// Keeps the later one.
    OnlyLonger,
    /// Keeps the earlier one.
    OnlyShorter,
    /// Sets it only where there is none.
    IfNone,
}

/// A change of an expiry that the log has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TtlChange {
    /// The mutation's name.
    pub position: Position,
    /// [`Status::Accepted`] when the outcome took longer than the wait.
    pub status: Status,
    /// Whether it changed anything; known once applied.
    #[serde(default)]
    pub changed: Option<bool>,
    /// The expiry afterwards, RFC 3339; `None`: never, or not known yet.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// The request's body.
#[derive(Serialize)]
pub(crate) struct TtlBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<&'a str>,
    pub(crate) mode: TtlMode,
}
