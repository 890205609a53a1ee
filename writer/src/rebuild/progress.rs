//! How far a rebuild has come, for whoever shows it.
//!
//! Invariant: says what is committed, never what is under way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use millpond_schemas::{Offset, PartitionId};

/// Every partition's step. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<BTreeMap<PartitionId, Step>>>);

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where this run began.
    pub from: Offset,
    /// The watermark.
    pub applied: Offset,
    /// Where it ends, at the latest.
    pub to: Offset,
    /// Records that this run has applied.
    pub records: u64,
    /// It is where it was to go.
    pub done: bool,
    /// What it waits for, if it does.
    pub waits: Option<String>,
}

impl Progress {
    /// Partitions that have begun.
    pub fn steps(&self) -> BTreeMap<PartitionId, Step> {
        self.all().clone()
    }

    pub(super) fn begin(&self, partition: PartitionId, applied: Offset, to: Offset) {
        let new = Step { from: applied, applied, to, records: 0, done: false, waits: None };
        let mut all = self.all();
        let step = all.entry(partition).or_insert(new);
        (step.applied, step.to, step.waits) = (applied, to, None);
    }

    pub(super) fn applied(&self, partition: PartitionId, records: u64, applied: Offset) {
        if let Some(step) = self.all().get_mut(&partition) {
            step.records += records;
            step.applied = applied;
            step.waits = None;
        }
    }

    pub(super) fn waits(&self, partition: PartitionId, why: String) {
        let none = Offset::NONE;
        let new = Step { from: none, applied: none, to: none, records: 0, done: false, waits: None };
        self.all().entry(partition).or_insert(new).waits = Some(why);
    }

    pub(super) fn done(&self, partition: PartitionId) {
        if let Some(step) = self.all().get_mut(&partition) {
            step.done = true;
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
