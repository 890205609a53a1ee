//! One database of a shard, as the router knows it.
//!
//! Invariant: what is remembered of it came from its own answers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use millpond_schemas::{PartitionId, RecordKey};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    gather::Gather,
    marks::{Mark, Marks},
    rest::Rest,
};
use crate::{Error, Shard, Snapshot};

/// How reads of keys reach a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Each in a statement of its own, within the caller's task.
    Direct,
    /// Those that wait together in one statement, within a task that is never cancelled.
    Gathered,
}

impl Reading {
    /// What serves an engine best, by `examples/reads.rs`. With 64 callers SQLite gave 1.4 to 2 times as many reads a
    /// second gathered, and Postgres 3 times as many for a third of the CPU time; one caller alone pays 3 to 5 µs.
    pub fn of(shard: &Shard) -> Self {
        match shard {
            Shard::Sqlite(_) | Shard::Postgres(_) => Self::Gathered,
        }
    }
}

/// A node. Not here: whether it is the primary.
pub(super) struct Node {
    pub(super) shard: Shard,
    marks: Mutex<Marks>,
    rest: Mutex<Rest>,
    gather: Option<Gather>,
    /// Ends its probes.
    pub(super) stop: CancellationToken,
}

/// Why a node gave no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The node, or what it holds.
    Node(Error),
    /// It answers from an old timeline.
    Old(Error),
    /// It had too little time.
    Late(Error),
    /// Too much is asked of it already, or too much by this call: no reason to ask elsewhere.
    Call(Error),
}

impl Fault {
    pub(super) fn of(error: Error) -> Self {
        match error {
            Error::Refused { .. } => Self::Call(error),
            Error::Fenced { .. }
            | Error::RowAhead { .. }
            | Error::Unavailable { .. }
            | Error::Corrupt { .. }
            | Error::Schema { .. } => Self::Node(error),
        }
    }
}

impl Node {
    pub(super) fn new(shard: Shard, reading: Reading, tasks: &TaskTracker) -> Self {
        let gather = match reading {
            Reading::Direct => None,
            Reading::Gathered => Some(Gather::new(shard.clone(), tasks.clone())),
        };
        let stop = CancellationToken::new();
        Self { shard, marks: Mutex::default(), rest: Mutex::default(), gather, stop }
    }

    pub(super) async fn read(&self, partition: PartitionId, keys: Vec<RecordKey>) -> Result<Snapshot, Fault> {
        match &self.gather {
            Some(gather) if !keys.is_empty() => gather.read(partition, keys).await,
            Some(_) | None => self.shard.read(partition, keys).await.map_err(Fault::of),
        }
    }

    /// Queries that gathered reads have become.
    pub(super) fn queries(&self) -> u64 {
        self.gather.as_ref().map_or(0, Gather::queries)
    }

    pub(super) fn mark(&self, partition: PartitionId) -> Mark {
        self.marks().of(partition)
    }

    pub(super) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.shard.close().await;
    }
}
