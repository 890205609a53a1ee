//! The watermark: read, made, compared and set.
//!
//! Invariant: it changes only here, and only when it is what the flush was folded from.

use std::sync::{Arc, LazyLock};

use millpond_schemas::{PartitionId, Watermark};
use sqlx::{Row as _, SqliteConnection};

use super::{
    decode::{self, WATERMARK},
    error::during,
    statement::Parameters,
};
use crate::Error;

static SOME: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT {WATERMARK} FROM watermark WHERE partition IN (SELECT value FROM json_each(?)) ORDER BY partition"
    )
    .into()
});
static ALL: LazyLock<Arc<str>> =
    LazyLock::new(|| format!("SELECT {WATERMARK} FROM watermark ORDER BY partition").into());

/// As a JSON array, for `json_each`: one parameter for any number of partitions.
pub(super) fn listed(partitions: &[PartitionId]) -> String {
    let numbers: Vec<String> = partitions.iter().map(PartitionId::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// Those of `partitions` that there are, by partition.
pub(super) async fn of(
    connection: &mut SqliteConnection,
    partitions: &[PartitionId],
) -> Result<Vec<Watermark>, Error> {
    let mut parameters = Parameters::default();
    parameters.push(listed(partitions));
    let rows = parameters.query(&SOME).fetch_all(connection).await.map_err(during("read watermarks"))?;
    rows.iter().map(decode::watermark).collect()
}

/// Inserts an empty one, unless there is one of the same log.
pub(super) async fn create(connection: &mut SqliteConnection, watermark: Watermark) -> Result<(), Error> {
    const DOING: &str = "create a copy";
    let partition = watermark.partition;
    sqlx::query(
        "INSERT INTO watermark VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (partition) DO NOTHING",
    )
    .bind(partition.0)
    .bind(watermark.generation.0)
    .bind(watermark.log_id.0.to_vec())
    .bind(watermark.applied.0)
    .bind(watermark.digest_offset.0)
    .bind(watermark.digest.0.to_vec())
    .bind(watermark.time.0)
    .bind(watermark.owner.0)
    .bind(watermark.claim.to_vec())
    .bind(watermark.sealed)
    .execute(&mut *connection)
    .await
    .map_err(during(DOING))?;
    let same = of(connection, &[partition]).await?.iter().any(|there| there.log_id == watermark.log_id);
    if same { Ok(()) } else { Err(Error::Fenced { partition }) }
}

/// Whether [`set`] would find `there` as `previous`, and an owner that gives way.
pub(super) fn gives_way(there: &Watermark, previous: &Watermark, next: &Watermark) -> bool {
    there.log_id == previous.log_id
        && there.applied == previous.applied
        && there.digest == previous.digest
        && there.owner <= next.owner
}

/// Sets it from `previous` to `next`; false: it was not `previous`, or a later Claim owns it.
pub(super) async fn set(
    connection: &mut SqliteConnection,
    previous: &Watermark,
    next: &Watermark,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE watermark SET generation = ?, applied_offset = ?, digest_offset = ?, applied_digest = ?, \
         applied_time = ?, owner = ?, claim = ?, sealed = ? \
         WHERE partition = ? AND log_id = ? AND applied_offset = ? AND applied_digest = ? AND owner <= ?",
    )
    .bind(next.generation.0)
    .bind(next.applied.0)
    .bind(next.digest_offset.0)
    .bind(next.digest.0.to_vec())
    .bind(next.time.0)
    .bind(next.owner.0)
    .bind(next.claim.to_vec())
    .bind(next.sealed)
    .bind(next.partition.0)
    .bind(previous.log_id.0.to_vec())
    .bind(previous.applied.0)
    .bind(previous.digest.0.to_vec())
    .bind(next.owner.0)
    .execute(connection)
    .await
    .map_err(during("set the watermark"))?;
    Ok(done.rows_affected() == 1)
}

/// Moves the whole write-ahead log to the file, synced, and answers the watermarks in it.
///
/// This connection is the only one that writes, so nothing is added meanwhile; a reader of an older state can hold
/// it up, and is waited for only briefly, because applying waits too.
pub(super) async fn checkpoint(connection: &mut SqliteConnection) -> Result<Vec<Watermark>, Error> {
    const DOING: &str = "sync a checkpoint";
    let rows = Parameters::default().query(&ALL).fetch_all(&mut *connection).await.map_err(during(DOING))?;
    let watermarks = rows.iter().map(decode::watermark).collect::<Result<_, _>>()?;
    // SQLite sets it when the statement is prepared: it must not stay prepared.
    let patience = |sql| sqlx::query(sql).persistent(false);
    patience("PRAGMA busy_timeout = 250").execute(&mut *connection).await.map_err(during(DOING))?;
    let row = sqlx::query("PRAGMA wal_checkpoint(FULL)").fetch_one(&mut *connection).await;
    patience("PRAGMA busy_timeout = 5000").execute(&mut *connection).await.map_err(during(DOING))?;
    let row = row.map_err(during(DOING))?;
    let (busy, log, moved): (i64, i64, i64) = (
        row.try_get(0).map_err(during(DOING))?,
        row.try_get(1).map_err(during(DOING))?,
        row.try_get(2).map_err(during(DOING))?,
    );
    if busy != 0 || log != moved {
        return Err(Error::unavailable(DOING, "a long read holds an older state open"));
    }
    Ok(watermarks)
}
