//! The log: append and read records, follow outcomes.
//!
//! One type for every engine; callers never learn which one it is. Not here: what records mean, and SQL.
//! Invariant: an acked record is durable, is readable from its ack on, and keeps its offset for ever.

mod clock;
mod control;
mod error;
pub mod kafka;
pub mod local;
mod meters;
mod outcomes;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use millpond_schemas::{Offset, PartitionId, Raw, Received, UnixMillis};
use tokio::sync::{oneshot, watch};

pub use clock::{Clock, Manual};
pub use control::{AmendError, Follower, Topologies, genesis};
pub use error::{Cause, Error};
pub use meters::{Queued, register};
pub use outcomes::{Heard, OUTCOME_RANGES_MAX, Outcomes, Subscription};

/// A partitioned log. A clone is the same log.
#[derive(Clone, Debug)]
pub enum Log {
    /// Segment files in the data directory.
    Local(local::Log),
    /// A topic of a Kafka cluster.
    Kafka(kafka::Log),
}

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where it goes: below [`Log::partitions`].
    pub partition: PartitionId,
    /// Its bytes.
    pub raw: Raw,
}

/// A record's place and time, once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its place in its partition.
    pub offset: Offset,
    /// Its append time: never below that of an earlier record of the partition.
    pub time: UnixMillis,
}

/// What can be read of a partition: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read; `end` when there is none.
    pub start: Offset,
    /// The next offset to be issued.
    pub end: Offset,
}

/// What one read brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// By offset, all at or above the offset that was asked for.
    pub records: Vec<Received>,
    /// Where to read on. Whatever lies below it and is not among the records is a confirmed hole: a transaction's
    /// marker, or a record that its producer has aborted. The local log has none.
    pub next: Offset,
}

/// A partition that cannot be read on, though its end has moved: a producer's transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which partition.
    pub partition: PartitionId,
    /// For how long.
    pub since: Duration,
}

/// Why a log takes no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shut {
    /// In words.
    pub reason: &'static str,
    /// What sends them has died, and the next one is not there yet. Otherwise it is the brokers that do not answer, or the
    /// disk that takes nothing.
    pub dead: bool,
}

/// What a log has lived through since it was opened. For metrics; the local log has none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Producers that died and were made anew. What they had in flight was answered with [`Error::Unknown`].
    pub producers_failed: u64,
    /// Offsets passed over as confirmed holes.
    pub holes: u64,
    /// Consumers that were given up and made anew.
    pub readers_restarted: u64,
}

/// How much lies on a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Offsets, holes included.
    pub records: u64,
    /// On the local log what the disk holds because of them. On Kafka an estimate:
    /// their number times the mean size of some of them, not compressed.
    pub bytes: u64,
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free: u64,
    /// Its size in bytes.
    pub of: u64,
}

/// The acks of one call, when they come. Dropping it does not un-send the records.
#[derive(Debug)]
pub struct Acks(oneshot::Receiver<Result<Vec<Ack>, Error>>);

impl Future for Acks {
    /// One ack per record, in the order of the call. [`Error::Unknown`], [`Error::Unavailable`] as in [`Log::append`].
    type Output = Result<Vec<Ack>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.unwrap_or_else(|gone| Err(Error::Unknown { source: std::sync::Arc::new(gone) })))
    }
}

impl Log {
    /// How many partitions it has. Fixed for the log's life.
    pub fn partitions(&self) -> u32 {
        match self {
            Self::Local(log) => log.partitions(),
            Self::Kafka(log) => log.partitions(),
        }
    }

    /// Appends records to any number of partitions and waits until all are durable.
    ///
    /// # Shape
    /// Acks come in the order of `records`. Records of one partition get rising offsets in that order.
    /// # Errors
    /// [`Error::Backpressure`], [`Error::Unavailable`], [`Error::TooLarge`]: none is on the log.
    /// [`Error::Unknown`]: any of them may be.
    pub async fn append(&self, records: Vec<Append>) -> Result<Vec<Ack>, Error> {
        self.enqueue(&records)?.await
    }

    /// Sends records without waiting. Records of one partition lie on the log in the order of the calls.
    ///
    /// # Errors
    /// [`Error::Backpressure`], [`Error::Unavailable`], [`Error::TooLarge`], at once: none is on the log.
    /// # Panics
    /// When a partition is not below [`Log::partitions`].
    pub fn enqueue(&self, records: &[Append]) -> Result<Acks, Error> {
        match self {
            Self::Local(log) => log.enqueue(records).map(Acks),
            Self::Kafka(log) => log.enqueue(records).map(Acks),
        }
    }

    /// Reads records of one partition from `from` on, as many as fit `bytes_max`. Does not wait for more to come.
    ///
    /// # Shape
    /// At least one record where there is one to be had at once, however large it is; possibly fewer than would fit.
    /// Meant to be followed by a read from [`Read::next`]: another offset costs a seek on some engines.
    /// # Errors
    /// [`Error::Trimmed`]: `from` is below the start. [`Error::BeyondEnd`]: above the end.
    /// [`Error::Corrupt`], [`Error::Gap`]: halt. [`Error::Unavailable`]: check that the log is still the same, and
    /// try again.
    /// # Panics
    /// When the partition is not below [`Log::partitions`].
    pub async fn read(&self, partition: PartitionId, from: Offset, bytes_max: usize) -> Result<Read, Error> {
        match self {
            Self::Local(log) => log.read(partition, from, bytes_max).await,
            Self::Kafka(log) => log.read(partition, from, bytes_max).await,
        }
    }

