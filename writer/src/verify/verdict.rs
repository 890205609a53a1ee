//! What a verification found, or why it could not.
//!
//! Invariant: a copy is equal only where nothing differs and both digests agree.

use std::fmt;

use millpond_schemas::{Offset, Position};
use millpond_shard::{Name, Table};

use crate::{
    CopyDigest, Halt,
    digest::described,
    stop::{Stop, in_words},
};

/// What became of comparing a copy with a replay of its log to the same offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The copy's watermark, which the replay reached too.
    pub position: Position,
    /// What the copy holds.
    pub copy: CopyDigest,
    /// What it should hold.
    pub log: CopyDigest,
    /// How many things differ.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

impl Verdict {
    /// Whether the copy is what the log says.
    pub fn is_equal(&self) -> bool {
        self.differing == 0 && self.copy == self.log
    }
}

/// One thing that is not as the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The table's name.
    pub table: &'static str,
    /// Which thing in it. None: the only one.
    pub name: Option<Name>,
    /// How it differs.
    pub how: How,
}

/// How a thing differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The copy does not have it.
    Missing,
    /// The log knows nothing of it.
    Extra,
    /// These columns differ.
    Columns(Vec<&'static str>),
    /// It cannot be understood.
    Broken(String),
}

impl Difference {
    pub(super) fn of(table: Table, name: Name, how: How) -> Self {
        Self { table: table.name(), name: Some(name), how }
    }

    pub(super) fn watermark(how: How) -> Self {
        Self { table: "watermark", name: None, how }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table)?;
        if let Some(name) = &self.name {
            write!(f, ", {}", described(name))?;
        }
        match &self.how {
            How::Missing => f.write_str(": missing"),
            How::Extra => f.write_str(": not on the log"),
            How::Columns(columns) => write!(f, ": differs in {}", columns.join(", ")),
            How::Broken(what) => write!(f, ": {what}"),
        }
    }
}

/// Why nothing can be said about a copy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotTell {
    /// The beginning of the log is gone.
    #[error("the log starts at offset {start}: what the copy should hold cannot be told from it alone")]
    LogTrimmed {
        /// The first offset that can be read.
        start: Offset,
    },
    /// The copy is one of another log.
    #[error("{0}")]
    LogDiverged(String),
    /// There is nothing to compare.
    #[error("the shard has no copy of the partition")]
    CopyMissing,
    /// No writer, and no replay, goes on here.
    #[error("the replay halted: {0}")]
    Halted(Halt),
    /// The log, the shard or the folder for the scratch copy did not do as asked. Running it again is safe.
    #[error("{0}")]
    Unavailable(String),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl CannotTell {
    /// The stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LogTrimmed { .. } => "log-trimmed",
            Self::LogDiverged(_) => "log-diverged",
            Self::CopyMissing => "copy-missing",
            Self::Halted(halt) => halt.name(),
            Self::Unavailable(_) => "unavailable",
            Self::Stopped => "stopped",
        }
    }
}

impl From<Stop> for CannotTell {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Halt(Halt::LogGap { found, .. }) => Self::LogTrimmed { start: found },
            Stop::Halt(halt) => Self::Halted(halt),
            Stop::Wait(why) => Self::Unavailable(why),
            Stop::Deposed(how) => Self::Unavailable(how.to_owned()),
        }
    }
}

impl From<millpond_log::Error> for CannotTell {
    fn from(error: millpond_log::Error) -> Self {
        Stop::from(error).into()
    }
}

impl From<millpond_shard::Error> for CannotTell {
    fn from(error: millpond_shard::Error) -> Self {
        Self::Unavailable(in_words(&error))
    }
}
