//! From columns to what a copy holds: rows, watermarks, states, memories. Foreign bytes: nothing here is trusted.
//!
//! Invariant: a [`Row`] that leaves this file has passed its checksum.

use bytes::{BufMut, Bytes, BytesMut};
use millpond_schemas::{
    ByteString, CONTENT_TYPE_DEFAULT, DeadLetter, DeadReason, Digest, Fingerprint, Generation, IdHash, LogId,
    Offset, Operation, Outcome, OutcomeRange, PartitionId, Position, Raw, RecordKey, Refusal, Row, Seen,
    UnixMillis, Version, Watermark,
};

use crate::{Error, Freshness, Letter, columns::Columns, headers};

const DOING: &str = "read a row";

/// A column that is not what it should be: another program wrote it, or this build asks for the wrong one.
fn wrong(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Error::corrupt(DOING, error),
        _ => Error::schema(DOING, error),
    }
}

pub(crate) fn integer(row: &impl Columns, at: usize) -> Result<i64, Error> {
    row.integer(at).map_err(wrong)
}

pub(crate) fn maybe_integer(row: &impl Columns, at: usize) -> Result<Option<i64>, Error> {
    row.maybe_integer(at).map_err(wrong)
}

pub(crate) fn truth(row: &impl Columns, at: usize) -> Result<bool, Error> {
    row.truth(at).map_err(wrong)
}

pub(crate) fn text(row: &impl Columns, at: usize) -> Result<&str, Error> {
    row.text(at).map_err(wrong)
}

pub(crate) fn bytes(row: &impl Columns, at: usize) -> Result<Bytes, Error> {
    row.bytes(at).map(Bytes::copy_from_slice).map_err(wrong)
}

pub(crate) fn maybe_bytes(row: &impl Columns, at: usize) -> Result<Option<Bytes>, Error> {
    Ok(row.maybe_bytes(at).map_err(wrong)?.map(Bytes::copy_from_slice))
}

fn array<const N: usize>(row: &impl Columns, at: usize) -> Result<[u8; N], Error> {
    let bytes = row.bytes(at).map_err(wrong)?;
    bytes
        .try_into()
        .map_err(|_| Error::corrupt(DOING, format!("a column has {} bytes, not {N}", bytes.len())))
}

pub(crate) fn offset(row: &impl Columns, at: usize) -> Result<Offset, Error> {
    let offset = Offset(integer(row, at)?);
    let valid = (Offset::NONE..=Offset::MAX).contains(&offset);
    valid.then_some(offset).ok_or_else(|| Error::corrupt(DOING, format!("an offset is {offset}")))
}

fn millis(row: &impl Columns, at: usize) -> Result<UnixMillis, Error> {
    integer(row, at).map(UnixMillis)
}

fn generation(row: &impl Columns, at: usize) -> Result<Generation, Error> {
    let number = integer(row, at)?;
    let generation = u16::try_from(number).ok().map(Generation);
    generation
        .filter(|generation| (Generation::FIRST..=Generation::MAX).contains(generation))
        .ok_or_else(|| Error::corrupt(DOING, format!("a generation is {number}")))
}

pub(crate) fn partition(row: &impl Columns, at: usize) -> Result<PartitionId, Error> {
    let number = integer(row, at)?;
    let partition = u32::try_from(number).map(PartitionId);
    partition.map_err(|_| Error::corrupt(DOING, format!("a partition is {number}")))
}

/// Columns of [`keyless`].
pub(crate) const KEYLESS: &str = "kv.version, kv.value, kv.content_type, kv.expires_at, kv.created_at, kv.updated_at, kv.tombstone, kv.checksum";
/// Columns of [`keyed`].
pub(crate) const KEYED: &str = "kv.partition, kv.tenant, kv.key, \
    kv.version, kv.value, kv.content_type, kv.expires_at, kv.created_at, kv.updated_at, kv.tombstone, kv.checksum";

/// A row, tombstone or not, from the columns [`KEYLESS`] that begin at `at`.
pub(crate) fn keyless(row: &impl Columns, at: usize, key: RecordKey, of: PartitionId) -> Result<Row, Error> {
    let found = Row {
        key,
        version: Version(integer(row, at)?),
        value: maybe_bytes(row, at + 1)?,
        content_type: content_type(text(row, at + 2)?),
        expires_at: maybe_integer(row, at + 3)?.map(UnixMillis),
        created_at: millis(row, at + 4)?,
        updated_at: millis(row, at + 5)?,
    };
    let tombstone = truth(row, at + 6)?;
    if tombstone != found.is_tombstone() || integer(row, at + 7)? != found.checksum(of) {
        let position = found.version.position(of);
        return Err(Error::corrupt(DOING, format!("the row of version {position} fails its checksum")));
    }
    Ok(found)
}

/// Nearly all rows have the default one, which needs no copy.
fn content_type(text: &str) -> ByteString {
    if text == CONTENT_TYPE_DEFAULT { ByteString::from_static(CONTENT_TYPE_DEFAULT) } else { text.into() }
}

/// A row with its partition, from the columns [`KEYED`] that begin at `at`.
pub(crate) fn keyed(row: &impl Columns, at: usize) -> Result<(PartitionId, Row), Error> {
    let of = partition(row, at)?;
    let key = record_key(row, at + 1)?;
    Ok((of, keyless(row, at + 3, key, of)?))
}

