//! The log: append and read records, follow outcomes.
//!
//! One type for every engine; callers never learn which one it is. Not here: what records mean, and SQL.
//! Invariant: an acked record is durable, is readable from its ack on, and keeps its offset for ever.

mod clock;
mod control;
mod error;
pub mod local;
mod outcomes;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use millpond_schemas::{Offset, PartitionId, Raw, Received, UnixMillis};
use tokio::sync::{oneshot, watch};

pub use clock::{Clock, Manual};
pub use control::{Follower, Topologies, genesis};
pub use error::{Cause, Error};
pub use outcomes::{Heard, OUTCOME_RANGES_MAX, Outcomes, Subscription};

/// A partitioned log. A clone is the same log.
#[derive(Clone, Debug)]
pub enum Log {
    /// Segment files in the data directory.
    Local(local::Log),
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
        self.enqueue(records)?.await
    }

    /// Sends records without waiting. Records of one partition lie on the log in the order of the calls.
    ///
    /// # Errors
    /// [`Error::Backpressure`], [`Error::Unavailable`], [`Error::TooLarge`], at once: none is on the log.
    /// # Panics
    /// When a partition is not below [`Log::partitions`].
    pub fn enqueue(&self, records: Vec<Append>) -> Result<Acks, Error> {
        match self {
            Self::Local(log) => log.enqueue(records).map(Acks),
        }
    }

    /// Reads records of one partition, contiguous from `from`, as many as fit `bytes_max`.
    ///
    /// # Shape
    /// At least one record unless `from` is the end, however large it is; possibly fewer than would fit.
    /// # Errors
    /// [`Error::Trimmed`]: `from` is below the start. [`Error::BeyondEnd`]: above the end.
    /// [`Error::Corrupt`]: halt. [`Error::Unavailable`]: try again.
    /// # Panics
    /// When the partition is not below [`Log::partitions`].
    pub async fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Received>, Error> {
        match self {
            Self::Local(log) => log.read(partition, from, bytes_max).await,
        }
    }

    /// Where a partition starts and ends. Everything acked before the call is inside.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: try again.
    /// # Panics
    /// When the partition is not below [`Log::partitions`].
    #[expect(clippy::unused_async, reason = "other engines must ask over the network")]
    pub async fn bounds(&self, partition: PartitionId) -> Result<Bounds, Error> {
        match self {
            Self::Local(log) => Ok(log.bounds(partition)),
        }
    }

    /// A counter that rises whenever any partition gained readable records. To miss nothing: take the receiver,
    /// read to the end, then await `changed()`.
    pub fn changes(&self) -> watch::Receiver<u64> {
        match self {
            Self::Local(log) => log.changes(),
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
        }
    }

    /// Takes no more records, waits until what was taken is durable, and stops. Reads go on.
    pub async fn close(&self) {
        match self {
            Self::Local(log) => log.close().await,
        }
    }
}
