//! A shard in a SQLite file: one connection that writes, a few that read.
//!
//! Invariant: a call that writes is finished, whoever waits for it; no connection outlives an error, nor a dropped read.

mod apply;
mod batch;
mod copy;
mod discard;
mod dump;
mod error;
mod memory;
mod open;
mod place;
mod prune;
mod range;
mod read;
mod remember;
mod statement;
mod stats;
mod upsert;
mod watermark;

use std::{fmt, path::PathBuf, sync::Arc};

use millpond_schemas::{
    DeadLetter, Flush, Generation, Offset, Operation, PartitionId, RecordKey, Row, Seen, UnixMillis,
    Watermark,
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

pub(crate) use self::copy::{close, stream};
use self::place::Place;
use crate::{
    Applied, CopyReader, Due, Dump, Error, Found, Hold, HoldError, Letters, ManyRead, Outcomes, Pool, Scan,
    Scanned, Snapshot, Stats, Wanted, engine::Engine, hold, readers::Readers, writer::Writer,
};

/// Where a SQLite shard is, and how much it may take.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// The file. SQLite keeps two more beside it, with `-wal` and `-shm` appended.
    pub path: PathBuf,
    /// Connections that read. Each has a thread. Fewer: reads wait for one another; more: memory.
    pub readers: u32,
    /// Page cache of the connection that writes, KiB; those that read share as much. Smaller: more reads of the file.
    pub cache_kib: u32,
    /// It need not outlast this process: nothing is synced.
    pub throwaway: bool,
}

impl SqliteConfig {
    /// The usual one for this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 4, cache_kib: 32 * 1024, throwaway: false }
    }
}

/// This moment by the shard's clock, ms. One value throughout a statement.
const NOW: &str = "CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER)";

/// How connections to the file are opened.
struct File(SqliteConnectOptions);

impl Engine for File {
    type Connection = SqliteConnection;
    /// SQLite runs in this process.
    const DEADLINE: Option<std::time::Duration> = None;

    async fn open(&self) -> Result<SqliteConnection, Error> {
        self.0.connect().await.map_err(error::during("open the shard's file"))
    }

    async fn close(connection: SqliteConnection) -> Result<(), sqlx::Error> {
        connection.close().await
    }
}

/// An open SQLite shard.
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    place: Place,
    writer: Writer<File>,
    readers: Readers<File>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlite").field(&self.0.place.path()).finish()
    }
}

impl Sqlite {
    pub(crate) async fn open(config: &SqliteConfig) -> Result<Self, Error> {
        let first = open::prepare(config).await?;
        let readers = Readers::new(File(open::reading(config)), config.readers);
        let writer = Writer::start(Arc::new(File(open::writing(config))), Some(first));
        let place = Place::of(config.path.clone())?;
        Ok(Self(Arc::new(Inner { place, writer, readers })))
    }

    pub(crate) async fn open_read_only(config: &SqliteConfig) -> Result<Self, Error> {
        open::inspect(config).await?;
        let reading = open::reading_only(config);
        let readers = Readers::new(File(reading.clone()), config.readers);
        let writer = Writer::start(Arc::new(File(reading)), None);
        let place = Place::of(config.path.clone())?;
        Ok(Self(Arc::new(Inner { place, writer, readers })))
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    pub(crate) async fn stats(&self) -> Result<Stats, Error> {
        self.0.readers.run(|c| Box::pin(stats::read(c))).await
    }

    pub(crate) fn pool(&self) -> Pool {
        Pool { writes_waiting: self.0.writer.waiting(), ..self.0.readers.pool() }
    }

    pub(crate) async fn checkpoint(&self) -> Result<Vec<Watermark>, Error> {
        self.0.writer.run(|c| Box::pin(watermark::checkpoint(c))).await
    }

    pub(crate) fn check_place(&self) -> Result<(), Error> {
        self.0.place.check()
    }

    pub(crate) fn hold(&self, by: &str) -> Result<Hold, HoldError> {
        hold::file(self.0.place.path(), by)
    }

    pub(crate) async fn watermarks(&self, partitions: Vec<PartitionId>) -> Result<Vec<Watermark>, Error> {
        self.0.place.check()?;
        self.0.writer.run(|c| Box::pin(async move { watermark::of(c, &partitions).await })).await
    }

    pub(crate) async fn create_copy(&self, watermark: Watermark) -> Result<(), Error> {
        self.0.writer.run(|c| Box::pin(watermark::create(c, watermark))).await
    }

    pub(crate) async fn discard_copy(&self, seen: Watermark) -> Result<(), Error> {
        self.0.writer.run(|c| Box::pin(discard::discard(c, seen))).await
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

    pub(crate) async fn unpublished(
        &self,
        partition: PartitionId,
        limit: u32,
    ) -> Result<Vec<(Generation, DeadLetter)>, Error> {
        self.0.writer.run(move |c| Box::pin(memory::unpublished(c, partition, limit))).await
    }

    pub(crate) async fn published(
        &self,
        partition: PartitionId,
        generation: Generation,
        offset: Offset,
    ) -> Result<(), Error> {
        self.0.writer.run(move |c| Box::pin(remember::published(c, partition, generation, offset))).await
    }

    pub(crate) async fn read_many(
        &self,
        keys: Vec<(PartitionId, RecordKey)>,
        bytes_max: Option<usize>,
    ) -> Result<ManyRead, Error> {
        self.0.readers.run(move |c| Box::pin(read::many(c, keys, bytes_max))).await
    }

    pub(crate) async fn read_watermarks(
        &self,
        partitions: Vec<PartitionId>,
    ) -> Result<Vec<Watermark>, Error> {
        self.0.readers.run(|c| Box::pin(async move { watermark::of(c, &partitions).await })).await
    }

    pub(crate) fn readers(&self) -> usize {
        self.0.readers.connections()
    }

    pub(crate) async fn read(&self, partition: PartitionId, keys: Vec<RecordKey>) -> Result<Snapshot, Error> {
        self.0.readers.run(move |c| Box::pin(read::keys(c, partition, keys))).await
    }

    pub(crate) async fn range(&self, partitions: Vec<PartitionId>, scan: Scan) -> Result<Scanned, Error> {
        self.0.readers.run(|c| Box::pin(range::range(c, partitions, scan))).await
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

    pub(crate) async fn letters(&self, partition: PartitionId, limit: u32) -> Result<Letters, Error> {
        self.0.readers.run(move |c| Box::pin(memory::letters(c, partition, limit))).await
    }

    pub(crate) async fn copy_reader(&self, partition: PartitionId) -> Result<CopyReader, Error> {
        copy::open(self.0.readers.engine().0.clone(), partition).await
    }

    pub(crate) async fn dump(&self, partition: PartitionId) -> Result<Dump, Error> {
        self.0.readers.run(move |c| Box::pin(dump::dump(c, partition))).await
    }
}
