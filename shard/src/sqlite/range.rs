//! Ranges read: one tenant's rows in key order over several partitions.
//!
//! Rows are looked at by the primary key without their values, of which only those that are wanted are read then.
//! Invariant: rows, watermark and owner of one answer come from one statement, so from one state.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use millpond_schemas::PartitionId;
use sqlx::SqliteConnection;

use super::{
    NOW,
    error::during,
    read::LIVE,
    statement::{Parameters, repeated},
    watermark::listed,
};
use crate::{
    Error, Scan, Scanned,
    assemble::looked_at,
    decode::{self, FRESHNESS, KEYED, KEYLESS},
};

/// Above every key: longer than any, of the highest byte. A bound that may be NULL would be no bound for the index.
const KEY_END: [u8; 1025] = [0xff; 1025];

static RANGE_UP: LazyLock<Arc<str>> = LazyLock::new(|| sql("ASC"));
static RANGE_DOWN: LazyLock<Arc<str>> = LazyLock::new(|| sql("DESC"));

/// The states of all partitions, then rows: two parts of one statement, told apart by the first column. A row that was
/// looked at comes with whether it exists now, and whether it is wanted; only then with all of its columns.
fn sql(order: &str) -> Arc<str> {
    let nulls = repeated("NULL", KEYED.split(',').count() + 2 - FRESHNESS);
    let order = format!("tenant {order}, key {order}, partition {order}");
    format!(
        "WITH looked AS MATERIALIZED (SELECT kv.rowid AS id, kv.partition, kv.tenant, kv.key, {LIVE} {NOW}) AS live, \
         length(kv.value) AS bytes FROM kv WHERE kv.tenant = ?1 AND kv.key >= ?2 AND kv.key < ?3 \
         AND kv.partition IN (SELECT value FROM json_each(?4)) ORDER BY {order} LIMIT ?5), \
         counted AS (SELECT *, live AND sum(live) OVER w <= ?6 AND coalesce(sum(live * bytes) \
         OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < ?7 AS wanted \
         FROM looked WINDOW w AS (ORDER BY {order})) \
         SELECT 0, partition, generation, applied_offset, owner, applied_time, {NOW}, {nulls} FROM watermark \
         WHERE partition IN (SELECT value FROM json_each(?4)) \
         UNION ALL SELECT * FROM (SELECT 1, c.live, c.wanted, c.partition, c.tenant, c.key, {KEYLESS} \
         FROM counted c LEFT JOIN kv ON c.wanted AND kv.rowid = c.id ORDER BY {})",
        order.replace("tenant", "c.tenant").replace("key", "c.key").replace("partition", "c.partition")
    )
    .into()
}

/// Rows of one tenant in key order, with the state of each partition.
pub(super) async fn range(
    connection: &mut SqliteConnection,
    partitions: Vec<PartitionId>,
    scan: Scan,
) -> Result<Scanned, Error> {
    let partitions = listed(&partitions);
    let mut parameters = Parameters::with_capacity(7);
    parameters.push(scan.tenant.as_str());
    parameters.push(scan.start.as_ref());
    parameters.push(scan.end.as_ref().map_or(KEY_END.as_slice(), Bytes::as_ref));
    parameters.push(partitions.as_str());
    parameters.push(scan.looked_max);
    parameters.push(scan.limit);
    parameters.push(i64::try_from(scan.bytes_max).unwrap_or(i64::MAX));
    let sql = if scan.reverse { &RANGE_DOWN } else { &RANGE_UP };
    let found = parameters.query(sql).fetch_all(connection).await.map_err(during("read rows"))?;
    let mut scanned = Scanned::default();
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        if decode::integer(row, 0)? == 0 {
            scanned.freshness.push(decode::freshness(row, 1)?);
        } else {
            rows.push(row);
        }
    }
    looked_at(&mut scanned, &rows, &scan, 1)?;
    Ok(scanned)
}
