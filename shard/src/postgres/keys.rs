//! Rows of keys, with the states of their partitions.
//!
//! One key alone is joined to its state. Keys of one tenant in neighbouring partitions are looked up leaf by leaf. All
//! others are joined to the leaves' parent, of which each statement opens and locks all.
//! Invariant: rows, watermark and owner of one answer come from one statement, so from one state.

use millpond_schemas::{PartitionId, RecordKey};
use sqlx::postgres::PgRow;

use super::{
    error::during,
    parameters::{Parameters, leaf, number},
    session::Session,
    states::{READING, count, live, nulls, rows_of, state},
};
use crate::{
    Error, KEYS_MAX, ManyRead, Snapshot,
    assemble::{many_read, partitions_of},
    decode::{self, FRESHNESS, KEYLESS},
    error::no_copy,
};

/// Partitions that are neighbours. A statement over several names all the leaves of its neighbourhood that the connection
/// has met: an empty one costs some µs, where each new set of leaves is a statement to prepare, for ten times its run.
const NEIGHBOURS: u32 = 8;

/// Partitions of one neighbourhood are cheapest read together.
pub(crate) fn neighbourhood(partition: PartitionId) -> u32 {
    partition.0 / NEIGHBOURS
}

/// Rows of keys, with the state of the copy.
pub(super) async fn of_partition(
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

/// As [`many`], of `partitions`, sorted.
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
    match by_leaf(session, partitions, keys, bytes_max).await? {
        Some(read) => Ok(read),
        None => by_parent(session, partitions, keys, bytes_max).await,
    }
}

/// None where it cannot be done: several tenants, partitions that are no neighbours, a leaf that is not there, or values
/// so large that all together may be too much.
async fn by_leaf(
    session: &mut Session,
    partitions: &[PartitionId],
    keys: &[(PartitionId, RecordKey)],
    bytes_max: Option<usize>,
) -> Result<Option<ManyRead>, Error> {
    let Some((_, first)) = keys.first() else { return Ok(None) };
    let near = neighbourhood(partitions[0]);
    if partitions.iter().any(|partition| neighbourhood(*partition) != near)
        || keys.iter().any(|(_, key)| key.tenant() != first.tenant())
    {
        return Ok(None);
    }
    session.met.extend(partitions);
    let leaves: Vec<PartitionId> = match partitions {
        [_] => partitions.to_vec(),
        _ => session.met.iter().copied().filter(|leaf| neighbourhood(*leaf) == near).collect(),
    };
    let value_bytes_max = bytes_max.and_then(|bytes_max| i64::try_from(bytes_max / keys.len()).ok());
    let sorted = Sorted::of(keys);
    let (parameters, parts) = sorted.parts(&leaves, value_bytes_max.unwrap_or(i64::MAX));
    let parameters = parameters.column(partitions, |partition| number(*partition));
    let sql = format!(
        "SELECT -1::bigint, {}, {} FROM watermark w WHERE w.partition = ANY(${}) UNION ALL {parts}",
        state(),
        nulls(3 + count(KEYLESS)),
        leaves.len() + 3
    );
    match rows_of(&mut session.connection, parameters, sql).await? {
        Some(found) => sorted.assemble(&found),
        None => {
            session.met.retain(|leaf| !leaves.contains(leaf));
            Ok(None)
        }
    }
}

/// Places of keys, sorted by partition and key: a key may be asked for more than once, and is found once.
struct Sorted<'k> {
    keys: &'k [(PartitionId, RecordKey)],
    places: Vec<usize>,
}

impl<'k> Sorted<'k> {
    fn of(keys: &'k [(PartitionId, RecordKey)]) -> Self {
        let mut places: Vec<usize> = (0..keys.len()).collect();
        places.sort_unstable_by_key(|place| &keys[*place]);
        Self { keys, places }
    }

    fn of_partition(&self, partition: PartitionId) -> &[usize] {
        let from = self.places.partition_point(|place| self.keys[*place].0 < partition);
        let to = self.places.partition_point(|place| self.keys[*place].0 <= partition);
        &self.places[from..to]
    }

