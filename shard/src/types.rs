//! What is asked of a shard and what it answers, beyond the shapes of the log. No engine shows in here.

use bytes::Bytes;
use millpond_schemas::{
    DeadLetter, Exception, IdHash, Offset, Operation, OutcomeRange, PartitionId, Position, RecordKey, Row,
    Seen, Tenant, UnixMillis, Watermark,
};

/// Most keys of one read.
pub const KEYS_MAX: usize = 4096;

/// The state that an answer was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// The watermark.
    pub applied: Position,
    /// Offset of the Claim by which the copy's writer owned it.
    pub owner: Offset,
    /// Clamped time of the last record applied.
    pub time: UnixMillis,
    /// The shard's own clock, by which expired rows were left out.
    pub now: UnixMillis,
}

/// Rows of keys at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which moment.
    pub freshness: Freshness,
    /// One for each key asked for, in that order.
    pub rows: Vec<Option<Row>>,
}

/// Kept outcomes at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// Which moment.
    pub freshness: Freshness,
    /// By offset, disjoint.
    pub ranges: Vec<OutcomeRange>,
}

/// Which rows of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Whose.
    pub tenant: Tenant,
    /// Lowest key, inclusive; empty: from the first.
    pub start: Bytes,
    /// Highest key, exclusive; none: to the last.
    pub end: Option<Bytes>,
    /// Most rows.
    pub limit: u32,
    /// From the highest key down.
    pub reverse: bool,
}

/// Rows in key order at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Which moment, for each partition asked for that has a copy here, by partition.
    pub freshness: Vec<Freshness>,
    /// Each with its partition.
    pub rows: Vec<(PartitionId, Row)>,
}

/// What became of an apply that was committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Partitions whose compare-and-set failed: nothing of them was written.
    pub fenced: Vec<PartitionId>,
}

/// What a fold needs of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which partition.
    pub partition: PartitionId,
    /// Whose rows.
    pub keys: Vec<RecordKey>,
    /// Which durable ids.
    pub operations: Vec<IdHash>,
}

/// What a fold gets of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which partition.
    pub partition: PartitionId,
    /// In no order.
    pub rows: Vec<Row>,
    /// In no order, however old.
    pub operations: Vec<Operation>,
}

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Live rows, to expire.
    Rows,
    /// Tombstones, to purge.
    Tombstones,
}

/// Everything of a copy. Two copies of one log at one offset have equal dumps, however their flushes were cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// The watermark; `owner` and all.
    pub watermark: Watermark,
    /// By tenant and key, tombstones included.
    pub rows: Vec<Row>,
    /// Every kept outcome that is not plain success, by offset.
    pub outcomes: Vec<Exception>,
    /// By offset.
    pub seen: Vec<Seen>,
    /// By hash.
    pub operations: Vec<Operation>,
    /// By offset.
    pub dead_letters: Vec<DeadLetter>,
}
