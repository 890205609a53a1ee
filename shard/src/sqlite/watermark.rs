//! The watermark: read, made, compared and set.
//!
//! Invariant: it changes only here, and only when it is what the flush was folded from.

use std::sync::{Arc, LazyLock};

use millpond_schemas::{Flush, Mutant, PartitionId, Watermark};
use sqlx::SqliteConnection;

use super::{
    batch::{Batch, Failed, SIZES, Step},
    error::during,
    statement::{Parameters, Sizes, repeated},
};
use crate::{
    Error,
    decode::{self, WATERMARK},
};

static SOME: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT {WATERMARK} FROM watermark WHERE partition IN (SELECT value FROM json_each(?)) ORDER BY partition"
    )
    .into()
});
const COMPARED: &str =
    "AND applied_offset = n.applied AND applied_digest = n.digest AND owner <= n.next_owner";
static SET: LazyLock<Sizes> = LazyLock::new(|| {
    Sizes::new(&SIZES, |rows| {
        format!(
            "WITH n (partition, log_id, applied, digest, generation, next_applied, next_digest_offset, next_digest, \
             next_time, next_owner, next_claim, next_sealed) AS (VALUES {}) \
             UPDATE watermark SET generation = n.generation, applied_offset = n.next_applied, \
             digest_offset = n.next_digest_offset, applied_digest = n.next_digest, applied_time = n.next_time, \
             owner = n.next_owner, claim = n.next_claim, sealed = n.next_sealed FROM n \
             WHERE watermark.partition = n.partition AND watermark.log_id = n.log_id {}",
            repeated("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows),
            if Mutant::NoCompareAndSet.is_picked() { "" } else { COMPARED }
        )
    })
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

/// Whether [`add`] would find `there` as `previous`, and an owner that gives way.
pub(super) fn gives_way(there: &Watermark, previous: &Watermark, next: &Watermark) -> bool {
    let compared =
        there.applied == previous.applied && there.digest == previous.digest && there.owner <= next.owner;
    there.log_id == previous.log_id && (compared || Mutant::NoCompareAndSet.is_picked())
}

/// Sets it from `previous` to `next`, where it is `previous` and no later Claim owns it.
pub(super) async fn add(batch: &mut Batch<'_>, flushes: &[Flush]) -> Result<(), Failed> {
    batch.add((Step::Watermarks, &SET), flushes, |_| 0, push).await
}

fn push(parameters: &mut Parameters, Flush { previous, next, .. }: &Flush) {
    parameters.push(next.partition.0);
    parameters.push(previous.log_id.0.as_slice());
    parameters.push(previous.applied.0);
    parameters.push(previous.digest.0.as_slice());
    parameters.push(next.generation.0);
    parameters.push(next.applied.0);
    parameters.push(next.digest_offset.0);
    parameters.push(next.digest.0.as_slice());
    parameters.push(next.time.0);
    parameters.push(next.owner.0);
    parameters.push(next.claim.as_ref());
    parameters.push(next.sealed);
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
    let (busy, log, moved) =
        (decode::integer(&row, 0)?, decode::integer(&row, 1)?, decode::integer(&row, 2)?);
    if busy != 0 || log != moved {
        return Err(Error::unavailable(DOING, "a long read holds an older state open"));
    }
    Ok(watermarks)
}
