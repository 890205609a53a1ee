//! From columns to rows of the copy, watermarks and states. Foreign bytes: nothing here is trusted.
//!
//! Invariant: a [`Row`] that leaves this file has passed its checksum.

use bytes::{BufMut, Bytes, BytesMut};
use millpond_schemas::{
    Digest, Generation, LogId, Offset, PartitionId, Position, RecordKey, Row, UnixMillis, Version, Watermark,
};
use sqlx::{Decode, Row as _, Sqlite, Type, sqlite::SqliteRow};

use super::error::during;
use crate::{Error, Freshness};

const DOING: &str = "read a row";

/// One column.
pub(super) fn column<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(
    row: &'r SqliteRow,
    at: usize,
) -> Result<T, Error> {
    row.try_get(at).map_err(during(DOING))
}

pub(super) fn bytes(row: &SqliteRow, at: usize) -> Result<Bytes, Error> {
    column::<Vec<u8>>(row, at).map(Bytes::from)
}

pub(super) fn array<const N: usize>(row: &SqliteRow, at: usize) -> Result<[u8; N], Error> {
    let bytes: &[u8] = column(row, at)?;
    bytes
        .try_into()
        .map_err(|_| Error::corrupt(DOING, format!("a column has {} bytes, not {N}", bytes.len())))
}

pub(super) fn offset(row: &SqliteRow, at: usize) -> Result<Offset, Error> {
    let offset = Offset(column(row, at)?);
    let valid = (Offset::NONE..=Offset::MAX).contains(&offset);
    valid.then_some(offset).ok_or_else(|| Error::corrupt(DOING, format!("an offset is {offset}")))
}

pub(super) fn millis(row: &SqliteRow, at: usize) -> Result<UnixMillis, Error> {
    column(row, at).map(UnixMillis)
}

pub(super) fn generation(row: &SqliteRow, at: usize) -> Result<Generation, Error> {
    let generation = Generation(column(row, at)?);
    let valid = (Generation::FIRST..=Generation::MAX).contains(&generation);
    valid.then_some(generation).ok_or_else(|| Error::corrupt(DOING, "a generation is out of range"))
}

pub(super) fn partition(row: &SqliteRow, at: usize) -> Result<PartitionId, Error> {
    column(row, at).map(PartitionId)
}

/// Columns of [`keyless`].
pub(super) const KEYLESS: &str = "kv.version, kv.value, kv.content_type, kv.expires_at, kv.created_at, kv.updated_at, kv.tombstone, kv.checksum";
/// Columns of [`keyed`].
pub(super) const KEYED: &str = "kv.partition, kv.tenant, kv.key, \
    kv.version, kv.value, kv.content_type, kv.expires_at, kv.created_at, kv.updated_at, kv.tombstone, kv.checksum";

/// A row, tombstone or not, from the columns [`KEYLESS`] that begin at `at`.
pub(super) fn keyless(row: &SqliteRow, at: usize, key: RecordKey, of: PartitionId) -> Result<Row, Error> {
    let found = Row {
        key,
        version: Version(column(row, at)?),
        value: column::<Option<Vec<u8>>>(row, at + 1)?.map(Bytes::from),
        content_type: column(row, at + 2)?,
        expires_at: column::<Option<i64>>(row, at + 3)?.map(UnixMillis),
        created_at: millis(row, at + 4)?,
        updated_at: millis(row, at + 5)?,
    };
    let tombstone: bool = column(row, at + 6)?;
    if tombstone != found.is_tombstone() || column::<i64>(row, at + 7)? != found.checksum(of) {
        let position = found.version.position(of);
        return Err(Error::corrupt(DOING, format!("the row of version {position} fails its checksum")));
    }
    Ok(found)
}

/// A row with its partition, from the columns [`KEYED`] that begin at `at`.
pub(super) fn keyed(row: &SqliteRow, at: usize) -> Result<(PartitionId, Row), Error> {
    let of = partition(row, at)?;
    let key = record_key(row, at + 1)?;
    Ok((of, keyless(row, at + 3, key, of)?))
}

/// A key, from the columns `kv.tenant, kv.key` that begin at `at`.
pub(super) fn record_key(row: &SqliteRow, at: usize) -> Result<RecordKey, Error> {
    let (tenant, key): (&str, &[u8]) = (column(row, at)?, column(row, at + 1)?);
    let mut joined = BytesMut::with_capacity(tenant.len() + 1 + key.len());
    joined.put_slice(tenant.as_bytes());
    joined.put_u8(b'/');
    joined.put_slice(key);
    RecordKey::parse(joined.freeze()).map_err(|error| Error::corrupt(DOING, error))
}

/// This moment by the shard's clock, ms. One value throughout a statement.
pub(super) const NOW: &str = "CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER)";
/// How many columns [`freshness`] reads: partition, generation, `applied_offset`, owner, `applied_time`, now.
pub(super) const FRESHNESS: usize = 6;

/// The state that a statement reads, from the six columns that begin at `at`.
pub(super) fn freshness(row: &SqliteRow, at: usize) -> Result<Freshness, Error> {
    Ok(Freshness {
        applied: Position {
            partition: partition(row, at)?,
            generation: generation(row, at + 1)?,
            offset: offset(row, at + 2)?,
        },
        owner: offset(row, at + 3)?,
        time: millis(row, at + 4)?,
        now: millis(row, at + 5)?,
    })
}

/// Columns of [`watermark`].
pub(super) const WATERMARK: &str = "partition, generation, log_id, applied_offset, digest_offset, applied_digest, \
    applied_time, owner, claim, sealed";

/// A watermark, from the columns [`WATERMARK`].
pub(super) fn watermark(row: &SqliteRow) -> Result<Watermark, Error> {
    Ok(Watermark {
        partition: partition(row, 0)?,
        generation: generation(row, 1)?,
        log_id: LogId(array(row, 2)?),
        applied: offset(row, 3)?,
        digest_offset: offset(row, 4)?,
        digest: Digest(array(row, 5)?),
        time: millis(row, 6)?,
        owner: offset(row, 7)?,
        claim: bytes(row, 8)?,
        sealed: column(row, 9)?,
    })
}
