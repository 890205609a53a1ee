//! Why a partition stands still until somebody acts.
//!
//! Invariant: a halt applies nothing, resets nothing and says what was seen.

use millpond_fold as fold;
use millpond_schemas::{Digest, Offset, Position, UnixMillis};

/// Why a partition halted. Its name is stable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Records between the watermark and the log's start, or inside it, are gone.
    #[error("the log goes on at offset {found}, the copy needs {wanted}: records in between are gone")]
    LogGap {
        /// The next offset that the copy needs.
        wanted: Offset,
        /// The next offset that the log has.
        found: Offset,
    },
    /// The log is not the one that this copy applied.
    #[error("the log is not the one that this copy has applied: {detail}")]
    LogDiverged {
        /// What differs.
        detail: String,
    },
    /// The log's bytes are damaged.
    #[error("{detail}")]
    LogCorrupt {
        /// Where, and what.
        detail: String,
    },
    /// A row is newer than the log says it can be.
    #[error("{detail}")]
    RowAhead {
        /// Which.
        detail: String,
    },
    /// The shard refuses one record for ever.
    #[error("the shard refuses the record {position}: {detail}")]
    RecordRefused {
        /// The record.
        position: Position,
        /// What the shard says.
        detail: String,
    },
    /// The shard refuses to work. Tried again every second.
    #[error("the shard refuses: {detail}")]
    ShardRefused {
        /// What the shard says.
        detail: String,
    },
    /// Time on the log runs ahead of this writer's clock. Tried again every second.
    #[error(
        "the record {position} was appended at {time} ms, more than 10 minutes after this machine's clock"
    )]
    TimeJump {
        /// The record: the next one, or the last that was applied.
        position: Position,
        /// Its append time.
        time: UnixMillis,
    },
    /// The log speaks a version that this build does not know.
    #[error("before the record {position}: {halt}")]
    VersionUnknown {
        /// The next record.
        position: Position,
        /// Which.
        halt: fold::Halt,
    },
    /// A control record's MAC key is not held.
    #[error("before the record {position}: {halt}")]
    KeyMissing {
        /// The next record.
        position: Position,
        /// Which.
        halt: fold::Halt,
    },
}

impl Halt {
    /// Every stable name.
    pub const NAMES: [&str; 9] = [
        "log-gap",
        "log-diverged",
        "log-corrupt",
        "row-ahead",
        "record-refused",
        "shard-refused",
        "time-jump",
        "version-unknown",
        "key-missing",
    ];

    /// The stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LogGap { .. } => "log-gap",
            Self::LogDiverged { .. } => "log-diverged",
            Self::LogCorrupt { .. } => "log-corrupt",
            Self::RowAhead { .. } => "row-ahead",
            Self::RecordRefused { .. } => "record-refused",
            Self::ShardRefused { .. } => "shard-refused",
            Self::TimeJump { .. } => "time-jump",
            Self::VersionUnknown { .. } => "version-unknown",
            Self::KeyMissing { .. } => "key-missing",
        }
    }

    /// Whether it may pass by itself, so that it is tried again every second.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::ShardRefused { .. } | Self::TimeJump { .. } => true,
            Self::LogGap { .. }
            | Self::LogDiverged { .. }
            | Self::LogCorrupt { .. }
            | Self::RowAhead { .. }
            | Self::RecordRefused { .. }
            | Self::VersionUnknown { .. }
            | Self::KeyMissing { .. } => false,
        }
    }

    /// What the fold says before `position`.
    pub(crate) fn of_fold(position: Position, halt: fold::Halt) -> Self {
        match halt {
            fold::Halt::VersionUnknown { .. } => Self::VersionUnknown { position, halt },
            fold::Halt::KeyMissing(_) => Self::KeyMissing { position, halt },
        }
    }

    pub(crate) fn diverged(detail: impl Into<String>) -> Self {
        Self::LogDiverged { detail: detail.into() }
    }

    /// The digest of a record that the copy has applied is another one now.
    pub(crate) fn digest(offset: Offset, applied: Digest, found: Digest) -> Self {
        let hex = |digest: Digest| format!("{:032x}", u128::from_be_bytes(digest.0));
        Self::diverged(format!(
            "the record at offset {offset} had digest {}, has {}",
            hex(applied),
            hex(found)
        ))
    }
}
