//! Puts together what was asked for, from what an engine found.
//!
//! Invariant: everything is in the order in which it was asked for.

use std::collections::HashMap;

use bytes::Bytes;
use millpond_schemas::{Operation, PartitionId, RecordKey, Row, UnixMillis};

use crate::{Error, Found, ManyRead, Scan, Scanned, Wanted, columns::Columns, decode};

/// Rows that are due and whose values are in memory at a time, to be checked.
pub(crate) const DUE_AT_ONCE: usize = 64;

/// One [`Found`] for each [`Wanted`], in order.
pub(crate) fn found(
    wanted: &[Wanted],
    rows: Vec<(PartitionId, Row)>,
    operations: Vec<(PartitionId, Operation)>,
) -> Vec<Found> {
    let nothing = |w: &Wanted| Found { partition: w.partition, rows: Vec::new(), operations: Vec::new() };
    let mut found: Vec<Found> = wanted.iter().map(nothing).collect();
    let place: HashMap<PartitionId, usize> = (0..).zip(wanted).map(|(at, w)| (w.partition, at)).collect();
    let at = |partition| place.get(&partition).copied().expect("only what was wanted is found");
    for (partition, row) in rows {
        found[at(partition)].rows.push(row);
    }
    for (partition, operation) in operations {
        found[at(partition)].operations.push(operation);
    }
    found
}

/// The rows of `keys`, in their order, without their values.
pub(crate) fn checked_due(
    keys: &[RecordKey],
    there: Vec<(PartitionId, Row)>,
    until: UnixMillis,
) -> Result<Vec<Row>, Error> {
    let mut there: HashMap<RecordKey, Row> =
        there.into_iter().map(|(_, row)| (row.key.clone(), row)).collect();
    let due = keys.iter().map(|key| {
        let row = there.remove(key).filter(|row| row.expires_at.is_some_and(|at| at <= until));
        let row =
            row.ok_or_else(|| Error::corrupt("read what is due", "the index names a row that is not due"))?;
        Ok(Row { value: row.value.map(|_| Bytes::new()), ..row })
    });
    due.collect()
}

/// The partitions of some keys, by partition.
pub(crate) fn partitions_of(keys: &[(PartitionId, RecordKey)]) -> Vec<PartitionId> {
    let mut partitions: Vec<PartitionId> = keys.iter().map(|(partition, _)| *partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions
}

/// A number comes first. Of a state it is -1, and the state follows; of a row it is its key's place in `keys`, whether
/// it exists now is in the column `live`, and the row begins at `row`; of a row that was too much it is -2 less its
/// key's place.
pub(crate) fn many_read(
    found: &[impl Columns],
    keys: &[(PartitionId, RecordKey)],
    [live, row]: [usize; 2],
) -> Result<ManyRead, Error> {
    let mut read = ManyRead { freshness: Vec::new(), rows: vec![None; keys.len()], cut: None };
    for one in found {
        let number = decode::integer(one, 0)?;
        let place = usize::try_from(number).ok();
        match place.and_then(|place| read.rows.get_mut(place).zip(keys.get(place))) {
            None if number < -1 => {
                let place = usize::try_from(-2 - number).unwrap_or_default();
                read.cut = Some(read.cut.map_or(place, |cut| cut.min(place)));
            }
            None => read.freshness.push(decode::freshness(one, 1)?),
            Some((slot, (partition, key))) => {
                let checked = decode::keyless(one, row, key.clone(), *partition)?;
                *slot = decode::truth(one, live)?.then_some(checked);
            }
        }
    }
    read.freshness.sort_by_key(|freshness| freshness.applied.partition);
    Ok(read)
}

/// Adds the rows that were looked at, in order: first whether they exist now and are wanted, then the row from `at` on,
/// of which only the key counts when it is not wanted.
///
/// The scan is over where a row that exists is not wanted: it was too much.
pub(crate) fn looked_at(
    scanned: &mut Scanned,
    found: &[&impl Columns],
    scan: &Scan,
    at: usize,
) -> Result<(), Error> {
    for one in found {
        let (live, wanted) = (decode::truth(*one, at)?, decode::truth(*one, at + 1)?);
        if live && !wanted {
            return Ok(());
        }
        let key = decode::record_key(*one, at + 3)?;
        scanned.cut = Some(key.key());
        if wanted {
            scanned.rows.push(decode::keyed(*one, at + 2)?);
        }
    }
    if found.len() < scan.looked_max as usize {
        scanned.cut = None;
    }
    Ok(())
}
