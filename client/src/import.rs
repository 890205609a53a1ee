//! Imports: a file of lines into a server, many batches at once, resumed where it stopped.
//!
//! Lines go to *lanes* by their key, and a lane has one batch in flight, so that a key's lines arrive in order.
//! Every line carries an Idempotency-Key made of the file, its line number and its content: what was in flight when
//! either side died is sent again and takes effect once. Not here: a progress bar.
//! Invariant: the journal names line L only when every line up to L is on the log or in the report as failed.

mod coordinator;
mod frontier;
mod journal;
mod lane;
mod line;
mod mapping;
mod reader;
mod rejects;
mod report;
mod run;
mod start;
#[cfg(test)]
mod tests;
mod window;

use std::{fmt, io, io::Read, path::PathBuf};

pub use mapping::Mapping;
pub use report::{End, Event, FAILURES_SHOWN_MAX, Failure, Observer, Progress, Report};
pub use run::Importer;

use crate::Wait;

/// Most lanes of one import.
pub const LANES_MAX: usize = 64;
/// Most operations of a batch that any server takes.
pub const BATCH_OPERATIONS_MAX: usize = 10_000;
/// Largest batch that any server takes, bytes.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where lines come from.
pub enum Input {
    /// A file: identified by its path and its first bytes.
    File(PathBuf),
    /// Anything else. Resumes only under a name, and only when the same lines come again from the first one.
    Stream {
        /// What identifies it across runs.
        name: Option<String>,
        /// The lines.
        reader: Box<dyn Read + Send>,
    },
}

/// How an import is done.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Where journals lie; made when missing.
    pub state_dir: PathBuf,
    /// What a line means.
    pub mapping: Mapping,
    /// Batches in flight, 1..=[`LANES_MAX`]. Default 4; fewer leave the server idle between batches.
    pub lanes: usize,
    /// Most operations in a batch, 1..=[`BATCH_OPERATIONS_MAX`]. Default 4,000; more repeat more after a crash.
    pub batch_operations_max: usize,
    /// Largest batch, bytes, up to [`BATCH_BYTES_MAX`]. Default 4 MiB; a longer line goes alone.
    pub batch_bytes_max: usize,
    /// [`Wait::Applied`] waits for every outcome, so that failed conditions are in the report.
    pub wait: Wait,
    /// A new file that gets every failed line with its reason.
    pub rejects: Option<PathBuf>,
    /// Forget an earlier run: every line is sent as a new operation.
    pub restart: bool,
}

impl ImportOptions {
    /// The defaults, with journals in `state_dir`.
    pub fn in_dir(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            mapping: Mapping::Operations,
            lanes: 4,
            batch_operations_max: 4_000,
            batch_bytes_max: 4 * 1024 * 1024,
            wait: Wait::Accepted,
            rejects: None,
            restart: false,
        }
    }
}

/// Why an import ended before its input did. What the journal names stays done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options or the input's name make no sense: mend the call.
    #[error("{0}")]
    Invalid(String),
    /// Another process imports the same input: wait for it.
    #[error("another import of the same input is running (it holds {})", .lock.display())]
    Busy {
        /// What it holds.
        lock: PathBuf,
    },
    /// A file of ours cannot be read or written: mend that and run it again.
    #[error("{what} {}", .path.display())]
    State {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The input cannot be read: mend that and run it again.
    #[error("read the input{}", if *line > 0 { format!(" after line {line}") } else { String::new() })]
    Input {
        /// The last line that was read.
        line: u64,
        /// Why it failed.
        source: io::Error,
    },
    /// The server takes no batch at all: mend the call, then run it again.
    #[error(transparent)]
    Server(#[from] crate::Error),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Stream { name, .. } => f.debug_struct("Stream").field("name", name).finish_non_exhaustive(),
        }
    }
}
