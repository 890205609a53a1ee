//! What folds and sweeps need to know: rows whole, operations, what is due.
//!
//! Not here: rows for readers (`keys.rs`, `range.rs`). Leaves are named where they can be: a statement on their parent
//! opens and locks all of them each time.
//! Invariant: a row is given as it is stored, tombstone or expired or not.

use std::collections::BTreeMap;

use millpond_schemas::{PartitionId, RecordKey, Row, UnixMillis};

use super::{
    error::during,
    parameters::{Parameters, leaf, number},
    session::Session,
    states::READING,
};
use crate::{
    Due, Error, Found, KEYS_MAX, Wanted,
    assemble::{DUE_AT_ONCE, checked_due, found},
    decode::{self, KEYED, OPERATION},
};

/// Partitions up to which a connection names leaves together: each set of them is a statement to prepare, which costs
/// ten times its run, and of more partitions there are too many sets. Then their parent is asked.
const TOGETHER_MAX: usize = 8;

/// Whether a statement should name the leaves of these partitions, not their parent.
fn by_name(session: &mut Session, partitions: &[PartitionId]) -> bool {
    session.asked.extend(partitions);
    partitions.len() == 1 || session.asked.len() <= TOGETHER_MAX
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
