//! Housekeeping: forgets what the fold no longer asks for.
//!
//! Invariant: nothing that is within its time, judged by the watermark, is deleted; so no outcome ever depends on this.

use millpond_schemas::{
    PartitionId,
    limits::{MEMORY_MS, WINDOW_OFFSETS},
};
use sqlx::SqliteConnection;

use super::{error::during, watermark};
use crate::Error;

/// Deletes at most `rows_max` rows of each memory; true: one of them may hold more.
pub(super) async fn prune(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    rows_max: u32,
) -> Result<bool, Error> {
    const DOING: &str = "forget what is old";
    let Some(watermark) = watermark::of(connection, &[partition]).await?.pop() else { return Ok(false) };
    let before = watermark.time.0.saturating_sub_unsigned(MEMORY_MS);
    let below = watermark.applied.0 - WINDOW_OFFSETS;
    let outcomes = sqlx::query(
        "DELETE FROM outcome WHERE rowid IN \
         (SELECT rowid FROM outcome WHERE partition = ? AND generation <= ? AND time < ? LIMIT ?)",
    )
    .bind(partition.0)
    .bind(watermark.generation.0)
    .bind(before);
    let seen = sqlx::query(
        "DELETE FROM seen WHERE rowid IN \
         (SELECT rowid FROM seen WHERE partition = ? AND (generation < ? OR to_offset < ? OR time < ?) LIMIT ?)",
    )
    .bind(partition.0)
    .bind(watermark.generation.0)
    .bind(below)
    .bind(before);
    let operations = sqlx::query(
        "DELETE FROM operation WHERE partition = ?1 AND hash IN \
         (SELECT hash FROM operation WHERE partition = ?1 AND time < ?2 LIMIT ?3)",
    )
    .bind(partition.0)
    .bind(before);
    let mut more = false;
    for delete in [outcomes, seen, operations] {
        let done = delete.bind(rows_max).execute(&mut *connection).await.map_err(during(DOING))?;
        more |= done.rows_affected() >= u64::from(rows_max);
    }
    Ok(more)
}
