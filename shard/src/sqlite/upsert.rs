//! Rows of `kv` written and removed, many in a statement.
//!
//! Invariant: a row is replaced only by a higher version, and removed only at the version that was asked for.

use std::sync::{Arc, LazyLock};

use millpond_schemas::{Created, PartitionId, RecordKey, Row, Upsert, Version};
use sqlx::SqliteConnection;

use super::{
    error::during,
    statement::{Parameters, Sizes, repeated, runs},
};
use crate::Error;

/// Rows of one statement; more of them in one hardly save anything.
const SIZES: [usize; 4] = [256, 32, 4, 1];
/// Bytes of keys and values in one statement, unless it has a single row: each is in memory three times.
const BYTES_MAX: usize = 8 * 1024 * 1024;
const COLUMNS: usize = 11;
const WRITING: &str = "write rows";

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
             updated_at, tombstone, checksum) VALUES {} ON CONFLICT (tenant, key, partition) DO UPDATE SET \
             version = excluded.version, value = excluded.value, content_type = excluded.content_type, \
             expires_at = excluded.expires_at, created_at = {created_at}, updated_at = excluded.updated_at, \
             tombstone = excluded.tombstone, checksum = excluded.checksum WHERE kv.version < excluded.version",
            repeated("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        )
    })
}

/// Writes rows of one partition, sorted by key.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    rows: &[Upsert],
) -> Result<(), Error> {
    let of = |created: Created| rows.iter().filter(move |upsert| upsert.created == created).map(|u| &u.row);
    for (sizes, rows) in [(&KNOWN, of(Created::Known)), (&KEEP_IF_LIVE, of(Created::KeepIfLive))] {
        let rows: Vec<&Row> = rows.collect();
        let mut texts = Texts::default();
        for (run, sql) in runs(sizes, &rows, BYTES_MAX, |row| row_bytes(row)) {
            let mut parameters = Parameters::with_capacity(run.len() * COLUMNS);
            for row in run {
                push(&mut parameters, &mut texts, partition, row);
            }
            let done = parameters.query(sql).execute(&mut *connection).await.map_err(during(WRITING))?;
            check(partition, run.len(), done.rows_affected())?;
        }
    }
    Ok(())
}

fn row_bytes(row: &Row) -> usize {
    row.key.bytes().len() + row.value.as_ref().map_or(0, bytes::Bytes::len)
}

fn push(parameters: &mut Parameters, texts: &mut Texts, partition: PartitionId, row: &Row) {
    parameters.push(partition.0);
    parameters.push(texts.tenant(row.key.tenant()));
    parameters.push(row.key.key_bytes());
    parameters.push(row.version.0);
    parameters.push(row.value.as_deref());
    parameters.push(texts.content_type(&row.content_type));
    parameters.push(row.expires_at.map(|at| at.0));
    parameters.push(row.created_at.0);
    parameters.push(row.updated_at.0);
    parameters.push(row.is_tombstone());
    parameters.push(row.checksum(partition));
}

/// Removes tombstones of one partition, each at exactly its version.
pub(super) async fn purge(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    purged: &[(RecordKey, Version)],
) -> Result<(), Error> {
    for (run, sql) in runs(&PURGE, purged, usize::MAX, |_| 0) {
        let mut parameters = Parameters::with_capacity(run.len() * 4);
        for (key, version) in run {
            parameters.push(partition.0);
            parameters.push(key.tenant());
            parameters.push(key.key_bytes());
            parameters.push(version.0);
        }
        let done = parameters.query(sql).execute(&mut *connection).await.map_err(during("purge rows"))?;
        check(partition, run.len(), done.rows_affected())?;
    }
    Ok(())
}

fn check(partition: PartitionId, sent: usize, touched: u64) -> Result<(), Error> {
    let sent = sent as u64;
    if sent == touched { Ok(()) } else { Err(Error::RowAhead { partition, sent, touched }) }
}

/// The last texts bound: neighbours mostly share them, and a shared one is not copied.
#[derive(Default)]
struct Texts {
    tenant: Option<Arc<str>>,
    content_type: Option<Arc<str>>,
}

impl Texts {
    fn tenant(&mut self, text: &str) -> Arc<str> {
        shared(&mut self.tenant, text)
    }

    fn content_type(&mut self, text: &str) -> Arc<str> {
        shared(&mut self.content_type, text)
    }
}

fn shared(last: &mut Option<Arc<str>>, text: &str) -> Arc<str> {
    match last {
        Some(last) if **last == *text => Arc::clone(last),
        _ => Arc::clone(last.insert(text.into())),
    }
}
