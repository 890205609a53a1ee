//! A shard in a Postgres database: one connection that writes, a few that read. Opened lazily: no call, no connection.
//!
//! Invariant: a call that writes is finished, whoever waits for it; no connection outlives an error, nor a dropped read.

mod address;
mod apply;
mod copies;
mod copy;
mod discard;
mod dump;
mod error;
mod hold;
mod keys;
mod memory;
mod migrate;
mod parameters;
mod prune;
mod range;
mod read;
mod remember;
mod session;
mod states;
mod stats;
mod upsert;
mod watermark;

use std::{fmt, sync::Arc};

use millpond_schemas::{
    DeadLetter, Flush, Generation, Offset, Operation, PartitionId, RecordKey, Row, Seen, UnixMillis,
    Watermark,
};

use crate::{
    Applied, CopyReader, Due, Dump, Error, Found, Hold, HoldError, Kind, Letters, ManyRead, NodeState,
    Outcomes, Pool, Scan, Scanned, Snapshot, Stats, Wanted, readers::Readers, writer::Writer,
};
pub use address::{AddressInvalid, Password};
pub(crate) use copy::{close, stream};
pub(crate) use hold::Holding;
pub(crate) use keys::neighbourhood;
use session::{Reading, Writing};

/// Where a Postgres shard's database is, and how much it may take.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user@host:port/database`; for a socket `postgres://user@localhost/database?host=/directory`. Never a
    /// password.
    pub address: String,
    /// None: from PGPASSFILE, `~/.pgpass` or PGPASSWORD, read at every connect.
    pub password: Option<Password>,
    /// Whether it is to be written to.
    pub kind: Kind,
    /// Connections that read. Fewer: reads wait for one another; more: each is a process of the server.
    pub readers: u32,
    /// The same for all who may write to this shard: by it a new owner finds the sessions of an old one that hangs.
    pub application_name: String,
}

impl PostgresConfig {
    /// The usual one for this address.
    pub fn new(address: impl Into<String>, kind: Kind) -> Self {
        let application_name = "millpond".to_owned();
        Self { address: address.into(), password: None, kind, readers: 4, application_name }
    }
}

/// An open Postgres shard.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    config: Arc<PostgresConfig>,
    writer: Writer<Writing>,
    readers: Readers<Reading>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Postgres").field(&self.0.config.address).finish()
    }
}

impl Postgres {
    pub(crate) fn open(config: &PostgresConfig) -> Result<Self, Error> {
        address::options(config).map_err(|error| Error::schema("open a shard", error))?;
        let config = Arc::new(config.clone());
        let readers = Readers::new(Reading(Arc::clone(&config)), config.readers);
        let writer = Writer::start(Arc::new(Writing(Arc::clone(&config))), None);
        Ok(Self(Arc::new(Inner { config, writer, readers })))
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    pub(crate) async fn migrate(&self) -> Result<(), Error> {
        migrate::run(&self.0.config).await
    }

    pub(crate) async fn hold(&self, by: &str) -> Result<Hold, HoldError> {
        hold::hold(&self.0.config, by).await
    }

    pub(crate) async fn hold_log(&self, by: &str) -> Result<Hold, Error> {
        hold::log(&self.0.config, by).await
    }

    pub(crate) async fn is_log_held(&self) -> Result<bool, Error> {
        self.0.readers.run(|c| Box::pin(hold::is_log_held(c))).await
    }

    pub(crate) async fn node_state(&self) -> Result<NodeState, Error> {
        self.0.readers.run(|c| Box::pin(session::state(c))).await
    }

    pub(crate) async fn stats(&self) -> Result<Stats, Error> {
        self.0.readers.run(|c| Box::pin(stats::read(c))).await
    }

    pub(crate) fn pool(&self) -> Pool {
        Pool { writes_waiting: self.0.writer.waiting(), ..self.0.readers.pool() }
    }

    pub(crate) async fn checkpoint(&self) -> Result<Vec<Watermark>, Error> {
        self.0.writer.run(|c| Box::pin(watermark::all(c))).await
    }

    pub(crate) async fn watermarks(&self, partitions: Vec<PartitionId>) -> Result<Vec<Watermark>, Error> {
        self.0.writer.run(|c| Box::pin(watermark::settled(c, partitions))).await
    }

    pub(crate) async fn create_copy(&self, watermark: Watermark) -> Result<(), Error> {
        self.0.writer.run(|c| Box::pin(copies::create(c, watermark))).await
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

    pub(crate) async fn due(
        &self,
        partition: PartitionId,
        due: Due,
        until: UnixMillis,
        limit: u32,
    ) -> Result<Vec<Row>, Error> {
        self.0.writer.run(move |c| Box::pin(read::due(c, partition, due, (until, limit)))).await
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
        // Not through the connection that writes: applying does not wait for dead letters.
        self.0.readers.run(move |c| Box::pin(memory::unpublished(c, partition, limit))).await
    }

    pub(crate) async fn published(
        &self,
        partition: PartitionId,
        generation: Generation,
        offset: Offset,
    ) -> Result<(), Error> {
        self.0.writer.run(move |c| Box::pin(remember::published(c, partition, generation, offset))).await
    }

    pub(crate) async fn read_watermarks(
        &self,
        partitions: Vec<PartitionId>,
    ) -> Result<Vec<Watermark>, Error> {
        let of = async |c: &mut session::Session, partitions: Vec<PartitionId>| {
            watermark::of(&mut c.connection, &partitions).await
        };
        self.0.readers.run(move |c| Box::pin(of(c, partitions))).await
    }

    pub(crate) fn readers(&self) -> usize {
        self.0.readers.connections()
    }

    pub(crate) async fn read(&self, partition: PartitionId, keys: Vec<RecordKey>) -> Result<Snapshot, Error> {
        self.0.readers.run(move |c| Box::pin(keys::of_partition(c, partition, keys))).await
    }

    pub(crate) async fn read_many(
        &self,
        keys: Vec<(PartitionId, RecordKey)>,
        bytes_max: Option<usize>,
    ) -> Result<ManyRead, Error> {
        self.0.readers.run(move |c| Box::pin(keys::many(c, keys, bytes_max))).await
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
        copy::open(&self.0.config, partition).await
    }

    pub(crate) async fn dump(&self, partition: PartitionId) -> Result<Dump, Error> {
        dump::dump(&self.0.config, partition).await
    }
}
