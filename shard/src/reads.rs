//! What readers ask of a shard: over a few connections of their own.
//!
//! Invariant: what one call answers was true at one moment, which it names; nothing is locked, and no call writes.

use millpond_schemas::{DeadLetter, Offset, Operation, PartitionId, RecordKey, Watermark};

use crate::{Error, Letters, ManyRead, Outcomes, Pool, Scan, Scanned, Shard, Snapshot, Stats, postgres};

/// For readers.
impl Shard {
    /// As [`Shard::watermarks`], as a reader sees them: nothing is locked, and no commit under way is waited for.
    pub async fn read_watermarks(&self, partitions: Vec<PartitionId>) -> Result<Vec<Watermark>, Error> {
        match self {
            Self::Sqlite(shard) => shard.read_watermarks(partitions).await,
            Self::Postgres(shard) => shard.read_watermarks(partitions).await,
        }
    }

    /// How many calls of readers run at once; more wait for one another.
    pub fn readers(&self) -> usize {
        match self {
            Self::Sqlite(shard) => shard.readers(),
            Self::Postgres(shard) => shard.readers(),
        }
    }

    /// Keys of one tenant in partitions of one neighbourhood are cheapest read together; others should be read apart.
    pub(crate) fn neighbourhood(&self, partition: PartitionId) -> u32 {
        match self {
            Self::Sqlite(_) => 0,
            Self::Postgres(_) => postgres::neighbourhood(partition),
        }
    }

    /// How large the database is, and what is dead in it: two small statements.
    pub async fn stats(&self) -> Result<Stats, Error> {
        match self {
            Self::Sqlite(shard) => shard.stats().await,
            Self::Postgres(shard) => shard.stats().await,
        }
    }

    /// How busy its connections are.
    pub fn pool(&self) -> Pool {
        match self {
            Self::Sqlite(shard) => shard.pool(),
            Self::Postgres(shard) => shard.pool(),
        }
    }

    /// Rows of keys of one partition, in the order of `keys`, with the state that they were read from: one statement.
    ///
    /// None where a key is absent, a tombstone, or expired by the shard's clock.
    /// # Shape
    /// `keys`: at most [`KEYS_MAX`](crate::KEYS_MAX); may be empty, or repeat.
    /// # Errors
    /// [`Error::Unavailable`] also when there is no copy of the partition here. [`Error::Refused`]: too many keys.
    pub async fn read(&self, partition: PartitionId, keys: Vec<RecordKey>) -> Result<Snapshot, Error> {
        match self {
            Self::Sqlite(shard) => shard.read(partition, keys).await,
            Self::Postgres(shard) => shard.read(partition, keys).await,
        }
    }

    /// Rows of keys of several partitions, in the order of `keys`, with the state of each partition: one statement.
    ///
    /// None where a key is absent, a tombstone, or expired by the shard's clock.
    /// # Shape
    /// `keys`: at most [`KEYS_MAX`](crate::KEYS_MAX); may be empty, or repeat. A partition without a copy here has no entry in
    /// [`ManyRead::freshness`]: of its keys nothing is known.
    /// # Errors
    /// [`Error::Refused`]: too many keys.
    pub async fn read_many(&self, keys: Vec<(PartitionId, RecordKey)>) -> Result<ManyRead, Error> {
        match self {
            Self::Sqlite(shard) => shard.read_many(keys, None).await,
            Self::Postgres(shard) => shard.read_many(keys, None).await,
        }
    }

    /// As [`Shard::read_many`], but no more when the values, in the order of `keys`, come to `bytes_max` bytes. The
    /// first is read in any case. How far it came is in [`ManyRead::cut`].
    pub async fn read_many_within(
        &self,
        keys: Vec<(PartitionId, RecordKey)>,
        bytes_max: usize,
    ) -> Result<ManyRead, Error> {
        match self {
            Self::Sqlite(shard) => shard.read_many(keys, Some(bytes_max)).await,
            Self::Postgres(shard) => shard.read_many(keys, Some(bytes_max)).await,
        }
    }

    /// Rows of one tenant in key order over several partitions, with the state of each: one statement.
    ///
    /// It stops where the limits of the scan say so, and tells where in [`Scanned::cut`].
    /// # Shape
    /// Partitions without a copy here have no entry in [`Scanned::freshness`].
    pub async fn range(&self, partitions: Vec<PartitionId>, scan: Scan) -> Result<Scanned, Error> {
        match self {
            Self::Sqlite(shard) => shard.range(partitions, scan).await,
            Self::Postgres(shard) => shard.range(partitions, scan).await,
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
            Self::Postgres(shard) => shard.outcomes(partition, from, to).await,
        }
    }

    /// Every operation kept, by hash.
    pub async fn operations(&self, partition: PartitionId) -> Result<Vec<Operation>, Error> {
        match self {
            Self::Sqlite(shard) => shard.operations(partition).await,
            Self::Postgres(shard) => shard.operations(partition).await,
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
            Self::Postgres(shard) => shard.dead_letters(partition, from, limit).await,
        }
    }

    /// How many dead letters there are, and then the `limit` newest. Counts by reading them all, so not for every call.
    pub async fn letters(&self, partition: PartitionId, limit: u32) -> Result<Letters, Error> {
        match self {
            Self::Sqlite(shard) => shard.letters(partition, limit).await,
            Self::Postgres(shard) => shard.letters(partition, limit).await,
        }
    }
}
