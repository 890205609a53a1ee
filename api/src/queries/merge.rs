//! What several shards answered of one range, as one page in key order.
//!
//! Pure. Invariant: every row up to [`Merged::cut`] is in the page, none behind it is, and nothing is twice.

use std::cmp::Ordering;

use bytes::Bytes;
use millpond_schemas::{PartitionId, Row};
use millpond_shard::Scanned;

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) rows: Vec<(PartitionId, Row)>,
    /// The last key that the page accounts for; none: all of the range.
    pub(super) cut: Option<Bytes>,
}

/// Rows of several shards, each in order up to its own cut.
pub(super) fn merge(parts: Vec<Scanned>, limit: usize, reverse: bool) -> Merged {
    let order = |one: &[u8], other: &[u8]| {
        let up = one.cmp(other);
        if reverse { up.reverse() } else { up }
    };
    // Behind the first cut some shard may have rows that are not here.
    let cuts = parts.iter().filter_map(|part| part.cut.clone());
    let mut cut = cuts.min_by(|one, other| order(one, other));
    let mut rows: Vec<_> = parts.into_iter().flat_map(|part| part.rows).collect();
    if let Some(cut) = &cut {
        rows.retain(|(_, row)| order(row.key.key_bytes(), cut) != Ordering::Greater);
    }
    rows.sort_by(|(_, one), (_, other)| order(one.key.key_bytes(), other.key.key_bytes()));
    if rows.len() > limit {
        rows.truncate(limit);
        cut = rows.last().map(|(_, row)| row.key.key());
    }
    Merged { rows, cut }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millpond_schemas::{RecordKey, Tenant, UnixMillis, Version};
    use proptest::prelude::*;

    use super::*;

    fn row(key: &[u8]) -> (PartitionId, Row) {
        let key = RecordKey::new(&Tenant::new("t").unwrap(), key).unwrap();
        let row = Row::tombstone(key, Version(0), UnixMillis(0));
        (PartitionId(0), row)
    }

    /// A shard with these keys, of which it looks at so many; behind `after`.
    fn shard(keys: &BTreeSet<Vec<u8>>, looked: usize, after: Option<&Bytes>, reverse: bool) -> Scanned {
        let is_behind = |key: &&Vec<u8>| match after {
            None => true,
            Some(after) if reverse => key[..] < after[..],
            Some(after) => key[..] > after[..],
        };
        let mut keys: Vec<_> = keys.iter().filter(is_behind).collect();
        if reverse {
            keys.reverse();
        }
        let cut = keys.get(looked.wrapping_sub(1)).map(|key| Bytes::copy_from_slice(key));
        keys.truncate(looked);
        Scanned { rows: keys.into_iter().map(|key| row(key)).collect(), cut, freshness: Vec::new() }
    }

    proptest! {
        #[test]
        fn pages_hold_every_row_once_in_order_however_they_are_cut(
            shards in prop::collection::vec(
                (prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..3), 0..30), 1usize..9), 1..4),
            limit in 1usize..9,
            reverse: bool,
        ) {
            let mut own = BTreeSet::new();
            // A key is on one shard.
            let shards: Vec<_> = shards
                .into_iter()
                .map(|(keys, looked)| {
                    let keys: BTreeSet<_> = keys.into_iter().filter(|key| own.insert(key.clone())).collect();
                    (keys, looked)
                })
                .collect();
            let mut expected: Vec<_> = own.into_iter().collect();
            if reverse {
                expected.reverse();
            }
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let parts = shards.iter().map(|(keys, looked)| shard(keys, *looked, after.as_ref(), reverse));
                let page = merge(parts.collect(), limit, reverse);
                prop_assert!(page.rows.len() <= limit);
                seen.extend(page.rows.iter().map(|(_, row)| row.key.key_bytes().to_vec()));
                let Some(cut) = page.cut else { break };
                prop_assert_ne!(Some(&cut), after.as_ref(), "it gets on");
                after = Some(cut);
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
