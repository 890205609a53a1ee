//! Rows of a leaf written and removed, many in a statement.
//!
//! Invariant: a row is replaced only by a higher version, and removed only at the version that was asked for.

use millpond_schemas::{Created, Flush, PartitionId, RecordKey, Row, Version};
use sqlx::PgConnection;

use super::{
    error::during,
    parameters::{Parameters, leaf},
};
use crate::{
    Error,
    chunks::{row_bytes, runs},
};

/// Rows of one statement.
const ROWS_MAX: usize = 10_000;
/// Bytes of keys and values at which a statement is sent, unless a single row has more: each is in memory three times.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The row says when it was created.
const KNOWN: &str = "excluded.created_at";
/// It stays unless the old row is a tombstone or had expired at the key's first put of the flush.
const KEEP_IF_LIVE: &str = "CASE WHEN kv.tombstone OR kv.expires_at <= excluded.created_at THEN excluded.created_at ELSE kv.created_at END";

fn sql(partition: PartitionId, created_at: &str) -> String {
    format!(
        "INSERT INTO {} AS kv (partition, tenant, key, version, value, content_type, expires_at, created_at, \
         updated_at, tombstone, checksum) \
         SELECT {partition}, tenant, key, version, value, content_type, expires_at, created_at, updated_at, \
         value IS NULL, checksum FROM (SELECT unnest($1::text[]) AS tenant, unnest($2::bytea[]) AS key, \
         unnest($3::bigint[]) AS version, unnest($4::bytea[]) AS value, unnest($5::text[]) AS content_type, \
         unnest($6::bigint[]) AS expires_at, unnest($7::bigint[]) AS created_at, \
         unnest($8::bigint[]) AS updated_at, unnest($9::bigint[]) AS checksum) r \
         ON CONFLICT (tenant, key, partition) DO UPDATE SET \
         version = excluded.version, value = excluded.value, content_type = excluded.content_type, \
         expires_at = excluded.expires_at, created_at = {created_at}, updated_at = excluded.updated_at, \
         tombstone = excluded.tombstone, checksum = excluded.checksum WHERE kv.version < excluded.version",
        leaf(partition)
    )
}

fn purge_sql(partition: PartitionId) -> String {
    format!(
        "DELETE FROM {} kv USING unnest($1::text[], $2::bytea[], $3::bigint[]) k (tenant, key, version) \
         WHERE kv.tenant = k.tenant AND kv.key = k.key AND kv.version = k.version",
        leaf(partition)
    )
}

/// Writes and removes the rows of a flush, in the order of the keys.
pub(super) async fn write(connection: &mut PgConnection, flush: &Flush) -> Result<(), Error> {
    for (created, created_at) in [(Created::Known, KNOWN), (Created::KeepIfLive, KEEP_IF_LIVE)] {
        let rows = flush.rows.iter().filter(|upsert| upsert.created == created);
        let rows: Vec<&Row> = rows.map(|upsert| &upsert.row).collect();
        for (run, _) in runs(ROWS_MAX, &rows, BYTES_MAX, |row| row_bytes(row)) {
            upsert(connection, flush.next.partition, created_at, run).await?;
        }
    }
    for run in flush.purged.chunks(ROWS_MAX) {
        purge(connection, flush.next.partition, run).await?;
    }
    Ok(())
}

async fn upsert(
    connection: &mut PgConnection,
    partition: PartitionId,
    created_at: &str,
    rows: &[&Row],
) -> Result<(), Error> {
    let parameters = Parameters::default()
        .column(rows, |row| row.key.tenant())
        .column(rows, |row| row.key.key_bytes())
        .column(rows, |row| row.version.0)
        .column(rows, |row| row.value.as_deref())
        .column(rows, |row| &*row.content_type)
        .column(rows, |row| row.expires_at.map(|at| at.0))
        .column(rows, |row| row.created_at.0)
        .column(rows, |row| row.updated_at.0)
        .column(rows, |row| row.checksum(partition));
    let done = parameters.query(sql(partition, created_at)).execute(connection).await;
    compare(partition, rows.len(), done.map_err(during("write rows"))?.rows_affected())
}

async fn purge(
    connection: &mut PgConnection,
    partition: PartitionId,
    purged: &[(RecordKey, Version)],
) -> Result<(), Error> {
    let parameters = Parameters::default()
        .column(purged, |(key, _)| key.tenant())
        .column(purged, |(key, _)| key.key_bytes())
        .column(purged, |(_, version)| version.0);
    let done = parameters.query(purge_sql(partition)).execute(connection).await;
    compare(partition, purged.len(), done.map_err(during("remove rows"))?.rows_affected())
}

fn compare(partition: PartitionId, sent: usize, touched: u64) -> Result<(), Error> {
    let sent = sent as u64;
    if sent == touched { Ok(()) } else { Err(Error::RowAhead { partition, sent, touched }) }
}