/// A key without its tenant.
pub(crate) fn key(row: &impl Columns, at: usize) -> Result<&[u8], Error> {
    row.bytes(at).map_err(wrong)
}

/// A key, from the columns `kv.tenant, kv.key` that begin at `at`.
pub(crate) fn record_key(row: &impl Columns, at: usize) -> Result<RecordKey, Error> {
    let (tenant, key) = (text(row, at)?, key(row, at + 1)?);
    let mut joined = BytesMut::with_capacity(tenant.len() + 1 + key.len());
    joined.put_slice(tenant.as_bytes());
    joined.put_u8(b'/');
    joined.put_slice(key);
    RecordKey::parse(joined.freeze()).map_err(|error| Error::corrupt(DOING, error))
}

/// How many columns [`freshness`] reads: partition, generation, `applied_offset`, owner, `applied_time`, now.
pub(crate) const FRESHNESS: usize = 6;

/// The state that a statement reads, from the six columns that begin at `at`.
pub(crate) fn freshness(row: &impl Columns, at: usize) -> Result<Freshness, Error> {
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
pub(crate) const WATERMARK: &str = "partition, generation, log_id, applied_offset, digest_offset, applied_digest, \
    applied_time, owner, claim, sealed";

/// A watermark, from the columns [`WATERMARK`].
pub(crate) fn watermark(row: &impl Columns) -> Result<Watermark, Error> {
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
        sealed: truth(row, 9)?,
    })
}

/// Columns of [`operation`].
pub(crate) const OPERATION: &str = "operation.hash, operation.generation, operation.log_partition, \
    operation.log_offset, operation.time, operation.fingerprint, operation.outcome";

/// An operation, from the columns [`OPERATION`] that begin at `at`.
pub(crate) fn operation(row: &impl Columns, at: usize) -> Result<Operation, Error> {
    let outcome = Outcome::decode(bytes(row, at + 6)?);
    Ok(Operation {
        hash: IdHash(array(row, at)?),
        position: Position {
            generation: generation(row, at + 1)?,
            partition: partition(row, at + 2)?,
            offset: offset(row, at + 3)?,
        },
        time: millis(row, at + 4)?,
        fingerprint: Fingerprint(array(row, at + 5)?),
        outcome: outcome.map_err(|error| Error::corrupt("read an operation", error))?,
    })
}

/// Columns of [`dead_letter`].
pub(crate) const DEAD_LETTER: &str = "log_offset, time, reason, detail, record_key, headers, value";

/// A dead letter with its generation, from the columns `generation,` [`DEAD_LETTER`].
pub(crate) fn generation_and_dead_letter(row: &impl Columns) -> Result<(Generation, DeadLetter), Error> {
    Ok((generation(row, 0)?, dead_letter(row, 1)?))
}

/// A dead letter, from the columns [`DEAD_LETTER`] that begin at `at`.
pub(crate) fn dead_letter(row: &impl Columns, at: usize) -> Result<DeadLetter, Error> {
    const DOING: &str = "read a dead letter";
    let headers = headers::unpack(bytes(row, at + 5)?).map_err(|error| Error::corrupt(DOING, error))?;
    Ok(DeadLetter {
        offset: offset(row, at)?,
        time: millis(row, at + 1)?,
        refusal: Refusal::new(reason(row, at + 2)?, text(row, at + 3)?),
        raw: Raw { key: maybe_bytes(row, at + 4)?, headers, value: maybe_bytes(row, at + 6)? },
    })
}

/// Columns of [`letter`].
pub(crate) const LETTER: &str =
    "generation, log_offset, time, reason, detail, record_key, octet_length(value)";

/// A dead letter without its value, from the columns [`LETTER`].
pub(crate) fn letter(row: &impl Columns, partition: PartitionId) -> Result<Letter, Error> {
    let position = Position { generation: generation(row, 0)?, partition, offset: offset(row, 1)? };
    Ok(Letter {
        position,
        time: millis(row, 2)?,
        refusal: Refusal::new(reason(row, 3)?, text(row, 4)?),
        record_key: maybe_bytes(row, 5)?,
        value_bytes: maybe_integer(row, 6)?.map(i64::unsigned_abs),
    })
}

/// How many dead letters have a reason, from the columns `reason, count(*)`.
pub(crate) fn reason_and_count(row: &impl Columns) -> Result<(DeadReason, u64), Error> {
    Ok((reason(row, 0)?, integer(row, 1)?.unsigned_abs()))
}

fn reason(row: &impl Columns, at: usize) -> Result<DeadReason, Error> {
    let code = text(row, at)?;
    let known = DeadReason::from_code(code);
    known.ok_or_else(|| Error::corrupt("read a dead letter", format!("its reason is {code:?}")))
}

/// A range of outcomes, if the column `at` holds one.
pub(crate) fn outcomes(row: &impl Columns, at: usize) -> Result<Option<OutcomeRange>, Error> {
    let Some(encoded) = maybe_bytes(row, at)? else { return Ok(None) };
    OutcomeRange::decode(encoded).map(Some).map_err(|error| Error::corrupt("read outcomes", error))
}

/// The ids of one flush, from the columns `from_offset, ids`.
pub(crate) fn ids(row: &impl Columns) -> Result<Vec<Seen>, Error> {
    Seen::unpack(offset(row, 0)?, bytes(row, 1)?).map_err(|error| Error::corrupt("read ids", error))
}
