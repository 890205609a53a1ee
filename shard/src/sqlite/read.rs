//! Rows read: by keys, what is due.
//!
//! Not here: ranges (`range.rs`). Invariant: rows, watermark and owner of one answer come from one statement, so from one state.

use std::sync::{Arc, LazyLock};

use millpond_schemas::{IdHash, PartitionId, RecordKey, Row, UnixMillis};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    NOW,
    error::during,
    statement::{Parameters, Sizes, numbered, repeated},
    watermark::listed,
};
use crate::{
    Due, Error, Found, KEYS_MAX, ManyRead, Snapshot, Wanted,
    assemble::{DUE_AT_ONCE, checked_due, found, many_read, partitions_of},
    decode::{self, FRESHNESS, KEYED, KEYLESS, OPERATION},
    error::no_copy,
};

const SIZES: [usize; 4] = [KEYS_MAX, 512, 64, 8];
const READING: &str = "read rows";
/// Whether a row exists now.
pub(super) const LIVE: &str = "kv.tombstone = 0 AND (kv.expires_at IS NULL OR kv.expires_at > ";

/// The state, and beside it the row, if there is one, with whether it exists now.
static ONE: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT w.partition, w.generation, w.applied_offset, w.owner, w.applied_time, {NOW}, {LIVE} {NOW}), \
         {KEYLESS} FROM watermark w LEFT JOIN kv ON kv.tenant = ? AND kv.key = ? AND kv.partition = w.partition \
         WHERE w.partition = ?"
    )
    .into()
});
/// The states, numbered -1; then each row that there is, numbered as its key, with whether it exists now. Its columns
/// are checked in any case. A key that is absent, or NULL to fill the statement up, costs no row.
static KEYS: LazyLock<Sizes> = LazyLock::new(|| {
    Sizes::new(&SIZES, |keys| {
        format!(
            "WITH k (n, partition, tenant, key) AS (VALUES {}) {} UNION ALL SELECT k.n, {LIVE} {NOW}), {KEYLESS} FROM k \
             CROSS JOIN kv ON kv.tenant = k.tenant AND kv.key = k.key AND kv.partition = k.partition",
            numbered("?, ?, ?", keys),
            states_of_keys()
        )
    })
});
/// The same, but that values together are at most so many bytes, but for the first: what is behind is numbered -2 less
/// its key's place, and has no value.
static KEYS_WITHIN: LazyLock<Sizes> = LazyLock::new(|| {
    Sizes::new(&SIZES, |keys| {
        format!(
            "WITH k (n, partition, tenant, key) AS (VALUES {}), looked AS MATERIALIZED (SELECT k.n, kv.rowid AS id, \
             {LIVE} {NOW}) AS live, length(kv.value) AS bytes FROM k \
             CROSS JOIN kv ON kv.tenant = k.tenant AND kv.key = k.key AND kv.partition = k.partition), \
             fitting AS (SELECT *, coalesce(sum(bytes) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 \
             PRECEDING), 0) < ? AS fits FROM looked) \
             {} UNION ALL SELECT iif(f.fits, f.n, -2 - f.n), f.live, {KEYLESS} \
             FROM fitting f LEFT JOIN kv ON f.fits AND kv.rowid = f.id",
            numbered("?, ?, ?", keys),
            states_of_keys()
        )
    })
});
static FOR_FOLD: LazyLock<Sizes> = LazyLock::new(|| {
    Sizes::new(&SIZES, |keys| {
        format!(
            "WITH k (partition, tenant, key) AS (VALUES {}) SELECT {KEYED} FROM k \
             CROSS JOIN kv ON kv.tenant = k.tenant AND kv.key = k.key AND kv.partition = k.partition",
            repeated("(?, ?, ?)", keys)
        )
    })
});
static OPERATIONS: LazyLock<Sizes> = LazyLock::new(|| {
    Sizes::new(&SIZES, |ids| {
        format!(
            "WITH k (partition, hash) AS (VALUES {}) SELECT operation.partition, {OPERATION} FROM k \
             CROSS JOIN operation ON operation.partition = k.partition AND operation.hash = k.hash",
            repeated("(?, ?)", ids)
        )
    })
});
static DUE: LazyLock<Arc<str>> = LazyLock::new(|| {
    String::from(
        "SELECT tenant, key FROM kv WHERE partition = ? AND tombstone = ? AND expires_at <= ? \
         ORDER BY expires_at, tenant, key LIMIT ?",
    )
    .into()
});

fn states_of_keys() -> String {
    let nulls = repeated("NULL", KEYLESS.split(',').count() + 1 - FRESHNESS);
    format!(
        "SELECT -1, partition, generation, applied_offset, owner, applied_time, {NOW}, {nulls} \
         FROM watermark WHERE partition IN (SELECT value FROM json_each(?))"
    )
}

/// Rows of keys, with the state of the copy.
pub(super) async fn keys(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    keys: Vec<RecordKey>,
) -> Result<Snapshot, Error> {
    if let [key] = keys.as_slice() {
        return one(connection, partition, key).await;
    }
    let keys: Vec<_> = keys.into_iter().map(|key| (partition, key)).collect();
    let ManyRead { mut freshness, rows, .. } = among(connection, &[partition], &keys, None).await?;
    Ok(Snapshot { freshness: freshness.pop().ok_or_else(|| no_copy(READING))?, rows })
}

