//! Reads from the shard what folds need.
//!
//! Invariant: one query for the rows and operations of all partitions together while rows are few or small, none when
//! nothing is asked; never more rows in memory than [`ROW_BYTES_MAX`] and one query bring.

use millpond_fold::{DueKind, Given, Needs};
use millpond_schemas::{PartitionId, RecordKey, Row};
use millpond_shard::{Due, Error, Shard, Wanted};

/// Bytes of values that the folds of one step may hold.
const ROW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of values that one query may bring, were all of them as long as they can be.
const QUERY_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Answers each of `needed`, in order; the partitions are different ones of this shard.
///
/// Of each the first keys are answered, at least one; the last ones may have no entry in [`Given::rows`].
pub(crate) async fn read(
    shard: &Shard,
    needed: &[(PartitionId, Needs)],
    value_bytes_max: u64,
) -> Result<Vec<Given>, Error> {
    let mut givens: Vec<Given> = needed.iter().map(|_| Given::default()).collect();
    let at_once = usize::try_from(QUERY_BYTES_MAX / value_bytes_max.max(1)).unwrap_or(usize::MAX);
    let each = (at_once / needed.len().max(1)).max(1);
    let (mut bytes, mut first) = (0, 0);
    while bytes < ROW_BYTES_MAX {
        let wanted: Vec<Wanted> = needed.iter().map(|needed| wanted(needed, first, each)).collect();
        if wanted.iter().all(|one| one.keys.is_empty() && one.operations.is_empty()) {
            break;
        }
        for (given, wanted) in givens.iter_mut().zip(&wanted) {
            // Absent until it is found.
            given.rows.extend(wanted.keys.iter().map(|key| (key.clone(), None)));
        }
        for (given, found) in givens.iter_mut().zip(shard.rows_for_fold(wanted).await?) {
            bytes += found.rows.iter().map(row_bytes).sum::<usize>();
            given.rows.extend(found.rows.into_iter().map(|row| (row.key.clone(), Some(row))));
            given
                .operations
                .extend(found.operations.into_iter().map(|operation| (operation.hash, operation)));
        }
        first += each;
    }
    for (given, (partition, needs)) in givens.iter_mut().zip(needed) {
        if let Some(due) = needs.due {
            let kind = match due.kind {
                DueKind::Rows => Due::Rows,
                DueKind::Tombstones => Due::Tombstones,
            };
            given.due = shard.due(*partition, kind, due.until, due.rows_max).await?;
        }
    }
    Ok(givens)
}

fn row_bytes(row: &Row) -> usize {
    row.key.bytes().len() + row.value.as_ref().map_or(0, bytes::Bytes::len)
}

/// The keys from `first` on, at most `most`; the operations with the first of them.
fn wanted((partition, needs): &(PartitionId, Needs), first: usize, most: usize) -> Wanted {
    let keys: Vec<RecordKey> = needs.keys.iter().skip(first).take(most).cloned().collect();
    let operations = if first == 0 { needs.operations.clone() } else { Vec::new() };
    Wanted { partition: *partition, keys, operations }
}
