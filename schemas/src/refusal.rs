//! Why a record on the log can never apply: the dead-letter reasons.
//!
//! Invariant: judged from the record and the fold's state alone, so that every replay agrees.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)+) => {
        /// Why a record is dead-lettered. Its code is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }
        }
    };
}

reasons! {
    /// Not a `millpond.v1.Record`, or one that says what can never be.
    Undecodable = "undecodable",
    /// The record form with no bytes, or without an operation.
    EmptyMutation = "empty-mutation",
    /// A major format that this log has not announced.
    FormatUnknown = "format-unknown",
    /// No Kafka key.
    MissingKey = "missing-key",
    /// The Kafka key is not `tenant/key`.
    KeyInvalid = "key-invalid",
    /// The envelope names another key.
    KeyMismatch = "key-mismatch",
    /// The key hashes to another partition.
    WrongPartition = "wrong-partition",
    /// The value is over the limit in force.
    ValueTooLarge = "value-too-large",
    /// Too many headers, or too many bytes of them.
    TooLarge = "too-large",
    /// A TTL or expiry out of range.
    TtlInvalid = "ttl-invalid",
    /// A `kv-` header that makes no sense.
    HeaderInvalid = "header-invalid",
    /// `kv-format` names a form that is unknown here.
    UnsupportedFormat = "unsupported-format",
    /// A control record that this deployment did not make for this place.
    ForgedControlRecord = "forged-control-record",
    /// Appended after the generation's Seal.
    Sealed = "sealed",
    /// Given up by an operator.
    Skipped = "skipped",
}

impl Reason {
    /// The reason with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A reason with what is wrong in words. The words hold no user bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// In words, for the producer's author.
    pub detail: String,
}

impl Refusal {
    /// Joins the two.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}
