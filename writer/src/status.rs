//! What the writer tells others about its partitions, and its metrics.
//!
//! Invariant: says what is committed, never what is under way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use millpond_schemas::{DeadReason, Exception, Offset, Outcome, PartitionId, Rejection};

use crate::{Halt, Hottest, attempt::Stage, hot::Hot, metrics::Meters};

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
    /// How far it is behind its log; none: not known yet.
    pub lag: Option<Lag>,
}

/// How far a copy is behind its log, as of the last look at the log's end, which is once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records that are not applied.
    pub records: u64,
    /// For how long, at most, the first of them has waited; zero when there is none.
    pub time: Duration,
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
pub struct Statuses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    meters: Meters,
    hot: Mutex<Hot>,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<PartitionId, Status>,
    totals: Totals,
    dead_letters: BTreeMap<DeadReason, u64>,
    rejections: [u64; Rejection::ALL.len()],
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
    /// Mutations among the records, without those that were dead-lettered.
    pub mutations: u64,
    /// Mutations rejected.
    pub rejected: u64,
    /// Mutations that came again.
    pub duplicates: u64,
    /// Time spent in each stage of flushes that were committed.
    pub stages: [Duration; Stage::ALL.len()],
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

    /// Records dead-lettered, by reason.
    pub fn dead_letters(&self) -> BTreeMap<DeadReason, u64> {
        self.inner().dead_letters.clone()
    }

    pub(crate) fn set(&self, partition: PartitionId, status: Status) {
        self.inner().partitions.insert(partition, status);
    }

    /// Forgets a partition that moved away, unless another shard's worker has taken it meanwhile.
    pub(crate) fn remove(&self, partition: PartitionId, shard: usize) {
        let mut inner = self.inner();
        if inner.partitions.get(&partition).is_some_and(|status| status.shard == shard) {
            inner.partitions.remove(&partition);
        }
    }

    pub(crate) fn count(&self, add: impl FnOnce(&mut Totals)) {
        add(&mut self.inner().totals);
    }

    pub(crate) fn count_dead_letter(&self, reason: DeadReason) {
        let mut inner = self.inner();
        inner.totals.dead_letters += 1;
        *inner.dead_letters.entry(reason).or_default() += 1;
    }

    /// Mutations rejected, by reason.
    pub fn rejections(&self) -> [u64; Rejection::ALL.len()] {
        self.inner().rejections
    }

    /// The keys written most in the last minute or two.
    pub fn hottest(&self) -> Hottest {
        self.hot().hottest()
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.0.meters
    }

    pub(crate) fn hot(&self) -> MutexGuard<'_, Hot> {
        self.0.hot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what did not become plain success, apart from dead letters.
    pub(crate) fn count_exceptions(&self, exceptions: &[Exception]) {
        if exceptions.is_empty() {
            return;
        }
        let mut inner = self.inner();
        for exception in exceptions {
            match &exception.outcome {
                Outcome::Applied(_) | Outcome::DeadLettered(_) => {}
                Outcome::Rejected(rejected) => {
                    inner.totals.rejected += 1;
                    inner.rejections[rejected.rejection as usize] += 1;
                }
                Outcome::Duplicate { .. } => inner.totals.duplicates += 1,
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
