//! Reads what a copy remembers beside its rows: outcomes, ids, operations, dead letters.
//!
//! Invariant: how old something may be is judged in the fold; what is here is answered, however old.

use std::sync::{Arc, LazyLock};

use millpond_schemas::{DeadLetter, Generation, Offset, Operation, PartitionId, Seen, UnixMillis};
use sqlx::SqliteConnection;

use super::{NOW, error::during, statement::Parameters};
use crate::{
    Error, Letters, Outcomes,
    decode::{self, DEAD_LETTER, FRESHNESS, LETTER, OPERATION},
    error::no_copy,
};

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
static LETTERS: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT {LETTER} FROM dead_letter WHERE partition = ? ORDER BY generation DESC, log_offset DESC LIMIT ?"
    )
    .into()
});
static REASONS: LazyLock<Arc<str>> = LazyLock::new(|| {
    "SELECT reason, count(*) FROM dead_letter WHERE partition = ? GROUP BY reason ORDER BY reason".into()
});
static UNPUBLISHED: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT generation, {DEAD_LETTER} FROM dead_letter WHERE partition = ?1 AND (generation, log_offset) > \
         (coalesce((SELECT generation FROM published WHERE partition = ?1), 0), \
          coalesce((SELECT log_offset FROM published WHERE partition = ?1), -1)) \
         ORDER BY generation, log_offset LIMIT ?2"
    )
    .into()
});

/// Every operation of a partition, by hash.
pub(super) async fn operations(
    connection: &mut SqliteConnection,
    partition: PartitionId,
) -> Result<Vec<Operation>, Error> {
    let mut parameters = Parameters::default();
    parameters.push(partition.0);
    let rows = parameters.query(&OPERATIONS).fetch_all(connection).await;
    rows.map_err(during("read operations"))?.iter().map(|row| decode::operation(row, 0)).collect()
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
        ranges.extend(decode::outcomes(row, FRESHNESS)?);
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
        seen.extend(decode::ids(row)?.into_iter().filter(|one| one.offset > after && one.time >= since));
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
    rows.map_err(during("read dead letters"))?.iter().map(|row| decode::dead_letter(row, 0)).collect()
}

/// How many dead letters there are, and the newest.
pub(super) async fn letters(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    limit: u32,
) -> Result<Letters, Error> {
    const DOING: &str = "read dead letters at a glance";
    let mut parameters = Parameters::with_capacity(1);
    parameters.push(partition.0);
    let counts = parameters.query(&REASONS).fetch_all(&mut *connection).await.map_err(during(DOING))?;
    let mut parameters = Parameters::with_capacity(2);
    parameters.push(partition.0);
    parameters.push(limit);
    let newest = parameters.query(&LETTERS).fetch_all(connection).await.map_err(during(DOING))?;
    Ok(Letters {
        counts: counts.iter().map(decode::reason_and_count).collect::<Result<_, _>>()?,
        newest: newest.iter().map(|row| decode::letter(row, partition)).collect::<Result<_, _>>()?,
    })
}

/// Dead letters after the last one that was published, in order.
pub(super) async fn unpublished(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    limit: u32,
) -> Result<Vec<(Generation, DeadLetter)>, Error> {
    let mut parameters = Parameters::with_capacity(2);
    parameters.push(partition.0);
    parameters.push(limit);
    let rows = parameters.query(&UNPUBLISHED).fetch_all(connection).await;
    rows.map_err(during("read dead letters"))?.iter().map(decode::generation_and_dead_letter).collect()
}
