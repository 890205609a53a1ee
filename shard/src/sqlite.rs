//! A shard in a SQLite file: one connection that writes, a few that read.
//!
//! Invariant: a call that writes is finished, whoever waits for it; no connection outlives an error, nor a dropped read.

mod apply;
mod batch;
mod decode;
mod dump;
mod error;
mod memory;
mod open;
mod prune;
mod read;
mod readers;
mod remember;
mod statement;
mod upsert;
mod watermark;
mod writer;

use std::{fmt, path::PathBuf, pin::Pin, sync::Arc};

use millpond_schemas::{
    DeadLetter, Flush, Offset, Operation, PartitionId, RecordKey, Row, Seen, UnixMillis, Watermark,
};

use crate::{Applied, Due, Dump, Error, Found, Outcomes, Scan, Scanned, Snapshot, Wanted};
use readers::Readers;
use writer::Writer;

/// Where a SQLite shard is, and how much it may take.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// The file. SQLite keeps two more beside it, with `-wal` and `-shm` appended.
    pub path: PathBuf,
    /// Connections that read. Each has a thread. Fewer: reads wait for one another; more: memory.
    pub readers: u32,
    /// Page cache of the connection that writes, KiB; those that read share as much. Smaller: more reads of the file.
    pub cache_kib: u32,
}

impl SqliteConfig {
    /// The usual one for this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 4, cache_kib: 32 * 1024 }
    }
}

/// A call at work on a connection.
type Running<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// An open SQLite shard.
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlite").field(&self.0.path).finish()
    }
}

impl Sqlite {
    pub(crate) async fn open(config: &SqliteConfig) -> Result<Self, Error> {
        let first = open::prepare(config).await?;
        let readers = Readers::new(open::reading(config), config.readers);
        let writer = Writer::start(open::writing(config), first);
        Ok(Self(Arc::new(Inner { path: config.path.clone(), writer, readers })))
    }

    pub(crate) async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    pub(crate) async fn checkpoint(&self) -> Result<Vec<Watermark>, Error> {
        self.0.writer.run(|c| Box::pin(watermark::checkpoint(c))).await
    }

    pub(crate) async fn watermarks(&self, partitions: Vec<PartitionId>) -> Result<Vec<Watermark>, Error> {
        self.0.writer.run(|c| Box::pin(async move { watermark::of(c, &partitions).await })).await
    }

    pub(crate) async fn create_copy(&self, watermark: Watermark) -> Result<(), Error> {
        self.0.writer.run(|c| Box::pin(watermark::create(c, watermark))).await
    }

    pub(crate) async fn apply(&self, flushes: Vec<Flush>) -> Result<Applied, Error> {
        self.0.writer.run(|c| Box::pin(apply::apply(c, flushes))).await
    }

    pub(crate) async fn rows_for_fold(&self, wanted: Vec<Wanted>) -> Result<Vec<Found>, Error> {
        self.0.writer.run(|c| Box::pin(read::for_fold(c, wanted))).await
    }

    pub(crate) async fn seen(
        &self,
        partition: PartitionId,
        after: Offset,
        since: UnixMillis,
    ) -> Result<Vec<Seen>, Error> {
        self.0.writer.run(move |c| Box::pin(memory::seen(c, partition, after, since))).await
    }

    pub(crate) async fn prune(&self, partition: PartitionId, rows_max: u32) -> Result<bool, Error> {
        self.0.writer.run(move |c| Box::pin(prune::prune(c, partition, rows_max))).await
    }

    pub(crate) async fn read(&self, partition: PartitionId, keys: Vec<RecordKey>) -> Result<Snapshot, Error> {
        self.0.readers.run(move |c| Box::pin(read::keys(c, partition, keys))).await
    }

    pub(crate) async fn range(&self, partitions: Vec<PartitionId>, scan: Scan) -> Result<Scanned, Error> {
        self.0.readers.run(|c| Box::pin(read::range(c, partitions, scan))).await
    }

    pub(crate) async fn outcomes(
        &self,
        partition: PartitionId,
        from: Offset,
        to: Offset,
    ) -> Result<Outcomes, Error> {
        self.0.readers.run(move |c| Box::pin(memory::outcomes(c, partition, from, to))).await
    }

    pub(crate) async fn due(
        &self,
        partition: PartitionId,
        due: Due,
        until: UnixMillis,
        limit: u32,
    ) -> Result<Vec<Row>, Error> {
        self.0.writer.run(move |c| Box::pin(read::due(c, partition, due, (until, limit)))).await
    }

    pub(crate) async fn operations(&self, partition: PartitionId) -> Result<Vec<Operation>, Error> {
        self.0.readers.run(move |c| Box::pin(memory::operations(c, partition))).await
    }

    pub(crate) async fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        self.0.readers.run(move |c| Box::pin(memory::dead_letters(c, partition, from, limit))).await
    }

    pub(crate) async fn dump(&self, partition: PartitionId) -> Result<Dump, Error> {
        self.0.readers.run(move |c| Box::pin(dump::dump(c, partition))).await
    }
}
