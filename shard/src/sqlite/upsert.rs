//! Rows of `kv` written and removed, many in a statement.
//!
//! Invariant: a row is replaced only by a higher version, and removed only at the version that was asked for.

use std::sync::LazyLock;

use millpond_schemas::{Created, Flush, PartitionId, RecordKey, Row, Version};

use super::{
    batch::{Batch, Failed, SIZES, Step},
    statement::{Parameters, Sizes, repeated},
};
use crate::chunks::{each, row_bytes};

/// The row says when it was created.
static KNOWN: LazyLock<Sizes> = LazyLock::new(|| sizes("excluded.created_at"));
/// It stays unless the old row is a tombstone or had expired at the key's first put of the flush.
static KEEP_IF_LIVE: LazyLock<Sizes> = LazyLock::new(|| {
    sizes(
        "CASE WHEN kv.tombstone OR kv.expires_at <= excluded.created_at \
         THEN excluded.created_at ELSE kv.created_at END",
    )
});
static PURGE: LazyLock<Sizes> = LazyLock::new(|| {
    Sizes::new(&SIZES, |rows| {
        format!(
            "WITH k (partition, tenant, key, version) AS (VALUES {}) \
             DELETE FROM kv WHERE rowid IN (SELECT kv.rowid FROM k CROSS JOIN kv ON kv.tenant = k.tenant \
             AND kv.key = k.key AND kv.partition = k.partition AND kv.version = k.version)",
            repeated("(?, ?, ?, ?)", rows)
        )
    })
});

fn sizes(created_at: &str) -> Sizes {
    Sizes::new(&SIZES, |rows| {
        format!(
            "INSERT INTO kv (partition, tenant, key, version, value, content_type, expires_at, created_at, \
             updated_at, tombstone, checksum) SELECT * FROM (VALUES {}) WHERE column1 IS NOT NULL \
             ON CONFLICT (tenant, key, partition) DO UPDATE SET \
             version = excluded.version, value = excluded.value, content_type = excluded.content_type, \
             expires_at = excluded.expires_at, created_at = {created_at}, updated_at = excluded.updated_at, \
             tombstone = excluded.tombstone, checksum = excluded.checksum WHERE kv.version < excluded.version",
            repeated("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        )
    })
}

type Written<'f> = (PartitionId, &'f Row);
type Removed<'f> = (PartitionId, &'f (RecordKey, Version));

/// Writes and removes the rows of some flushes, in the order of the keys.
pub(super) async fn add(batch: &mut Batch<'_>, flushes: &[Flush]) -> Result<(), Failed> {
    for (sizes, created) in [(&*KNOWN, Created::Known), (&*KEEP_IF_LIVE, Created::KeepIfLive)] {
        let rows = each(flushes, |flush| &flush.rows).filter(|(_, upsert)| upsert.created == created);
        let mut rows: Vec<Written<'_>> = rows.map(|(partition, upsert)| (partition, &upsert.row)).collect();
        // Those of each partition are sorted, so this merges.
        rows.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        batch.add((Step::Rows, sizes), &rows, |(_, row)| row_bytes(row), push_row).await?;
    }
    let removed: Vec<Removed<'_>> = each(flushes, |flush| &flush.purged).collect();
    batch.add((Step::Rows, &PURGE), &removed, |_| 0, push_removed).await
}

fn push_row(parameters: &mut Parameters, (partition, row): &Written<'_>) {
    parameters.push(partition.0);
    parameters.push_shared(row.key.tenant());
    parameters.push(row.key.key_bytes());
    parameters.push(row.version.0);
    parameters.push(row.value.as_deref());
    parameters.push_shared(&row.content_type);
    parameters.push(row.expires_at.map(|at| at.0));
    parameters.push(row.created_at.0);
    parameters.push(row.updated_at.0);
    parameters.push(row.is_tombstone());
    parameters.push(row.checksum(*partition));
}

fn push_removed(parameters: &mut Parameters, (partition, (key, version)): &Removed<'_>) {
    parameters.push(partition.0);
    parameters.push_shared(key.tenant());
    parameters.push(key.key_bytes());
    parameters.push(version.0);
}
