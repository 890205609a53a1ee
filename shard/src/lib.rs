//! The shards: rows, watermarks, outcomes and memories in SQL. The only crate that names sqlx.
//!
//! A [`Shard`] is one database with whole partitions in it. Not here: folding, deciding what to retry, and who owns
//! what; a shard only compares and sets.
//! Invariant: what one call writes is committed as a whole or not at all, and a dropped call is never half done.

mod assemble;
mod chunks;
mod columns;
mod copy_reader;
mod decode;
mod engine;
mod error;
mod headers;
mod hold;
mod meters;
mod postgres;
mod readers;
mod reads;
mod router;
mod sizes;
mod sqlite;
mod stored;
mod types;
mod writer;

use std::time::Duration;

use millpond_schemas::{
    DeadLetter, Flush, Generation, Offset, PartitionId, Row, Seen, UnixMillis, Watermark,
};

pub use copy_reader::CopyReader;
pub use error::{BoxError, Error};
pub use hold::{Hold, HoldError};
pub use meters::register;
pub use postgres::{AddressInvalid, Password, Postgres, PostgresConfig};
pub use router::{Kind, NodeReport, Reached, Reading, Report, Router, Want, Wants};
pub use sizes::Sizes;
pub use sqlite::{Sqlite, SqliteConfig};
pub use stored::{Name, Stored, Table, Value, watermark_columns};
pub use types::{
    Applied, Due, Dump, Found, Freshness, KEYS_MAX, Letter, Letters, ManyRead, NodeState, Outcomes, Pool,
    Scan, Scanned, Snapshot, Stats, Wanted,
};

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
    /// A Postgres database: a primary, or a replica that is only read.
    Postgres(Postgres),
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

    /// Names a Postgres shard. Connects when something is asked of it, so the database need not be up.
    ///
    /// # Errors
    /// [`Error::Schema`]: the address is none, or has a password in it.
    pub fn open_postgres(config: &PostgresConfig) -> Result<Self, Error> {
        Ok(Self::Postgres(Postgres::open(config)?))
    }

    /// Makes the tables, or brings them up to date. Running it again, or twice at a time, changes nothing.
    ///
    /// A SQLite shard does so when it is opened; a Postgres one says `millpond init` until it was done.
    /// # Errors
    /// [`Error::Schema`]: a newer build, or another program, made the tables.
    pub async fn migrate(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(shard) => shard.migrate().await,
        }
    }

    /// What the node is just now: one small statement.
    pub async fn node_state(&self) -> Result<NodeState, Error> {
        match self {
            Self::Sqlite(_) => Ok(NodeState { in_recovery: false, replay_lag: Some(Duration::ZERO) }),
            Self::Postgres(shard) => shard.node_state().await,
        }
    }

    /// Finishes the calls that have begun and closes every connection. Later calls get [`Error::Unavailable`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(shard) => shard.close().await,
            Self::Postgres(shard) => shard.close().await,
        }
    }

    /// Whether both name the same open database.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(other)) => one.is(other),
            (Self::Postgres(one), Self::Postgres(other)) => one.is(other),
            (Self::Sqlite(_), Self::Postgres(_)) | (Self::Postgres(_), Self::Sqlite(_)) => false,
        }
    }

    /// Whether what was opened is still what is found under its name: one look, nothing that waits.
    ///
    /// # Errors
    /// [`Error::Schema`]: the file was deleted or exchanged meanwhile; whatever is written to it is lost.
    pub fn check_place(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(shard) => shard.check_place(),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Makes everything committed so far outlast a power loss, and answers the watermarks that do.
    ///
    /// # Errors
    /// [`Error::Unavailable`] also while a long read holds an old state open: try again later.
    pub async fn checkpoint(&self) -> Result<Vec<Watermark>, Error> {
        match self {
            Self::Sqlite(shard) => shard.checkpoint().await,
            Self::Postgres(shard) => shard.checkpoint().await,
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
            Self::Postgres(shard) => shard.watermarks(partitions).await,
        }
    }

    /// Makes an empty copy with this watermark; leaves one of the same log as it is.
    ///
    /// # Errors
    /// [`Error::Fenced`]: there is a copy of another log.
    pub async fn create_copy(&self, watermark: Watermark) -> Result<(), Error> {
        match self {
            Self::Sqlite(shard) => shard.create_copy(watermark).await,
            Self::Postgres(shard) => shard.create_copy(watermark).await,
        }
    }

    /// Throws a copy away: its rows, ids, outcomes, dead letters and its watermark, which must be `seen`.
    ///
    /// # Errors
    /// [`Error::Fenced`]: it stands elsewhere, or there is none; nothing was thrown away.
    pub async fn discard_copy(&self, seen: Watermark) -> Result<(), Error> {
        match self {
            Self::Sqlite(shard) => shard.discard_copy(seen).await,
            Self::Postgres(shard) => shard.discard_copy(seen).await,
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
            Self::Postgres(shard) => shard.apply(flushes).await,
        }
    }

    /// What folds of several partitions need: rows as they are, tombstones and expired ones included, and operations.
    ///
    /// Answers one [`Found`] for each [`Wanted`], in order; what is not there is left out of it.
    pub async fn rows_for_fold(&self, wanted: Vec<Wanted>) -> Result<Vec<Found>, Error> {
        match self {
            Self::Sqlite(shard) => shard.rows_for_fold(wanted).await,
            Self::Postgres(shard) => shard.rows_for_fold(wanted).await,
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
            Self::Postgres(shard) => shard.due(partition, due, until, limit).await,
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
            Self::Postgres(shard) => shard.seen(partition, after, since).await,
        }
    }

    /// Deletes at most `rows_max` rows each of outcomes, ids and operations that no fold and no reader asks for any
    /// more. Answers whether there may be more.
    pub async fn prune(&self, partition: PartitionId, rows_max: u32) -> Result<bool, Error> {
        match self {
            Self::Sqlite(shard) => shard.prune(partition, rows_max).await,
            Self::Postgres(shard) => shard.prune(partition, rows_max).await,
        }
    }

    /// Dead letters that [`Shard::published`] was not told of, with their generation, in order, at most `limit`.
    pub async fn unpublished(
        &self,
        partition: PartitionId,
        limit: u32,
    ) -> Result<Vec<(Generation, DeadLetter)>, Error> {
        match self {
            Self::Sqlite(shard) => shard.unpublished(partition, limit).await,
            Self::Postgres(shard) => shard.unpublished(partition, limit).await,
        }
    }

    /// Notes that dead letters up to this one are on their topic. Never goes back.
    pub async fn published(
        &self,
        partition: PartitionId,
        generation: Generation,
        offset: Offset,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(shard) => shard.published(partition, generation, offset).await,
            Self::Postgres(shard) => shard.published(partition, generation, offset).await,
        }
    }
}
