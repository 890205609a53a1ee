//! Ranges read: one tenant's rows in key order over several leaves.
//!
//! A `MergeAppend` over the leaves' primary keys feeds a window that counts rows and bytes, so that nothing is read for
//! nothing but keys. Invariant: rows, watermark and owner of one answer come from one statement, so from one state.

use bytes::Bytes;
use millpond_schemas::PartitionId;
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    parameters::{Parameters, leaf},
    session::Session,
    states::{count, live, nulls, rows_of, state},
    watermark,
};
use crate::{
    Error, Scan, Scanned,
    assemble::looked_at,
    decode::{self, FRESHNESS, KEYED},
    error::no_copy,
};

/// Above every key: longer than any, of the highest byte.
const KEY_END: [u8; 1025] = [0xff; 1025];

/// Rows of one tenant in key order, with the state of each partition.
pub(super) async fn range(
    session: &mut Session,
    mut partitions: Vec<PartitionId>,
    scan: Scan,
) -> Result<Scanned, Error> {
    partitions.sort_unstable();
    partitions.dedup();
    let connection = &mut session.connection;
    let mut scanned = Scanned::default();
    if partitions.is_empty() {
        return Ok(scanned);
    }
    let found = match range_of(connection, &partitions, &scan).await? {
        Some(found) => found,
        None => {
            let there = copied(connection, &partitions).await?;
            if there.is_empty() {
                return Ok(scanned);
            }
            range_of(connection, &there, &scan).await?.ok_or_else(|| no_copy("read rows"))?
        }
    };
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        if decode::maybe_integer(row, 0)?.is_some() {
            scanned.freshness.push(decode::freshness(row, 0)?);
        } else {
            rows.push(row);
        }
    }
    scanned.freshness.sort_by_key(|freshness| freshness.applied.partition);
    looked_at(&mut scanned, &rows, &scan, FRESHNESS)?;
    Ok(scanned)
}

/// Those with a copy here.
async fn copied(
    connection: &mut PgConnection,
    partitions: &[PartitionId],
) -> Result<Vec<PartitionId>, Error> {
    let there = watermark::of(connection, partitions).await?;
    Ok(there.into_iter().map(|watermark| watermark.partition).collect())
}

/// The states of all partitions, then rows: two parts of one statement, each with NULL in the columns of the other.
async fn range_of(
    connection: &mut PgConnection,
    partitions: &[PartitionId],
    scan: &Scan,
) -> Result<Option<Vec<PgRow>>, Error> {
    let end = scan.end.as_ref().map_or(KEY_END.as_slice(), Bytes::as_ref);
    let parameters = Parameters::default()
        .with(scan.tenant.as_str())
        .with(scan.start.as_ref())
        .with(end)
        .with(i64::from(scan.looked_max))
        .with(i64::from(scan.limit))
        .with(i64::try_from(scan.bytes_max).unwrap_or(i64::MAX));
    rows_of(connection, parameters, sql(partitions, scan.reverse)).await
}

/// A row that was looked at comes with whether it exists now, and whether it is wanted; only then with its value.
fn sql(partitions: &[PartitionId], reverse: bool) -> String {
    let order = if reverse { "DESC" } else { "ASC" };
    // Without the tenant, and once more in each leaf: only so is it a merge of index scans, whatever Postgres
    // knows of a leaf. By its statistics it would rather sort all that is in the range.
    let order = format!("key {order}, partition {order}");
    let listed = partitions.iter().map(PartitionId::to_string).collect::<Vec<_>>().join(", ");
    let leaves: Vec<String> = partitions
        .iter()
        .map(|partition| {
            format!(
                "(SELECT {KEYED}, {} AS live FROM {} kv WHERE kv.tenant = $1 AND kv.key >= $2 AND kv.key < $3 \
                 ORDER BY {order} LIMIT $4)",
                live(),
                leaf(*partition)
            )
        })
        .collect();
    format!(
        "SELECT {}, {} FROM watermark w WHERE w.partition IN ({listed}) UNION ALL \
         SELECT {}, kv.live, kv.wanted, {} FROM ( \
         SELECT *, live AND count(*) FILTER (WHERE live) OVER w <= $5 AND coalesce(sum(octet_length(value)) \
         FILTER (WHERE live) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < $6 AS wanted \
         FROM (SELECT * FROM ({}) r ORDER BY {order} LIMIT $4) r WINDOW w AS (ORDER BY {order})) kv",
        state(),
        nulls(2 + count(KEYED)),
        nulls(FRESHNESS),
        KEYED.replace("kv.value", "CASE WHEN kv.wanted THEN kv.value END"),
        leaves.join(" UNION ALL ")
    )
}
