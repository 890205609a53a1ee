//! Reads from the shard what folds need.
//!
//! Invariant: one query for the rows and operations of all partitions together, none when nothing is asked.

use std::collections::HashMap;

use millpond_fold::{DueKind, Given, Needs};
use millpond_schemas::PartitionId;
use millpond_shard::{Due, Error, Shard, Wanted};

/// Answers each of `needed`, in order; the partitions are different ones of this shard.
pub(crate) async fn read(shard: &Shard, needed: &[(PartitionId, Needs)]) -> Result<Vec<Given>, Error> {
    let mut givens: Vec<Given> = needed.iter().map(|(_, needs)| asked(needs)).collect();
    let wanted: Vec<Wanted> = needed.iter().map(wanted).collect();
    if wanted.iter().any(|one| !one.keys.is_empty() || !one.operations.is_empty()) {
        for (given, found) in givens.iter_mut().zip(shard.rows_for_fold(wanted).await?) {
            given.rows.extend(found.rows.into_iter().map(|row| (row.key.clone(), Some(row))));
            given
                .operations
                .extend(found.operations.into_iter().map(|operation| (operation.hash, operation)));
        }
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

/// Every key that is asked for, as absent until it is found.
fn asked(needs: &Needs) -> Given {
    let rows = needs.keys.iter().map(|key| (key.clone(), None)).collect();
    Given { rows, operations: HashMap::new(), due: Vec::new() }
}

fn wanted((partition, needs): &(PartitionId, Needs)) -> Wanted {
    Wanted { partition: *partition, keys: needs.keys.clone(), operations: needs.operations.clone() }
}