    /// Reads one record; none where a confirmed hole is.
    ///
    /// # Errors
    /// [`Error::Trimmed`]: `offset` is below the start. [`Error::BeyondEnd`]: at or above the end.
    /// [`Error::Corrupt`]: halt. [`Error::Unavailable`]: try again.
    /// # Panics
    /// When the partition is not below [`Log::partitions`].
    pub async fn record(&self, partition: PartitionId, offset: Offset) -> Result<Option<Received>, Error> {
        match self {
            Self::Local(log) => log.record(partition, offset).await,
            Self::Kafka(log) => log.record(partition, offset).await,
        }
    }

    /// Nobody reads on in this partition for now: what was fetched ahead may go.
    pub fn rest(&self, partition: PartitionId) {
        match self {
            Self::Local(_) => assert!(partition.0 < self.partitions(), "there is no partition {partition}"),
            Self::Kafka(log) => log.rest(partition),
        }
    }

    /// Partitions that an open transaction holds up.
    pub fn stalls(&self) -> Vec<Stall> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Kafka(log) => log.stalls(),
        }
    }

    /// Its topic was made anew since it was opened: nothing that it acked before is there, and it takes no more.
    pub fn is_remade(&self) -> bool {
        match self {
            Self::Local(_) => false,
            Self::Kafka(log) => log.is_remade(),
        }
    }

    /// Why it takes no records just now; none: it takes them, or nobody has asked it to yet.
    pub fn shut(&self) -> Option<Shut> {
        match self {
            Self::Local(log) => log.shut(),
            Self::Kafka(log) => log.shut(),
        }
    }

    /// What it has lived through.
    pub fn counters(&self) -> Counters {
        match self {
            Self::Local(_) => Counters::default(),
            Self::Kafka(log) => log.counters(),
        }
    }

    /// What waits for it.
    pub fn queued(&self) -> Queued {
        match self {
            Self::Local(log) => log.queued(),
            Self::Kafka(log) => log.queued(),
        }
    }

    pub(crate) fn meters(&self) -> &meters::Meters {
        match self {
            Self::Local(log) => log.meters(),
            Self::Kafka(log) => log.meters(),
        }
    }

    /// Where a partition starts and ends. Everything acked before the call is inside.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: try again.
    /// # Panics
    /// When the partition is not below [`Log::partitions`].
    pub async fn bounds(&self, partition: PartitionId) -> Result<Bounds, Error> {
        match self {
            Self::Local(log) => log.bounds(partition).await,
            Self::Kafka(log) => log.bounds(partition).await,
        }
    }

    /// A counter that rises whenever any partition gained readable records. To miss nothing: take the receiver,
    /// read to the end, then await `changed()`.
    pub fn changes(&self) -> watch::Receiver<u64> {
        match self {
            Self::Local(log) => log.changes(),
            Self::Kafka(log) => log.changes(),
        }
    }

    /// Lets the log drop records below the floors, one per partition. It may keep more.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: try again.
    /// # Panics
    /// When there is not one floor per partition.
    pub async fn trim(&self, floors: &[Offset]) -> Result<(), Error> {
        match self {
            Self::Local(log) => log.trim(floors).await,
            Self::Kafka(log) => log.trim(floors).await,
        }
    }

    /// Whether [`Log::trim`] with these floors could drop anything, as far as that can be told without asking.
    ///
    /// # Panics
    /// When there is not one floor per partition.
    pub fn could_trim(&self, floors: &[Offset]) -> bool {
        assert_eq!(floors.len(), self.partitions() as usize, "one floor per partition");
        match self {
            Self::Local(log) => log.could_trim(floors),
            Self::Kafka(_) => floors.iter().any(|floor| *floor > Offset(0)),
        }
    }

    /// For each partition an offset below which every record is older than its time; none where that cannot be told now.
    ///
    /// # Shape
    /// One time per partition. The local log answers by whole segments.
    /// # Panics
    /// When there is not one time per partition.
    pub async fn older(&self, times: &[UnixMillis]) -> Vec<Option<Offset>> {
        match self {
            Self::Local(log) => log.older(times),
            Self::Kafka(log) => log.older(times).await,
        }
    }

    /// How much lies on it from these offsets on, one per partition.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: try again.
    /// # Panics
    /// When there is not one offset per partition.
    pub async fn extent(&self, from: &[Offset]) -> Result<Extent, Error> {
        match self {
            Self::Local(log) => log.extent(from).await,
            Self::Kafka(log) => log.extent(from).await,
        }
    }

    /// The file system that it lies on; none: brokers do not tell.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: try again.
    pub async fn space(&self) -> Result<Option<Space>, Error> {
        match self {
            Self::Local(log) => log.space().await.map(Some),
            Self::Kafka(_) => Ok(None),
        }
    }

    /// Takes no more records, waits until what was taken is durable, and stops. Reads go on.
    pub async fn close(&self) {
        match self {
            Self::Local(log) => log.close().await,
            Self::Kafka(log) => log.close().await,
        }
    }
}
