//! Why a partition stands still until somebody acts.
//!
//! Invariant: a halt applies nothing, resets nothing and says what was seen.

use millpond_fold as fold;
use millpond_schemas::{Digest, Offset, UnixMillis};

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
    #[error("the shard refuses the record at offset {offset}: {detail}")]
    RecordRefused {
        /// The record.
        offset: Offset,
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
        "the record at offset {offset} was appended at {time} ms, more than 10 minutes after this machine's clock"
    )]
    TimeJump {
        /// The record.
        offset: Offset,
        /// Its append time.
        time: UnixMillis,
    },
    /// The log speaks a version that this build does not know.
    #[error("{0}")]
    VersionUnknown(fold::Halt),
    /// A control record's MAC key is not held.
    #[error("{0}")]
    KeyMissing(fold::Halt),
}

impl Halt {
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
            Self::VersionUnknown(_) => "version-unknown",
            Self::KeyMissing(_) => "key-missing",
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
            | Self::VersionUnknown(_)
            | Self::KeyMissing(_) => false,
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

impl From<fold::Halt> for Halt {
    fn from(halt: fold::Halt) -> Self {
        match halt {
            fold::Halt::VersionUnknown { .. } => Self::VersionUnknown(halt),
            fold::Halt::KeyMissing(_) => Self::KeyMissing(halt),
        }
    }
}
