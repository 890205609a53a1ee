//! What an import tells while it runs, and at its end.
//!
//! Invariant: nothing here holds a key or a value, except [`Failure::input`], which only the rejects file shows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::Position;

/// How many failed lines a report shows one by one.
pub const FAILURES_SHOWN_MAX: usize = 20;

/// Hears what an import tells. Called from several tasks, and must not block.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Something worth telling a person.
#[derive(Debug)]
pub enum Event<'a> {
    /// An earlier run is continued.
    Resumed {
        /// After this line.
        line: u64,
        /// It ended more than 24 h ago: lines that were in flight then may take effect twice.
        stale: bool,
    },
    /// The input is not what an earlier run saw, so that it is read from its first line. Lines that are as they were
    /// and were sent in the last 24 h are not repeated, unless that run had ended.
    InputChanged {
        /// Up to where the earlier run had come.
        line: u64,
    },
    /// The server's log is not the one that an earlier run wrote to, so that everything is sent again.
    LogChanged,
    /// More lines are done.
    Progress(&'a Progress),
    /// The server does not take a batch at the moment.
    Waiting {
        /// Why.
        error: &'a crate::Error,
        /// How long until it is asked again.
        delay: Duration,
    },
}

/// How far an import has come, earlier runs included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Every line up to here is done.
    pub line: u64,
    /// Bytes up to there.
    pub bytes: u64,
    /// The file's size at the start; `None` for a stream.
    pub bytes_total: Option<u64>,
    /// Lines that the log has; with a wait: that took effect.
    pub accepted: u64,
    /// Lines that failed.
    pub failed: u64,
}

/// Why an import ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every line is done.
    Complete,
    /// The input ended inside this line, which is left for the next run.
    Truncated {
        /// Its number.
        line: u64,
    },
    /// It was asked to stop.
    Stopped,
}

/// The end of an import.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why it ended.
    pub end: End,
    /// How far it came.
    pub progress: Progress,
    /// The line after which this run began.
    pub resumed_after: u64,
    /// All failed lines by code, earlier runs included.
    pub failures_by_code: BTreeMap<String, u64>,
    /// The first failed lines of this run, at most [`FAILURES_SHOWN_MAX`].
    pub failures: Vec<Failure>,
    /// The highest position of each partition: together a token to read from.
    pub positions: Vec<Position>,
}

impl Report {
    /// Of an import that was stopped before it began.
    pub(super) fn stopped() -> Self {
        Self {
            end: End::Stopped,
            progress: Progress::default(),
            resumed_after: 0,
            failures_by_code: BTreeMap::new(),
            failures: Vec::new(),
            positions: Vec::new(),
        }
    }
}

/// A line that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its number in the input, from 1.
    pub line: u64,
    /// The status that the single call would have got.
    pub status: u16,
    /// One stable word per condition.
    pub code: String,
    /// What is particular to it.
    pub detail: String,
    /// The line itself, where a rejects file wants it.
    pub input: Option<Bytes>,
}

impl Failure {
    /// A line that never left.
    pub(super) fn unsent(line: u64, code: &str, detail: String, input: Option<Bytes>) -> Self {
        Self { line, status: 400, code: code.to_owned(), detail, input }
    }
}
