//! What the writer tells others about its partitions, and its metrics.
//!
//! Invariant: says what is committed, never what is under way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use millpond_schemas::{Offset, PartitionId};

use crate::Halt;

/// One partition of one writer.
#[derive(Clone, Debug)]
pub struct Status {
    /// Which shard holds the copy: its index in the topology.
    pub shard: usize,
    /// The watermark.
    pub applied: Offset,
    /// The writer's Claim; [`Offset::NONE`] while it has none.
    pub owner: Offset,
    /// What it is doing.
    pub phase: Phase,
}

/// What a partition is doing.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Applies what comes.
    Running,
    /// Starts, or tries again after the world failed: why.
    Waiting(String),
    /// Stands still.
    Halted(Halt),
}

/// Every partition's status, and totals. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Statuses(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<PartitionId, Status>,
    totals: Totals,
}

/// What the writer did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Transactions committed.
    pub flushes: u64,
    /// Time spent in them.
    pub flush_time: Duration,
    /// Records in them.
    pub records: u64,
    /// Rows written.
    pub rows: u64,
    /// Records dead-lettered.
    pub dead_letters: u64,
    /// Flushes that failed their compare-and-set.
    pub fenced: u64,
    /// How often partitions read where they stand anew: at the start, and after whatever went wrong.
    pub resyncs: u64,
    /// Keys expired by Sweeps.
    pub expired: u64,
    /// Tombstones removed by Purges.
    pub purged: u64,
}

impl Statuses {
    /// All partitions, as they are now.
    pub fn partitions(&self) -> BTreeMap<PartitionId, Status> {
        self.inner().partitions.clone()
    }

    /// The totals, as they are now.
    pub fn totals(&self) -> Totals {
        self.inner().totals
    }

    pub(crate) fn set(&self, partition: PartitionId, status: Status) {
        self.inner().partitions.insert(partition, status);
    }

    pub(crate) fn count(&self, add: impl FnOnce(&mut Totals)) {
        add(&mut self.inner().totals);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