    /// The rows of each leaf, without values of more than `value_bytes_max`.
    fn parts(&self, leaves: &[PartitionId], value_bytes_max: i64) -> (Parameters, String) {
        let tenant = self.keys.first().map_or("", |(_, key)| key.tenant());
        let mut parameters = Parameters::default().with(tenant).with(value_bytes_max);
        let keyless = KEYLESS.replace("kv.value", "CASE WHEN octet_length(kv.value) <= $2 THEN kv.value END");
        let mut parts = Vec::with_capacity(leaves.len());
        for (parameter, partition) in (3..).zip(leaves) {
            parameters = parameters.column(self.of_partition(*partition), |at| self.keys[*at].1.key_bytes());
            parts.push(format!(
                "SELECT kv.partition, {}, kv.key, {}, (octet_length(kv.value) > $2) IS TRUE, {keyless} \
                 FROM {} kv WHERE kv.tenant = $1 AND kv.key = ANY(${parameter})",
                nulls(FRESHNESS),
                live(),
                leaf(*partition)
            ));
        }
        (parameters, parts.join(" UNION ALL "))
    }

    /// Of a state the number is -1, and the state follows. Of a row it is its partition; behind the state's columns are
    /// its key, whether it exists now, whether its value is left out, and the row. None: one is left out.
    fn assemble(&self, found: &[PgRow]) -> Result<Option<ManyRead>, Error> {
        const KEY: usize = 1 + FRESHNESS;
        const LIVE: usize = KEY + 1;
        const LEFT_OUT: usize = KEY + 2;
        const ROW: usize = KEY + 3;
        let mut read = ManyRead { freshness: Vec::new(), rows: vec![None; self.keys.len()], cut: None };
        for one in found {
            if decode::integer(one, 0)? == -1 {
                read.freshness.push(decode::freshness(one, 1)?);
                continue;
            }
            if decode::truth(one, LEFT_OUT)? {
                return Ok(None);
            }
            let of = decode::partition(one, 0)?;
            let key = decode::key(one, KEY)?;
            let here = self.of_partition(of);
            let here = &here[here.partition_point(|place| self.keys[*place].1.key_bytes() < key)..];
            let same = here.iter().take_while(|place| self.keys[**place].1.key_bytes() == key);
            let mut checked = None;
            for place in same {
                let row = match checked.take() {
                    Some(row) => row,
                    None => decode::keyless(one, ROW, self.keys[*place].1.clone(), of)?,
                };
                read.rows[*place] = decode::truth(one, LIVE)?.then(|| row.clone());
                checked = Some(row);
            }
        }
        read.freshness.sort_by_key(|freshness| freshness.applied.partition);
        Ok(Some(read))
    }
}

/// The states, numbered -1; then each row that there is, numbered as its key, with whether it exists now. Their values
/// together are at most `bytes_max` but for the first: what is behind is numbered -2 less its number, and has no value.
async fn by_parent(
    session: &mut Session,
    partitions: &[PartitionId],
    keys: &[(PartitionId, RecordKey)],
    bytes_max: Option<usize>,
) -> Result<ManyRead, Error> {
    let rows = format!(
        "SELECT k.n - 1 AS n, {} AS live, {KEYLESS} \
         FROM unnest($2::bigint[], $3::text[], $4::bytea[]) WITH ORDINALITY k (partition, tenant, key, n) \
         JOIN kv ON kv.tenant = k.tenant AND kv.key = k.key AND kv.partition = k.partition",
        live()
    );
    let (number_of, keyless, rows) = match bytes_max {
        None => ("kv.n", KEYLESS.to_owned(), rows),
        Some(bytes_max) => (
            "CASE WHEN kv.fits THEN kv.n ELSE -2 - kv.n END",
            KEYLESS.replace("kv.value", "CASE WHEN kv.fits THEN kv.value END"),
            format!(
                "SELECT *, coalesce(sum(octet_length(value)) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 \
                 PRECEDING), 0) < {bytes_max} AS fits FROM ({rows}) r"
            ),
        ),
    };
    let sql = format!(
        "SELECT -1::bigint, {}, {} FROM watermark w WHERE w.partition = ANY($1) \
         UNION ALL SELECT {number_of}, {}, kv.live, {keyless} FROM ({rows}) kv",
        state(),
        nulls(1 + count(KEYLESS)),
        nulls(FRESHNESS)
    );
    let parameters = Parameters::default()
        .column(partitions, |partition| number(*partition))
        .column(keys, |(partition, _)| number(*partition))
        .column(keys, |(_, key)| key.tenant())
        .column(keys, |(_, key)| key.key_bytes());
    let found = parameters.query(sql).fetch_all(&mut session.connection).await.map_err(during(READING))?;
    many_read(&found, keys, [FRESHNESS + 1, FRESHNESS + 2])
}
