//! Rows read: by keys, what is due.
//!
//! Not here: ranges (`range.rs`). Leaves are named where they can be: a statement on their parent opens and locks all
//! of them each time.
//! Invariant: rows, watermark and owner of one answer come from one statement, so from one state.

use std::collections::BTreeMap;

use millpond_schemas::{PartitionId, RecordKey, Row, UnixMillis};
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    error::{UNDEFINED_TABLE, during, says},
    parameters::{NOW, Parameters, leaf, number},
    session::Session,
};
use crate::{
    Due, Error, Found, KEYS_MAX, ManyRead, Snapshot, Wanted,
    assemble::{DUE_AT_ONCE, checked_due, found, many_read, partitions_of},
    decode::{self, FRESHNESS, KEYED, KEYLESS, OPERATION},
    error::no_copy,
};

const READING: &str = "read rows";
/// Partitions up to which a connection names leaves together: each set of them is a statement to prepare, which costs
/// ten times its run, and of more partitions there are too many sets. Then their parent is asked.
const TOGETHER_MAX: usize = 8;

pub(super) fn live() -> String {
    format!("NOT kv.tombstone AND (kv.expires_at IS NULL OR kv.expires_at > {NOW})")
}

pub(super) fn state() -> String {
    format!("w.partition, w.generation, w.applied_offset, w.owner, w.applied_time, {NOW}")
}

pub(super) fn nulls(columns: usize) -> String {
    vec!["NULL"; columns].join(", ")
}

/// How many columns a list of them names.
pub(super) fn count(columns: &str) -> usize {
    columns.split(',').count()
}

