//! Housekeeping: forgets what the fold no longer asks for.
//!
//! Invariant: nothing that is within its time, judged by the watermark, is deleted; so no outcome ever depends on this.

use millpond_schemas::{
    PartitionId,
    limits::{MEMORY_MS, WINDOW_OFFSETS},
};

use super::{
    error::during,
    parameters::{Parameters, number},
    session::Session,
    watermark,
};
use crate::Error;

/// Offsets and times rise together, so what is too old comes first: no more than `rows_max` rows are looked at.
const OUTCOMES: &str = "DELETE FROM outcome WHERE ctid = ANY (ARRAY(SELECT ctid FROM (\
    SELECT ctid, time FROM outcome WHERE partition = $1 AND generation <= $2 ORDER BY generation, from_offset LIMIT $5\
    ) first WHERE time < $3 AND $4::bigint IS NOT NULL))";
const SEEN: &str = "DELETE FROM seen WHERE ctid = ANY (ARRAY(SELECT ctid FROM (\
    SELECT ctid, generation, to_offset, time FROM seen WHERE partition = $1 \
    ORDER BY generation, from_offset LIMIT $5) first WHERE generation < $2 OR to_offset < $4 OR time < $3))";
const OPERATIONS: &str = "DELETE FROM operation WHERE ctid = ANY (ARRAY(SELECT ctid FROM operation \
    WHERE partition = $1 AND time < $3 AND $2::bigint IS NOT NULL AND $4::bigint IS NOT NULL ORDER BY time LIMIT $5))";

/// Deletes at most `rows_max` rows of each memory; true: one of them may hold more.
pub(super) async fn prune(
    session: &mut Session,
    partition: PartitionId,
    rows_max: u32,
) -> Result<bool, Error> {
    let connection = &mut session.connection;
    let Some(watermark) = watermark::of(connection, &[partition]).await?.pop() else { return Ok(false) };
    let mut more = false;
    for sql in [OUTCOMES, SEEN, OPERATIONS] {
        let done = Parameters::default()
            .with(number(partition))
            .with(i64::from(watermark.generation.0))
            .with(watermark.time.0.saturating_sub_unsigned(MEMORY_MS))
            .with(watermark.applied.0 - WINDOW_OFFSETS)
            .with(i64::from(rows_max))
            .query(sql)
            .execute(&mut *connection)
            .await
            .map_err(during("forget what is old"))?;
        more |= done.rows_affected() >= u64::from(rows_max);
    }
    Ok(more)
}