/// Rows of keys of several partitions, with the state of each.
pub(super) async fn many(
    connection: &mut SqliteConnection,
    keys: Vec<(PartitionId, RecordKey)>,
    bytes_max: Option<usize>,
) -> Result<ManyRead, Error> {
    among(connection, &partitions_of(&keys), &keys, bytes_max).await
}

async fn among(
    connection: &mut SqliteConnection,
    partitions: &[PartitionId],
    keys: &[(PartitionId, RecordKey)],
    bytes_max: Option<usize>,
) -> Result<ManyRead, Error> {
    if keys.len() > KEYS_MAX {
        return Err(Error::refused(READING, "too many keys"));
    }
    let sizes = if bytes_max.is_some() { &KEYS_WITHIN } else { &KEYS };
    let (size, sql) = sizes.covering(keys.len());
    let mut parameters = Parameters::with_capacity(size * 3 + 2);
    for (partition, key) in keys {
        parameters.push(partition.0);
        parameters.push(key.tenant());
        parameters.push(key.key_bytes());
    }
    parameters.push_nulls((size - keys.len()) * 3);
    if let Some(bytes_max) = bytes_max {
        parameters.push(i64::try_from(bytes_max).unwrap_or(i64::MAX));
    }
    parameters.push(listed(partitions));
    let found = parameters.query(sql).fetch_all(connection).await.map_err(during(READING))?;
    many_read(&found, keys, [1, 2])
}

/// One key, in one row: each row wakes its reader.
async fn one(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    key: &RecordKey,
) -> Result<Snapshot, Error> {
    let mut parameters = Parameters::with_capacity(3);
    parameters.push(key.tenant());
    parameters.push(key.key_bytes());
    parameters.push(partition.0);
    let found = parameters.query(&ONE).fetch_optional(connection).await.map_err(during(READING))?;
    let found = found.ok_or_else(|| no_copy(READING))?;
    let there = decode::maybe_integer(&found, FRESHNESS + 1)?.is_some();
    let row = if there {
        let checked = decode::keyless(&found, FRESHNESS + 1, key.clone(), partition)?;
        decode::truth(&found, FRESHNESS)?.then_some(checked)
    } else {
        None
    };
    Ok(Snapshot { freshness: decode::freshness(&found, 0)?, rows: vec![row] })
}

/// Rows and operations that folds need.
pub(super) async fn for_fold(
    connection: &mut SqliteConnection,
    wanted: Vec<Wanted>,
) -> Result<Vec<Found>, Error> {
    let (mut rows, mut operations) = (Vec::new(), Vec::new());
    let keys: Vec<_> = wanted.iter().flat_map(|w| w.keys.iter().map(|key| (w.partition, key))).collect();
    for keys in keys.chunks(KEYS_MAX) {
        rows.extend(rows_of(connection, keys).await?);
    }
    let ids: Vec<_> = wanted.iter().flat_map(|w| w.operations.iter().map(|id| (w.partition, *id))).collect();
    for ids in ids.chunks(KEYS_MAX) {
        for row in operations_of(connection, ids).await? {
            operations.push((decode::partition(&row, 0)?, decode::operation(&row, 1)?));
        }
    }
    Ok(found(&wanted, rows, operations))
}

async fn rows_of(
    connection: &mut SqliteConnection,
    keys: &[(PartitionId, &RecordKey)],
) -> Result<Vec<(PartitionId, Row)>, Error> {
    let (size, sql) = FOR_FOLD.covering(keys.len());
    let mut parameters = Parameters::with_capacity(size * 3);
    for (partition, key) in keys {
        parameters.push(partition.0);
        parameters.push(key.tenant());
        parameters.push(key.key_bytes());
    }
    for _ in keys.len() * 3..size * 3 {
        parameters.push(None::<i64>);
    }
    let rows = parameters.query(sql).fetch_all(connection).await.map_err(during(READING))?;
    rows.iter().map(|row| decode::keyed(row, 0)).collect()
}

async fn operations_of(
    connection: &mut SqliteConnection,
    ids: &[(PartitionId, IdHash)],
) -> Result<Vec<SqliteRow>, Error> {
    let (size, sql) = OPERATIONS.covering(ids.len());
    let mut parameters = Parameters::with_capacity(size * 2);
    for (partition, id) in ids {
        parameters.push(partition.0);
        parameters.push(id.0.as_slice());
    }
    for _ in ids.len() * 2..size * 2 {
        parameters.push(None::<i64>);
    }
    parameters.query(sql).fetch_all(connection).await.map_err(during("read operations"))
}

/// What is due, in the order that a Sweep or Purge takes it, without the values: of all together they could be more
/// than memory holds.
pub(super) async fn due(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    due: Due,
    (until, limit): (UnixMillis, u32),
) -> Result<Vec<Row>, Error> {
    const DOING: &str = "read what is due";
    let mut parameters = Parameters::with_capacity(4);
    parameters.push(partition.0);
    parameters.push(due == Due::Tombstones);
    parameters.push(until.0);
    parameters.push(limit);
    let found = parameters.query(&DUE).fetch_all(&mut *connection).await.map_err(during(DOING))?;
    let keys = found.iter().map(|row| decode::record_key(row, 0)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::with_capacity(keys.len());
    for keys in keys.chunks(DUE_AT_ONCE) {
        let asked: Vec<_> = keys.iter().map(|key| (partition, key)).collect();
        let there = rows_of(connection, &asked).await?;
        rows.extend(checked_due(keys, there, until)?);
    }
    Ok(rows)
}