pub(super) fn listed(partitions: &[PartitionId]) -> String {
    partitions.iter().map(PartitionId::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a statement should name the leaves of these partitions, not their parent.
fn by_name(session: &mut Session, partitions: &[PartitionId]) -> bool {
    session.asked.extend(partitions);
    partitions.len() == 1 || session.asked.len() <= TOGETHER_MAX
}

/// One that names a leaf that is not there fails as a whole: none then.
pub(super) async fn rows_of(
    connection: &mut PgConnection,
    parameters: Parameters,
    sql: String,
) -> Result<Option<Vec<PgRow>>, Error> {
    match parameters.query(sql).fetch_all(connection).await {
        Ok(rows) => Ok(Some(rows)),
        Err(error) if says(&error, UNDEFINED_TABLE) => Ok(None),
        Err(error) => Err(during(READING)(error)),
    }
}

/// Rows of keys, with the state of the copy.
pub(super) async fn keys(
    session: &mut Session,
    partition: PartitionId,
    keys: Vec<RecordKey>,
) -> Result<Snapshot, Error> {
    if let [key] = keys.as_slice() {
        return one(session, partition, key).await;
    }
    let keys: Vec<_> = keys.into_iter().map(|key| (partition, key)).collect();
    let found = among(session, &[partition], &keys, None).await?;
    let freshness = found.freshness.into_iter().next().ok_or_else(|| no_copy(READING))?;
    Ok(Snapshot { freshness, rows: found.rows })
}

/// One key, in one row.
async fn one(session: &mut Session, partition: PartitionId, key: &RecordKey) -> Result<Snapshot, Error> {
    let sql = format!(
        "SELECT {}, {}, {KEYLESS} FROM watermark w LEFT JOIN {} kv ON kv.tenant = $1 AND kv.key = $2 \
         WHERE w.partition = {partition}",
        state(),
        live(),
        leaf(partition)
    );
    let parameters = Parameters::default().with(key.tenant()).with(key.key_bytes());
    let found = rows_of(&mut session.connection, parameters, sql).await?.unwrap_or_default();
    let found = found.first().ok_or_else(|| no_copy(READING))?;
    let there = decode::maybe_integer(found, FRESHNESS + 1)?.is_some();
    let row = if there {
        let checked = decode::keyless(found, FRESHNESS + 1, key.clone(), partition)?;
        decode::truth(found, FRESHNESS)?.then_some(checked)
    } else {
        None
    };
    Ok(Snapshot { freshness: decode::freshness(found, 0)?, rows: vec![row] })
}

/// Rows of keys of several partitions, with the state of each.
pub(super) async fn many(
    session: &mut Session,
    keys: Vec<(PartitionId, RecordKey)>,
    bytes_max: Option<usize>,
) -> Result<ManyRead, Error> {
    among(session, &partitions_of(&keys), &keys, bytes_max).await
}

/// As [`many`], of `partitions`, sorted; none for keys of others.
async fn among(
    session: &mut Session,
    partitions: &[PartitionId],
    keys: &[(PartitionId, RecordKey)],
    bytes_max: Option<usize>,
) -> Result<ManyRead, Error> {
    if keys.len() > KEYS_MAX {
        return Err(Error::refused(READING, "too many keys"));
    }
    if partitions.is_empty() {
        return Ok(ManyRead::default());
    }
    let named = by_name(session, partitions);
    let connection = &mut session.connection;
    let rows = if named { keys_of(connection, partitions, keys, bytes_max).await? } else { None };
    let rows = match rows {
        Some(rows) => rows,
        None => keys_of_parent(connection, partitions, keys, bytes_max).await?,
    };
    many_read(&rows, keys, [FRESHNESS + 1, FRESHNESS + 2])
}

/// The states, numbered -1; then each row that there is, numbered as its key, with whether it exists now.
async fn keys_of(
    connection: &mut PgConnection,
    partitions: &[PartitionId],
    keys: &[(PartitionId, RecordKey)],
    bytes_max: Option<usize>,
) -> Result<Option<Vec<PgRow>>, Error> {
    let states = format!("w.partition IN ({})", listed(partitions));
    let mut parts = Vec::new();
    let mut parameters = Parameters::default();
    for (at, partition) in partitions.iter().enumerate() {
        let own: Vec<(i64, &RecordKey)> =
            (0..).zip(keys).filter(|(_, (of, _))| of == partition).map(|(n, (_, key))| (n, key)).collect();
        parameters = parameters
            .column(&own, |(n, _)| *n)
            .column(&own, |(_, key)| key.tenant())
            .column(&own, |(_, key)| key.key_bytes());
        let [n, tenant, key] = [at * 3 + 1, at * 3 + 2, at * 3 + 3];
        parts.push(format!(
            "SELECT k.n, {} AS live, {KEYLESS} FROM unnest(${n}::bigint[], ${tenant}::text[], ${key}::bytea[]) \
             k (n, tenant, key) JOIN {} kv ON kv.tenant = k.tenant AND kv.key = k.key",
            live(),
            leaf(*partition)
        ));
    }
    let sql = states_and_rows(&states, &parts.join(" UNION ALL "), bytes_max);
    rows_of(connection, parameters, sql).await
}

/// The states, numbered -1; then `rows`, whose values together are at most `bytes_max` but for the first: what is
/// behind is numbered -2 less its number, and has no value.
fn states_and_rows(states: &str, rows: &str, bytes_max: Option<usize>) -> String {
    let (number, keyless, rows) = match bytes_max {
        None => ("kv.n", KEYLESS.to_owned(), rows.to_owned()),
        Some(bytes_max) => (
            "CASE WHEN kv.fits THEN kv.n ELSE -2 - kv.n END",
            KEYLESS.replace("kv.value", "CASE WHEN kv.fits THEN kv.value END"),
            format!(
                "SELECT *, coalesce(sum(octet_length(value)) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 \
                 PRECEDING), 0) < {bytes_max} AS fits FROM ({rows}) r"
            ),
        ),
    };
    format!(
        "SELECT -1::bigint, {}, {} FROM watermark w WHERE {states} \
         UNION ALL SELECT {number}, {}, kv.live, {keyless} FROM ({rows}) kv",
        state(),
        nulls(1 + count(KEYLESS)),
        nulls(FRESHNESS)
    )
}

/// As [`keys_of`], whatever leaves there are.
async fn keys_of_parent(
    connection: &mut PgConnection,
    partitions: &[PartitionId],
    keys: &[(PartitionId, RecordKey)],
    bytes_max: Option<usize>,
) -> Result<Vec<PgRow>, Error> {
    let rows = format!(
        "SELECT k.n - 1 AS n, {} AS live, {KEYLESS} \
         FROM unnest($2::bigint[], $3::text[], $4::bytea[]) WITH ORDINALITY k (partition, tenant, key, n) \
         JOIN kv ON kv.tenant = k.tenant AND kv.key = k.key AND kv.partition = k.partition",
        live()
    );
    let sql = states_and_rows("w.partition = ANY($1)", &rows, bytes_max);
    let parameters = Parameters::default()
        .column(partitions, |partition| number(*partition))
        .column(keys, |(partition, _)| number(*partition))
        .column(keys, |(_, key)| key.tenant())
        .column(keys, |(_, key)| key.key_bytes());
    parameters.query(sql).fetch_all(connection).await.map_err(during(READING))
}

/// Rows and operations that folds need.
pub(super) async fn for_fold(session: &mut Session, wanted: Vec<Wanted>) -> Result<Vec<Found>, Error> {
    let keys: Vec<_> = wanted.iter().flat_map(|w| w.keys.iter().map(|key| (w.partition, key))).collect();
    let mut rows = Vec::with_capacity(keys.len());
    for keys in keys.chunks(KEYS_MAX) {
        rows.extend(full_rows(session, keys).await?);
    }
    let connection = &mut session.connection;
    let ids: Vec<_> = wanted.iter().flat_map(|w| w.operations.iter().map(|id| (w.partition, *id))).collect();
    let mut operations = Vec::new();
    for ids in ids.chunks(KEYS_MAX) {
        let parameters = Parameters::default()
            .column(ids, |(partition, _)| number(*partition))
            .column(ids, |(_, id)| id.0.as_slice());
        let sql = format!(
            "SELECT operation.partition, {OPERATION} FROM unnest($1::bigint[], $2::bytea[]) k (partition, hash) \
             JOIN operation ON operation.partition = k.partition AND operation.hash = k.hash"
        );
        let rows = parameters.query(sql).fetch_all(&mut *connection).await;
        for row in rows.map_err(during("read operations"))? {
            operations.push((decode::partition(&row, 0)?, decode::operation(&row, 1)?));
        }
    }
    Ok(found(&wanted, rows, operations))
}

/// Rows of keys as they are, of partitions that have a copy here if there are few of them.
async fn full_rows(
    session: &mut Session,
    keys: &[(PartitionId, &RecordKey)],
) -> Result<Vec<(PartitionId, Row)>, Error> {
    let mut by_partition: BTreeMap<PartitionId, Vec<&RecordKey>> = BTreeMap::new();
    for (partition, key) in keys {
        by_partition.entry(*partition).or_default().push(key);
    }
    let partitions: Vec<PartitionId> = by_partition.keys().copied().collect();
    let (mut parameters, mut parts) = (Parameters::default(), Vec::new());
    if by_name(session, &partitions) {
        for (at, (partition, keys)) in by_partition.iter().enumerate() {
            parameters = parameters.column(keys, |key| key.tenant()).column(keys, |key| key.key_bytes());
            let [tenant, key] = [at * 2 + 1, at * 2 + 2];
            parts.push(format!(
                "SELECT {KEYED} FROM unnest(${tenant}::text[], ${key}::bytea[]) k (tenant, key) \
                 JOIN {} kv ON kv.tenant = k.tenant AND kv.key = k.key",
                leaf(*partition)
            ));
        }
    } else {
        parameters = parameters
            .column(keys, |(partition, _)| number(*partition))
            .column(keys, |(_, key)| key.tenant())
            .column(keys, |(_, key)| key.key_bytes());
        parts.push(format!(
            "SELECT {KEYED} FROM unnest($1::bigint[], $2::text[], $3::bytea[]) k (partition, tenant, key) \
             JOIN kv ON kv.tenant = k.tenant AND kv.key = k.key AND kv.partition = k.partition"
        ));
    }
    let rows = parameters.query(parts.join(" UNION ALL ")).fetch_all(&mut session.connection).await;
    rows.map_err(during(READING))?.iter().map(|row| decode::keyed(row, 0)).collect()
}

/// A row may change between the index and itself, where the writer is another process: so often it is looked at.
const DUE_LOOKS: u32 = 5;

/// What is due, in the order that a Sweep or Purge takes it, without the values.
pub(super) async fn due(
    session: &mut Session,
    partition: PartitionId,
    due: Due,
    (until, limit): (UnixMillis, u32),
) -> Result<Vec<Row>, Error> {
    for _ in 1..DUE_LOOKS {
        match due_once(session, partition, due, (until, limit)).await {
            Err(Error::Corrupt { .. }) => {}
            done => return done,
        }
    }
    due_once(session, partition, due, (until, limit)).await
}

async fn due_once(
    session: &mut Session,
    partition: PartitionId,
    due: Due,
    (until, limit): (UnixMillis, u32),
) -> Result<Vec<Row>, Error> {
    const DOING: &str = "read what is due";
    let sql = format!(
        "SELECT tenant, key FROM {} WHERE tombstone = $1 AND expires_at <= $2 \
         ORDER BY expires_at, tenant, key LIMIT $3",
        leaf(partition)
    );
    let parameters = Parameters::default().with(due == Due::Tombstones).with(until.0).with(i64::from(limit));
    let found = parameters.query(sql).fetch_all(&mut session.connection).await.map_err(during(DOING))?;
    let keys = found.iter().map(|row| decode::record_key(row, 0)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::with_capacity(keys.len());
    for keys in keys.chunks(DUE_AT_ONCE) {
        let asked: Vec<_> = keys.iter().map(|key| (partition, key)).collect();
        let there = full_rows(session, &asked).await?;
        rows.extend(checked_due(keys, there, until)?);
    }
    Ok(rows)
}
