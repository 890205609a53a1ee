//! The shards: rows, watermarks, outcomes and memories in SQL. The only crate that names sqlx.
//!
//! A [`Shard`] is one database with whole partitions in it. Not here: folding, deciding what to retry, and who owns
//! what; a shard only compares and sets.
//! Invariant: what one call writes is committed as a whole or not at all, and a dropped call is never half done.

mod error;
mod headers;
mod sqlite;
mod types;

use millpond_schemas::{
    DeadLetter, Flush, Offset, Operation, PartitionId, RecordKey, Row, Seen, UnixMillis, Watermark,
};

pub use error::{BoxError, Error};
pub use sqlite::{Sqlite, SqliteConfig};
pub use types::{Applied, Due, Dump, Found, Freshness, KEYS_MAX, Outcomes, Scan, Scanned, Snapshot, Wanted};

/// One SQL database. Cloning is cheap and names the same one.
///
/// # Cancellation
/// Every call may be dropped at any point. One that writes is then done as a whole or not at all.
/// # Errors
/// Every call: [`Error::Unavailable`] when the database does not answer, [`Error::Corrupt`] when it holds what was
/// never written, [`Error::Schema`] when it refuses a statement as such.
#[derive(Clone, Debug)]
pub enum Shard {
    /// A file of the embedded default.
    Sqlite(Sqlite),
}

/// Opening and closing.
impl Shard {
    /// Opens a SQLite shard; makes the file and its tables where there are none.
    ///
    /// # Errors
    /// [`Error::Schema`]: the file is not a shard, or a newer build made it.
    pub async fn open(config: &SqliteConfig) -> Result<Self, Error> {
        Ok(Self::Sqlite(Sqlite::open(config).await?))
    }

    /// Finishes the calls that have begun and closes every connection. Later calls get [`Error::Unavailable`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(shard) => shard.close().await,
        }
    }

    /// Makes everything committed so far outlast a power loss, and answers the watermarks that do.
    ///
    /// # Errors
    /// [`Error::Unavailable`] also while a long read holds an old state open: try again later.
    pub async fn checkpoint(&self) -> Result<Vec<Watermark>, Error> {
        match self {
            Self::Sqlite(shard) => shard.checkpoint().await,
        }
    }
}

/// For the writer: on the primary, in the order of the calls, over one connection.
impl Shard {
    /// The watermark of a copy; none: the shard has no copy of `partition`.
    pub async fn watermark(&self, partition: PartitionId) -> Result<Option<Watermark>, Error> {
        Ok(self.watermarks(vec![partition]).await?.pop())
    }

    /// Watermarks of these partitions, by partition; those without a copy are left out.
    pub async fn watermarks(&self, partitions: Vec<PartitionId>) -> Result<Vec<Watermark>, Error> {
        match self {
            Self::Sqlite(shard) => shard.watermarks(partitions).await,
        }
    }

    /// Makes an empty copy with this watermark; leaves one of the same log as it is.
    ///
    /// # Errors
    /// [`Error::Fenced`]: there is a copy of another log.
    pub async fn create_copy(&self, watermark: Watermark) -> Result<(), Error> {
        match self {
            Self::Sqlite(shard) => shard.create_copy(watermark).await,
        }
    }

    /// Applies flushes of different partitions in one transaction, each with its watermark.
    ///
    /// Those whose compare-and-set fails are left out and named in [`Applied::fenced`]; the others are committed.
    /// # Shape
    /// At most one flush per partition; in each, rows are sorted by key, one per key.
    /// # Errors
    /// [`Error::Unavailable`]: whether it was committed is not known; read the watermarks anew.
    /// [`Error::RowAhead`], [`Error::Refused`]: nothing was written.
    pub async fn apply(&self, flushes: Vec<Flush>) -> Result<Applied, Error> {
        match self {
            Self::Sqlite(shard) => shard.apply(flushes).await,
        }
    }

