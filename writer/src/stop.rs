//! Why a partition cannot go on just now: for an operator, or for the world to mend.
//!
//! Invariant: an error of the log or the shard maps to one of the two in one place, here.

use crate::Halt;

/// What ends a step.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Stands still.
    Halt(Halt),
    /// Tries again in a second: why.
    Wait(String),
    /// Another writer owns the copy: claims it anew in a second. How that was seen.
    Deposed(&'static str),
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<millpond_log::Error> for Stop {
    fn from(error: millpond_log::Error) -> Self {
        use millpond_log::Error;
        match error {
            Error::Backpressure { .. }
            | Error::Unavailable { .. }
            | Error::Unknown { .. }
            | Error::TooLarge { .. } => Self::Wait(in_words(&error)),
            Error::Trimmed { start } => {
                Self::Halt(Halt::diverged(format!("the log starts at offset {start}")))
            }
            Error::BeyondEnd { end } => Self::Halt(Halt::diverged(format!("the log ends at offset {end}"))),
            Error::Gap { wanted, found } => Self::Halt(Halt::LogGap { wanted, found }),
            Error::Corrupt { detail } => Self::Halt(Halt::LogCorrupt { detail }),
        }
    }
}

impl From<millpond_shard::Error> for Stop {
    fn from(error: millpond_shard::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&millpond_shard::Error> for Stop {
    fn from(error: &millpond_shard::Error) -> Self {
        use millpond_shard::Error;
        let detail = in_words(error);
        match error {
            Error::Fenced { .. } | Error::Unavailable { .. } => Self::Wait(detail),
            Error::RowAhead { .. } => Self::Halt(Halt::RowAhead { detail }),
            Error::Refused { .. } | Error::Corrupt { .. } | Error::Schema { .. } => {
                Self::Halt(Halt::ShardRefused { detail })
            }
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
