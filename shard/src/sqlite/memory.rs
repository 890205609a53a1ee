//! Reads what a copy remembers beside its rows: outcomes, ids, operations, dead letters.
//!
//! Invariant: how old something may be is judged in the fold; what is here is answered, however old.

use std::sync::{Arc, LazyLock};

use millpond_schemas::{
    DeadLetter, DeadReason, Fingerprint, IdHash, Offset, Operation, Outcome, OutcomeRange, PartitionId,
    Position, Raw, Refusal, Seen, UnixMillis,
};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    decode::{self, FRESHNESS, NOW, array, bytes, column, generation, millis, offset, partition},
    error::during,
    statement::{Parameters, no_copy},
};
use crate::{Error, Outcomes, headers};

/// Columns of [`operation`].
pub(super) const OPERATION: &str = "operation.hash, operation.generation, operation.log_partition, \
    operation.log_offset, operation.time, operation.fingerprint, operation.outcome";
const DEAD_LETTER: &str = "log_offset, time, reason, detail, record_key, headers, value";

/// The range that `from` lies in begins at or before it; those after it begin in `from..=to`.
static OUTCOMES: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT w.partition, w.generation, w.applied_offset, w.owner, w.applied_time, {NOW}, o.range \
         FROM watermark w LEFT JOIN outcome o ON o.partition = w.partition AND o.generation = w.generation \
         AND o.from_offset >= coalesce((SELECT max(b.from_offset) FROM outcome b WHERE b.partition = w.partition \
         AND b.generation = w.generation AND b.from_offset <= ?), 0) \
         AND o.from_offset <= ? AND o.to_offset >= ? WHERE w.partition = ? ORDER BY o.from_offset"
    )
    .into()
});
static OPERATIONS: LazyLock<Arc<str>> =
    LazyLock::new(|| format!("SELECT {OPERATION} FROM operation WHERE partition = ? ORDER BY hash").into());
static DEAD_LETTERS: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT {DEAD_LETTER} FROM dead_letter WHERE partition = ? AND log_offset >= ? \
         ORDER BY generation, log_offset LIMIT ?"
    )
    .into()
});

/// An operation, from the columns [`OPERATION`] that begin at `at`.
pub(super) fn operation(row: &SqliteRow, at: usize) -> Result<Operation, Error> {
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

/// Every operation of a partition, by hash.
pub(super) async fn operations(
    connection: &mut SqliteConnection,
    partition: PartitionId,
) -> Result<Vec<Operation>, Error> {
    let mut parameters = Parameters::default();
    parameters.push(partition.0);
    let rows = parameters.query(&OPERATIONS).fetch_all(connection).await;
    rows.map_err(during("read operations"))?.iter().map(|row| operation(row, 0)).collect()
}

/// Kept ranges that overlap `from..=to`, with the state of the copy.
pub(super) async fn outcomes(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    from: Offset,
    to: Offset,
) -> Result<Outcomes, Error> {
    const DOING: &str = "read outcomes";
    let mut parameters = Parameters::with_capacity(4);
    for number in [from.0, to.0, from.0, i64::from(partition.0)] {
        parameters.push(number);
    }
    let rows = parameters.query(&OUTCOMES).fetch_all(connection).await.map_err(during(DOING))?;
    let first = rows.first().ok_or_else(|| no_copy(DOING))?;
    let freshness = decode::freshness(first, 0)?;
    let mut ranges = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(encoded) = column::<Option<Vec<u8>>>(row, FRESHNESS)? {
            ranges.push(OutcomeRange::decode(encoded.into()).map_err(|error| Error::corrupt(DOING, error))?);
        }
    }
    Ok(Outcomes { freshness, ranges })
}

/// Window ids above `after` and not before `since`, by offset.
pub(super) async fn seen(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    after: Offset,
    since: UnixMillis,
) -> Result<Vec<Seen>, Error> {
    const DOING: &str = "read ids";
    let rows = sqlx::query(
        "SELECT from_offset, ids FROM seen WHERE partition = ? \
         AND generation = (SELECT generation FROM watermark w WHERE w.partition = seen.partition) \
         AND to_offset > ? AND time >= ? ORDER BY from_offset",
    )
    .bind(partition.0)
    .bind(after.0)
    .bind(since.0)
    .fetch_all(connection)
    .await
    .map_err(during(DOING))?;
    let mut seen = Vec::new();
    for row in &rows {
        let ids =
            Seen::unpack(offset(row, 0)?, bytes(row, 1)?).map_err(|error| Error::corrupt(DOING, error))?;
        seen.extend(ids.into_iter().filter(|one| one.offset > after && one.time >= since));
    }
    Ok(seen)
}

/// Dead letters from `from` on, by offset.
pub(super) async fn dead_letters(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    from: Offset,
    limit: u32,
) -> Result<Vec<DeadLetter>, Error> {
    let mut parameters = Parameters::with_capacity(3);
    parameters.push(partition.0);
    parameters.push(from.0);
    parameters.push(limit);
    let rows = parameters.query(&DEAD_LETTERS).fetch_all(connection).await;
    rows.map_err(during("read dead letters"))?.iter().map(dead_letter).collect()
}

fn dead_letter(row: &SqliteRow) -> Result<DeadLetter, Error> {
    const DOING: &str = "read a dead letter";
    let code: &str = column(row, 2)?;
    let reason = DeadReason::from_code(code)
        .ok_or_else(|| Error::corrupt(DOING, format!("its reason is {code:?}")))?;
    let headers = headers::unpack(bytes(row, 5)?).map_err(|error| Error::corrupt(DOING, error))?;
    Ok(DeadLetter {
        offset: offset(row, 0)?,
        time: millis(row, 1)?,
        refusal: Refusal::new(reason, column::<String>(row, 3)?),
        raw: Raw {
            key: column::<Option<Vec<u8>>>(row, 4)?.map(Into::into),
            headers,
            value: column::<Option<Vec<u8>>>(row, 6)?.map(Into::into),
        },
    })
}
