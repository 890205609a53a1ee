//! Reads what a copy remembers beside its rows: outcomes, ids, operations, dead letters.
//!
//! Invariant: how old something may be is judged in the fold; what is here is answered, however old.

use millpond_schemas::{DeadLetter, Generation, Offset, Operation, PartitionId, Seen, UnixMillis};

use super::{
    error::during,
    parameters::{NOW, Parameters, number},
    session::Session,
};
use crate::{
    Error, Letters, Outcomes,
    decode::{self, DEAD_LETTER, FRESHNESS, LETTER, OPERATION},
    error::no_copy,
};

/// Every operation of a partition, by hash.
pub(super) async fn operations(
    session: &mut Session,
    partition: PartitionId,
) -> Result<Vec<Operation>, Error> {
    let sql = format!("SELECT {OPERATION} FROM operation WHERE partition = $1 ORDER BY hash");
    let rows =
        Parameters::default().with(number(partition)).query(sql).fetch_all(&mut session.connection).await;
    rows.map_err(during("read operations"))?.iter().map(|row| decode::operation(row, 0)).collect()
}

/// Kept ranges that overlap `from..=to`, with the state of the copy.
///
/// The range that `from` lies in begins at or before it; those after it begin in `from..=to`.
pub(super) async fn outcomes(
    session: &mut Session,
    partition: PartitionId,
    from: Offset,
    to: Offset,
) -> Result<Outcomes, Error> {
    const DOING: &str = "read outcomes";
    let sql = format!(
        "SELECT w.partition, w.generation, w.applied_offset, w.owner, w.applied_time, {NOW}, o.range \
         FROM watermark w LEFT JOIN outcome o ON o.partition = w.partition AND o.generation = w.generation \
         AND o.from_offset >= coalesce((SELECT max(b.from_offset) FROM outcome b WHERE b.partition = w.partition \
         AND b.generation = w.generation AND b.from_offset <= $1), 0) \
         AND o.from_offset <= $2 AND o.to_offset >= $1 WHERE w.partition = $3 ORDER BY o.from_offset"
    );
    let parameters = Parameters::default().with(from.0).with(to.0).with(number(partition));
    let rows = parameters.query(sql).fetch_all(&mut session.connection).await.map_err(during(DOING))?;
    let freshness = decode::freshness(rows.first().ok_or_else(|| no_copy(DOING))?, 0)?;
    let mut ranges = Vec::with_capacity(rows.len());
    for row in &rows {
        ranges.extend(decode::outcomes(row, FRESHNESS)?);
    }
    Ok(Outcomes { freshness, ranges })
}

/// Window ids above `after` and not before `since`, by offset.
pub(super) async fn seen(
    session: &mut Session,
    partition: PartitionId,
    after: Offset,
    since: UnixMillis,
) -> Result<Vec<Seen>, Error> {
    const SQL: &str = "SELECT from_offset, ids FROM seen WHERE partition = $1 \
        AND generation = (SELECT generation FROM watermark w WHERE w.partition = seen.partition) \
        AND to_offset > $2 AND time >= $3 ORDER BY from_offset";
    let parameters = Parameters::default().with(number(partition)).with(after.0).with(since.0);
    let rows = parameters.query(SQL).fetch_all(&mut session.connection).await.map_err(during("read ids"))?;
    let mut seen = Vec::new();
    for row in &rows {
        seen.extend(decode::ids(row)?.into_iter().filter(|one| one.offset > after && one.time >= since));
    }
    Ok(seen)
}

/// Dead letters from `from` on, by offset.
pub(super) async fn dead_letters(
    session: &mut Session,
    partition: PartitionId,
    from: Offset,
    limit: u32,
) -> Result<Vec<DeadLetter>, Error> {
    let sql = format!(
        "SELECT {DEAD_LETTER} FROM dead_letter WHERE partition = $1 AND log_offset >= $2 \
         ORDER BY generation, log_offset LIMIT $3"
    );
    let parameters = Parameters::default().with(number(partition)).with(from.0).with(i64::from(limit));
    let rows = parameters.query(sql).fetch_all(&mut session.connection).await;
    rows.map_err(during("read dead letters"))?.iter().map(|row| decode::dead_letter(row, 0)).collect()
}

/// How many dead letters there are, and the newest.
pub(super) async fn letters(
    session: &mut Session,
    partition: PartitionId,
    limit: u32,
) -> Result<Letters, Error> {
    const DOING: &str = "read dead letters at a glance";
    const COUNTS: &str =
        "SELECT reason, count(*) FROM dead_letter WHERE partition = $1 GROUP BY reason ORDER BY reason";
    let parameters = Parameters::default().with(number(partition));
    let counts = parameters.query(COUNTS).fetch_all(&mut session.connection).await.map_err(during(DOING))?;
    let newest = format!(
        "SELECT {LETTER} FROM dead_letter WHERE partition = $1 ORDER BY generation DESC, log_offset DESC LIMIT $2"
    );
    let parameters = Parameters::default().with(number(partition)).with(i64::from(limit));
    let newest = parameters.query(newest).fetch_all(&mut session.connection).await.map_err(during(DOING))?;
    Ok(Letters {
        counts: counts.iter().map(decode::reason_and_count).collect::<Result<_, _>>()?,
        newest: newest.iter().map(|row| decode::letter(row, partition)).collect::<Result<_, _>>()?,
    })
}

/// Dead letters after the last one that was published, in order.
pub(super) async fn unpublished(
    session: &mut Session,
    partition: PartitionId,
    limit: u32,
) -> Result<Vec<(Generation, DeadLetter)>, Error> {
    let sql = format!(
        "SELECT generation, {DEAD_LETTER} FROM dead_letter WHERE partition = $1 AND (generation, log_offset) > \
         (coalesce((SELECT generation FROM published WHERE partition = $1), 0), \
          coalesce((SELECT log_offset FROM published WHERE partition = $1), -1)) \
         ORDER BY generation, log_offset LIMIT $2"
    );
    let parameters = Parameters::default().with(number(partition)).with(i64::from(limit));
    let rows = parameters.query(sql).fetch_all(&mut session.connection).await;
    rows.map_err(during("read dead letters"))?.iter().map(decode::generation_and_dead_letter).collect()
}
