//! A whole copy at one moment, read thing by thing over a connection of its own, while others go on writing.
//!
//! Not for serving: it reads everything once. Invariant: all that one reader gives is of one moment, and no more than a
//! few rows are in memory.

use futures_util::stream::BoxStream;
use millpond_schemas::{PartitionId, Watermark};
use sqlx::{PgConnection, SqliteConnection};

use crate::{
    Dump, Error, Shard, Sqlite, SqliteConfig, postgres, sqlite,
    stored::{Stored, Table},
};

/// A copy as it was when this was made. What was read meanwhile stays in the database for as long as this is open.
#[derive(Debug)]
pub struct CopyReader {
    pub(crate) partition: PartitionId,
    pub(crate) watermark: Option<Watermark>,
    pub(crate) connection: Connection,
}

#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

/// Beside those who write, and whole.
impl Shard {
    /// Opens a SQLite shard that is there, only to read it: beside the process that has it, or without one.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: there is no such file. [`Error::Schema`]: it is not a shard, or not one of this build.
    pub async fn open_read_only(config: &SqliteConfig) -> Result<Self, Error> {
        Ok(Self::Sqlite(Sqlite::open_read_only(config).await?))
    }

    /// Opens a copy as it is now, over a connection of its own, to be read whole.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: its watermark cannot be understood.
    pub async fn copy_reader(&self, partition: PartitionId) -> Result<CopyReader, Error> {
        match self {
            Self::Sqlite(shard) => shard.copy_reader(partition).await,
            Self::Postgres(shard) => shard.copy_reader(partition).await,
        }
    }

    /// Everything of a copy at one moment, in memory, in an order that does not depend on how it was made.
    ///
    /// # Errors
    /// [`Error::Unavailable`] also when there is no copy of the partition here.
    pub async fn dump(&self, partition: PartitionId) -> Result<Dump, Error> {
        match self {
            Self::Sqlite(shard) => shard.dump(partition).await,
            Self::Postgres(shard) => shard.dump(partition).await,
        }
    }
}

impl CopyReader {
    /// The copy's watermark; none: there is no copy, whatever the other tables hold.
    pub fn watermark(&self) -> Option<&Watermark> {
        self.watermark.as_ref()
    }

    /// Everything in one of its tables, by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: make another reader. What cannot be understood is no error, see [`Stored::part`].
    pub fn stream(&mut self, table: Table) -> BoxStream<'_, Result<Stored, Error>> {
        match &mut self.connection {
            Connection::Sqlite(connection) => sqlite::stream(connection, self.partition, table),
            Connection::Postgres(connection) => postgres::stream(connection, self.partition, table),
        }
    }

    /// Lets go of the moment. Dropping it does so too, a little later.
    pub async fn close(self) {
        let closed = match self.connection {
            Connection::Sqlite(connection) => sqlite::close(*connection).await,
            Connection::Postgres(connection) => postgres::close(*connection).await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "a reader of a copy did not close cleanly");
        }
    }
}
