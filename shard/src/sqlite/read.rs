//! Rows read: by keys, in ranges, what is due.
//!
//! Invariant: rows, watermark and owner of one answer come from one statement, so from one state.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use millpond_schemas::{IdHash, PartitionId, RecordKey, Row, UnixMillis};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    decode::{self, FRESHNESS, KEYED, KEYLESS, NOW, column},
    error::during,
    memory::{self, OPERATION},
    statement::{Parameters, Sizes, no_copy, numbered, repeated},
    watermark::listed,
};
use crate::{Due, Error, Found, KEYS_MAX, Scan, Scanned, Snapshot, Wanted};

const SIZES: [usize; 4] = [KEYS_MAX, 512, 64, 8];
const READING: &str = "read rows";
/// Rows that are due and whose values are in memory at a time, to be checked.
const DUE_AT_ONCE: usize = 64;
/// Whether a row exists now.
const LIVE: &str = "kv.tombstone = 0 AND (kv.expires_at IS NULL OR kv.expires_at > ";

/// The state, and beside it the row, if there is one, with whether it exists now.
static ONE: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT w.partition, w.generation, w.applied_offset, w.owner, w.applied_time, {NOW}, {LIVE} {NOW}), \
         {KEYLESS} FROM watermark w LEFT JOIN kv ON kv.tenant = ? AND kv.key = ? AND kv.partition = w.partition \
         WHERE w.partition = ?"
    )
    .into()
});
/// The state, numbered -1; then each row that there is, numbered as its key, with whether it exists now. Its columns
/// are checked in any case. A key that is absent, or NULL to fill the statement up, costs no row.
static KEYS: LazyLock<Sizes> = LazyLock::new(|| {
    let nulls = repeated("NULL", KEYLESS.split(',').count() + 1 - FRESHNESS);
    Sizes::new(&SIZES, |keys| {
        format!(
            "WITH k (n, tenant, key) AS (VALUES {}) \
             SELECT -1, partition, generation, applied_offset, owner, applied_time, {NOW}, {nulls} \
             FROM watermark WHERE partition = ? \
             UNION ALL SELECT k.n, {LIVE} {NOW}), {KEYLESS} FROM k \
             CROSS JOIN kv ON kv.tenant = k.tenant AND kv.key = k.key AND kv.partition = ?",
            numbered("?, ?", keys)
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
static RANGE_UP: LazyLock<Arc<str>> = LazyLock::new(|| range_sql("ASC"));
static RANGE_DOWN: LazyLock<Arc<str>> = LazyLock::new(|| range_sql("DESC"));

/// The states of all partitions, then rows: two parts of one statement, told apart by the first column.
fn range_sql(order: &str) -> Arc<str> {
    let nulls = repeated("NULL", KEYED.split(',').count() - FRESHNESS);
    format!(
        "SELECT 0, partition, generation, applied_offset, owner, applied_time, {NOW}, {nulls} FROM watermark \
         WHERE partition IN (SELECT value FROM json_each(?)) \
         UNION ALL SELECT * FROM (SELECT 1, {KEYED} FROM kv WHERE kv.tenant = ? AND kv.key >= ? \
         AND (? IS NULL OR kv.key < ?) AND kv.partition IN (SELECT value FROM json_each(?)) AND {LIVE} {NOW}) \
         ORDER BY kv.tenant {order}, kv.key {order}, kv.partition {order} LIMIT ?)"
    )
    .into()
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
    if keys.len() > KEYS_MAX {
        return Err(Error::Refused { doing: READING, source: "too many keys".into() });
    }
    let (size, sql) = KEYS.covering(keys.len());
    let mut parameters = Parameters::with_capacity(size * 2 + 1);
    for key in &keys {
        parameters.push(key.tenant());
        parameters.push(key.key_bytes());
    }
    for _ in keys.len() * 2..size * 2 {
        parameters.push(None::<i64>);
    }
    parameters.push(partition.0);
    parameters.push(partition.0);
    let found = parameters.query(sql).fetch_all(connection).await.map_err(during(READING))?;
    let mut freshness = None;
    let mut rows = vec![None; keys.len()];
    for row in &found {
        let number: i64 = column(row, 0)?;
        match usize::try_from(number).ok().and_then(|number| rows.get_mut(number).zip(keys.get(number))) {
            None => freshness = Some(decode::freshness(row, 1)?),
            Some((slot, key)) => {
                let checked = decode::keyless(row, 2, key.clone(), partition)?;
                *slot = column::<bool>(row, 1)?.then_some(checked);
            }
        }
    }
    Ok(Snapshot { freshness: freshness.ok_or_else(|| no_copy(READING))?, rows })
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
    let there = column::<Option<i64>>(&found, FRESHNESS + 1)?.is_some();
    let row = if there {
        let checked = decode::keyless(&found, FRESHNESS + 1, key.clone(), partition)?;
        column::<bool>(&found, FRESHNESS)?.then_some(checked)
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
    let nothing = |w: &Wanted| Found { partition: w.partition, rows: Vec::new(), operations: Vec::new() };
    let mut found: Vec<Found> = wanted.iter().map(nothing).collect();
    let place: HashMap<PartitionId, usize> = (0..).zip(&wanted).map(|(at, w)| (w.partition, at)).collect();
    let at = |partition| place.get(&partition).copied().expect("only what was wanted is found");

    let keys: Vec<_> = wanted.iter().flat_map(|w| w.keys.iter().map(|key| (w.partition, key))).collect();
    for keys in keys.chunks(KEYS_MAX) {
        for (partition, row) in rows_of(connection, keys).await? {
            found[at(partition)].rows.push(row);
        }
    }
    let ids: Vec<_> = wanted.iter().flat_map(|w| w.operations.iter().map(|id| (w.partition, *id))).collect();
    for ids in ids.chunks(KEYS_MAX) {
        for row in operations_of(connection, ids).await? {
            found[at(decode::partition(&row, 0)?)].operations.push(memory::operation(&row, 1)?);
        }
    }
    Ok(found)
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
        let there = rows_of(connection, &asked).await?.into_iter().map(|(_, row)| (row.key.clone(), row));
        let mut there: HashMap<RecordKey, Row> = there.collect();
        for key in keys {
            let row = there.remove(key).filter(|row| row.expires_at.is_some_and(|at| at <= until));
            let row = row.ok_or_else(|| Error::corrupt(DOING, "the index names a row that is not due"))?;
            rows.push(Row { value: row.value.map(|_| Bytes::new()), ..row });
        }
    }
    Ok(rows)
}

/// Rows of one tenant in key order, with the state of each partition.
pub(super) async fn range(
    connection: &mut SqliteConnection,
    partitions: Vec<PartitionId>,
    scan: Scan,
) -> Result<Scanned, Error> {
    let partitions = listed(&partitions);
    let mut parameters = Parameters::with_capacity(7);
    parameters.push(partitions.as_str());
    parameters.push(scan.tenant.as_str());
    parameters.push(scan.start.as_ref());
    parameters.push(scan.end.as_deref());
    parameters.push(scan.end.as_deref());
    parameters.push(partitions.as_str());
    parameters.push(scan.limit);
    let sql = if scan.reverse { &RANGE_DOWN } else { &RANGE_UP };
    let found = parameters.query(sql).fetch_all(connection).await.map_err(during(READING))?;
    let mut scanned = Scanned { freshness: Vec::new(), rows: Vec::new() };
    for row in &found {
        if column::<i64>(row, 0)? == 0 {
            scanned.freshness.push(decode::freshness(row, 1)?);
        } else {
            scanned.rows.push(decode::keyed(row, 1)?);
        }
    }
    Ok(scanned)
}
