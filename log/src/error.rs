//! What can go wrong with the log, named for what the caller does next.
//!
//! Invariant: only [`Error::Unknown`] leaves open whether the records are on the log.

use std::{error, sync::Arc};

use millpond_schemas::Offset;

/// Why it failed, shared by every caller that it failed for.
pub type Cause = Arc<dyn error::Error + Send + Sync>;

/// A failed append, read or trim.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The queue is full. Certainly not on the log: answer 503, let the client come back.
    #[error("the log's queue is full: {queued_bytes} of {max} bytes wait")]
    Backpressure {
        /// Bytes that wait or are being written.
        queued_bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The log takes nothing just now. Certainly not on the log: answer 503, try the same again later.
    #[error("the log is unavailable: {reason}")]
    Unavailable {
        /// What the log was doing.
        reason: &'static str,
        /// Why that failed.
        #[source]
        source: Option<Cause>,
    },
    /// The records may be on the log, or not: answer 504.
    #[error("it is unknown whether the records are on the log")]
    Unknown {
        /// Why the write could not be confirmed.
        #[source]
        source: Cause,
    },
    /// A record, or a call's records together, can never fit. The caller's fault, not on the log.
    #[error("{bytes} bytes are more than the {max} that the log takes at once")]
    TooLarge {
        /// What was asked for.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The offset is below the log's start.
    #[error("the log starts at offset {start}")]
    Trimmed {
        /// The first offset that can be read.
        start: Offset,
    },
    /// The offset is above the log's end.
    #[error("the log ends at offset {end}")]
    BeyondEnd {
        /// The next offset that will be issued.
        end: Offset,
    },
    /// Records inside the log's bounds do not come, and nothing says that they are holes: halt `log-gap`.
    #[error("the log goes on at offset {found} instead of {wanted}")]
    Gap {
        /// The first offset that does not come.
        wanted: Offset,
        /// The next one that does.
        found: Offset,
    },
    /// What lies on the log is not what was written: halt `log-corrupt`. Nothing is cut or skipped.
    #[error("the log is corrupt: {detail}")]
    Corrupt {
        /// Which file, where in it, and what is wrong there.
        detail: String,
    },
}

impl Error {
    /// The log could not do `reason`, and nothing was written.
    pub(crate) fn unavailable(
        reason: &'static str,
        source: impl error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Unavailable { reason, source: Some(Arc::new(source)) }
    }

    /// The log has been closed.
    pub(crate) fn closed() -> Self {
        Self::Unavailable { reason: "it is closed", source: None }
    }
}
