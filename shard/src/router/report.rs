//! What a router counts, for metrics.
//!
//! Invariant: counters only rise, over every change of nodes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::Pool;

/// What a node is to its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Where the writer writes.
    Primary,
    /// Where that is replicated to.
    Replica,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Replica];

    /// In lower case, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// What became of one read of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It answered, and was fresh enough.
    Answered,
    /// It had not reached what was wanted.
    Behind,
    /// It did not answer in time, or not at all, or what it holds cannot be read.
    Failed,
    /// It answered from an old timeline.
    OldTimeline,
    /// Too much was asked of it already, or too much by this call.
    Refused,
}

impl Reached {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Behind, Self::Failed, Self::OldTimeline, Self::Refused];

    /// In lower case, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Behind => "behind",
            Self::Failed => "failed",
            Self::OldTimeline => "old_timeline",
            Self::Refused => "refused",
        }
    }
}

/// How a router and its nodes are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Reads of nodes so far.
    pub reads: Vec<(Kind, Reached, u64)>,
    /// Of these, those that asked another node, or one again, for the same call.
    pub retries: u64,
    /// The primary first, then the replicas in the topology's order.
    pub nodes: Vec<NodeReport>,
}

/// How a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// What it is.
    pub kind: Kind,
    /// It failed, and no probe has succeeded since.
    pub resting: bool,
    /// Queries that gathered reads have become.
    pub queries: u64,
    /// Records that it is known to be behind the primary, in the partition that is the furthest behind.
    pub lag_records: u64,
    /// The same in time, by the log's clock.
    pub lag: Duration,
    /// Its connections.
    pub pool: Pool,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counts {
    reads: [[AtomicU64; Reached::ALL.len()]; Kind::ALL.len()],
    retries: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, kind: Kind, reached: Reached) {
        self.reads[kind as usize][reached as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reads(&self) -> Vec<(Kind, Reached, u64)> {
        let of = |kind: Kind, reached: Reached| {
            (kind, reached, self.reads[kind as usize][reached as usize].load(Ordering::Relaxed))
        };
        Kind::ALL.into_iter().flat_map(|kind| Reached::ALL.map(|reached| of(kind, reached))).collect()
    }

    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}