    /// What folds of several partitions need: rows as they are, tombstones and expired ones included, and operations.
    ///
    /// Answers one [`Found`] for each [`Wanted`], in order; what is not there is left out of it.
    pub async fn rows_for_fold(&self, wanted: Vec<Wanted>) -> Result<Vec<Found>, Error> {
        match self {
            Self::Sqlite(shard) => shard.rows_for_fold(wanted).await,
        }
    }

    /// Rows of a partition with `expires_at <= until`, at most `limit`, ordered by (`expires_at`, tenant, key).
    ///
    /// An empty value stands for each that there is: all together could be more than memory holds.
    pub async fn due(
        &self,
        partition: PartitionId,
        due: Due,
        until: UnixMillis,
        limit: u32,
    ) -> Result<Vec<Row>, Error> {
        match self {
            Self::Sqlite(shard) => shard.due(partition, due, until, limit).await,
        }
    }

    /// Window ids of a partition with an offset above `after` and a time of at least `since`, by offset.
    pub async fn seen(
        &self,
        partition: PartitionId,
        after: Offset,
        since: UnixMillis,
    ) -> Result<Vec<Seen>, Error> {
        match self {
            Self::Sqlite(shard) => shard.seen(partition, after, since).await,
        }
    }

    /// Deletes at most `rows_max` rows each of outcomes, ids and operations that no fold and no reader asks for any
    /// more. Answers whether there may be more.
    pub async fn prune(&self, partition: PartitionId, rows_max: u32) -> Result<bool, Error> {
        match self {
            Self::Sqlite(shard) => shard.prune(partition, rows_max).await,
        }
    }
}

/// For readers: over a few connections of their own.
impl Shard {
    /// Rows of keys of one partition, in the order of `keys`, with the state that they were read from: one statement.
    ///
    /// None where a key is absent, a tombstone, or expired by the shard's clock.
    /// # Shape
    /// `keys`: at most [`KEYS_MAX`]; may be empty, or repeat.
    /// # Errors
    /// [`Error::Unavailable`] also when there is no copy of the partition here. [`Error::Refused`]: too many keys.
    pub async fn read(&self, partition: PartitionId, keys: Vec<RecordKey>) -> Result<Snapshot, Error> {
        match self {
            Self::Sqlite(shard) => shard.read(partition, keys).await,
        }
    }

    /// Rows of one tenant in key order over several partitions, with the state of each: one statement.
    ///
    /// # Shape
    /// Partitions without a copy here have no entry in [`Scanned::freshness`].
    pub async fn range(&self, partitions: Vec<PartitionId>, scan: Scan) -> Result<Scanned, Error> {
        match self {
            Self::Sqlite(shard) => shard.range(partitions, scan).await,
        }
    }

    /// Kept outcomes that overlap `from..=to`, by offset, with the state that they were read from: one statement.
    ///
    /// An offset up to the watermark that is no exception of any range succeeded plainly, if it is not too old.
    /// # Errors
    /// [`Error::Unavailable`] also when there is no copy of the partition here.
    pub async fn outcomes(
        &self,
        partition: PartitionId,
        from: Offset,
        to: Offset,
    ) -> Result<Outcomes, Error> {
        match self {
            Self::Sqlite(shard) => shard.outcomes(partition, from, to).await,
        }
    }

    /// Every operation kept, by hash.
    pub async fn operations(&self, partition: PartitionId) -> Result<Vec<Operation>, Error> {
        match self {
            Self::Sqlite(shard) => shard.operations(partition).await,
        }
    }

    /// Dead letters from offset `from` on, at most `limit`, by offset.
    pub async fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        match self {
            Self::Sqlite(shard) => shard.dead_letters(partition, from, limit).await,
        }
    }

    /// Everything of a copy at one moment, in memory, in an order that does not depend on how it was made.
    ///
    /// # Errors
    /// [`Error::Unavailable`] also when there is no copy of the partition here.
    pub async fn dump(&self, partition: PartitionId) -> Result<Dump, Error> {
        match self {
            Self::Sqlite(shard) => shard.dump(partition).await,
        }
    }
}
