//! What is asked of a shard and what it answers, beyond the shapes of the log. No engine shows in here.

use bytes::Bytes;
use millpond_schemas::{
    DeadLetter, DeadReason, Exception, IdHash, Offset, Operation, OutcomeRange, PartitionId, Position,
    RecordKey, Refusal, Row, Seen, Tenant, UnixMillis, Watermark,
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

/// Rows of keys of several partitions, each partition at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManyRead {
    /// Which moment, for each partition asked for that has a copy here, by partition.
    pub freshness: Vec<Freshness>,
    /// One for each key asked for, in that order; none also where its partition has no copy here.
    pub rows: Vec<Option<Row>>,
    /// How many of the keys, from the first, `rows` speaks of, where the values of all were too much.
    pub cut: Option<usize>,
}

/// What a node of a shard is just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Whether it follows another; a primary does not.
    pub in_recovery: bool,
    /// How long ago the last transaction that it has replayed was committed; zero when it has replayed all that it has
    /// received. None: it has replayed none yet.
    pub replay_lag: Option<std::time::Duration>,
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
    /// Most rows that are looked at, tombstones and expired ones included: they may lie there by the million.
    pub looked_max: u32,
    /// Most bytes of values, but for the first.
    pub bytes_max: usize,
    /// From the highest key down.
    pub reverse: bool,
}

/// Rows in key order at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Which moment, for each partition asked for that has a copy here, by partition.
    pub freshness: Vec<Freshness>,
    /// Each with its partition.
    pub rows: Vec<(PartitionId, Row)>,
    /// The last key that was looked at, where the end of the range was not reached: what is behind it is not known.
    pub cut: Option<Bytes>,
}

/// What became of an apply that was committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Partitions whose compare-and-set failed: nothing of them was written.
    pub fenced: Vec<PartitionId>,
    /// What the COMMIT took of it, where it is known.
    pub commit: std::time::Duration,
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

/// A partition's dead letters at a glance: how many, and the newest, without their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// How many there are of each reason; by its code.
    pub counts: Vec<(DeadReason, u64)>,
    /// The newest first.
    pub newest: Vec<Letter>,
}

/// A dead letter without its headers and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it lies on the log.
    pub position: Position,
    /// Its clamped time.
    pub time: UnixMillis,
    /// Why.
    pub refusal: Refusal,
    /// The record's key, whatever it is; none: it has none.
    pub record_key: Option<Bytes>,
    /// Bytes of its value; none: it has none.
    pub value_bytes: Option<u64>,
}

/// Most tombstones that [`Stats`] counts.
pub(crate) const TOMBSTONES_COUNTED_MAX: u32 = 100_000;

/// How large a database is, and what in it is dead. All but the tombstones are the engine's own estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all tables and indexes.
    pub bytes: u64,
    /// Live rows, and dead ones that wait to be vacuumed, of all tables; none: the engine does not count them.
    pub rows: Option<(u64, u64)>,
    /// Rows ever updated, and of those in place, without touching an index; none: the engine does not count them.
    pub updates: Option<(u64, u64)>,
    /// Tombstones; at most 100,000 are counted.
    pub tombstones: u64,
    /// When the oldest of them became one.
    pub oldest_tombstone: Option<UnixMillis>,
}

/// The connections that read, and the calls that wait for the one that writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Connections that may read at once.
    pub connections: u64,
    /// Of those, lent just now.
    pub in_use: u64,
    /// Reads that had to wait for one, ever.
    pub waits: u64,
    /// Of those, given up.
    pub timeouts: u64,
    /// Calls that wait for the connection that writes, just now.
    pub writes_waiting: u64,
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
