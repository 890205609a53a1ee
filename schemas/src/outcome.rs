//! What became of mutations on the log.
//!
//! Invariant: an offset inside a range that is no exception of it succeeded plainly.

use bytes::Bytes;
use prost::Message;

use crate::{
    Generation, Offset, PartitionId, Position, RecordKey, Refusal, UnixMillis, Version,
    limits::OUTCOME_BYTES_MAX, wire,
};

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect; with what the row became where the operation returns a result.
    Applied(Option<Effect>),
    /// A condition failed, or the row did not fit; no effect.
    Rejected(Rejected),
    /// An earlier one with the same id stands; no effect.
    Duplicate {
        /// The first one.
        of: Position,
        /// What became of it; known here only for durable ids.
        original: Option<Box<Outcome>>,
    },
    /// It could never apply.
    DeadLettered(Refusal),
}

impl Outcome {
    /// Whether there is nothing to tell beyond success.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Applied(None))
    }
}

/// The row after an operation that returns a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Whether the row changed; a no-op keeps its version.
    pub changed: bool,
    /// The row's version now.
    pub version: Version,
    /// The row's expiry now.
    pub expires_at: Option<UnixMillis>,
    /// The row's value now, when the operation returns one of at most 4 KiB.
    pub value: Option<Bytes>,
    /// The row's content type; empty after a ttl change.
    pub content_type: String,
}

/// A rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub rejection: Rejection,
    /// The version that the key had; none: absent.
    pub current: Option<Version>,
}

/// Why a mutation was rejected, judged in log order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A condition did not hold.
    ConditionFailed,
    /// A ttl change of an absent key.
    NotFound,
    /// The row's value is not what the operation works on.
    WrongType,
    /// A JSON Patch `test` failed.
    PatchTestFailed,
    /// A JSON Patch path is not there.
    PatchPathMissing,
    /// The sum leaves 64 bits.
    IncrementOverflow,
    /// The row would grow past the limit in force.
    ValueTooLarge,
    /// The id stands for another request.
    IdempotencyConflict,
}

impl Rejection {
    /// Every rejection.
    pub const ALL: [Self; 8] = [
        Self::ConditionFailed,
        Self::NotFound,
        Self::WrongType,
        Self::PatchTestFailed,
        Self::PatchPathMissing,
        Self::IncrementOverflow,
        Self::ValueTooLarge,
        Self::IdempotencyConflict,
    ];

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::ConditionFailed => "condition-failed",
            Self::NotFound => "not-found",
            Self::WrongType => "wrong-type",
            Self::PatchTestFailed => "patch-test-failed",
            Self::PatchPathMissing => "patch-path-missing",
            Self::IncrementOverflow => "increment-overflow",
            Self::ValueTooLarge => "value-too-large",
            Self::IdempotencyConflict => "idempotency-conflict",
        }
    }

    /// The rejection with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rejection| rejection.code() == code)
    }
}

/// The outcomes of one flush of one partition, or a disjoint piece of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeRange {
    /// Which life of the log.
    pub generation: Generation,
    /// Which partition.
    pub partition: PartitionId,
    /// First offset.
    pub from: Offset,
    /// Last offset.
    pub to: Offset,
    /// Clamped time of the record at `to`.
    pub time: UnixMillis,
    /// What differs from plain success, by offset, rising.
    pub exceptions: Vec<Exception>,
    /// Keys that a Sweep in this range expired.
    pub expired: Vec<RecordKey>,
}

/// An outcome that is not plain success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Which record.
    pub offset: Offset,
    /// Its mutation's id, for producers that know only that.
    pub id: Option<[u8; 16]>,
    /// What became of it.
    pub outcome: Outcome,
}

/// An encoded outcome or range is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded outcome: {0}")]
pub struct OutcomeInvalid(pub(crate) String);

impl Outcome {
    /// Protobuf bytes of `millpond.v1.Outcome`.
    pub fn encode(&self) -> Bytes {
        wire::outcome_out(self).encode_to_vec().into()
    }

    /// Reads what [`Outcome::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, OutcomeInvalid> {
        let message = wire::Outcome::decode(bytes).map_err(|error| OutcomeInvalid(error.to_string()))?;
        wire::outcome_in(message)
    }
}

impl OutcomeRange {
    /// Protobuf bytes of `millpond.v1.OutcomeRange`.
    pub fn encode(&self) -> Bytes {
        wire::range_out(self).encode_to_vec().into()
    }

    /// Reads what [`OutcomeRange::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, OutcomeInvalid> {
        let message = wire::OutcomeRange::decode(bytes).map_err(|error| OutcomeInvalid(error.to_string()))?;
        wire::range_in(message)
    }

    /// The outcome of `offset`, if it lies in the range.
    pub fn of(&self, offset: Offset) -> Option<Outcome> {
        if offset < self.from || offset > self.to {
            return None;
        }
        let found = self.exceptions.binary_search_by_key(&offset, |exception| exception.offset);
        Some(found.map_or(Outcome::Applied(None), |at| self.exceptions[at].outcome.clone()))
    }

    /// Splits into disjoint ranges of at most [`OUTCOME_BYTES_MAX`] encoded bytes each, in order.
    #[must_use]
    pub fn split(self) -> Vec<Self> {
        if self.exceptions.len() < 2 || wire::range_out(&self).encoded_len() <= OUTCOME_BYTES_MAX {
            return vec![self];
        }
        let mut head = self;
        let tail_exceptions = head.exceptions.split_off(head.exceptions.len() / 2);
        let cut = tail_exceptions[0].offset;
        let tail = Self {
            from: cut,
            exceptions: tail_exceptions,
            expired: std::mem::take(&mut head.expired),
            ..head
        };
        head.to = cut.previous();
        let mut pieces = head.split();
        pieces.extend(tail.split());
        pieces
    }
}
