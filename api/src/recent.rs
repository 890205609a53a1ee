//! Which keys were written through this api and may not be applied yet: `curl PUT; curl GET` shows what was put.
//!
//! Invariant: for a key whose write is above the watermark, the answer is never below that write's offset.

use std::collections::{HashMap, VecDeque};

use millpond_schemas::Offset;

/// Most writes of one partition that are remembered one by one.
pub(crate) const RECENT_WRITES_MAX: usize = 4096;

/// Recent writes of one partition, by hash of their key.
#[derive(Debug)]
pub(crate) struct RecentWrites {
    by_key: HashMap<u64, Offset>,
    in_order: VecDeque<(Offset, u64)>,
    /// Highest write that was forgotten for lack of room.
    evicted: Offset,
}

impl RecentWrites {
    pub(crate) fn new() -> Self {
        Self { by_key: HashMap::new(), in_order: VecDeque::new(), evicted: Offset::NONE }
    }

    /// Remembers that a key was written.
    pub(crate) fn wrote(&mut self, key_hash: u64, offset: Offset) {
        if self.in_order.len() >= RECENT_WRITES_MAX
            && let Some((oldest, hash)) = self.in_order.pop_front()
        {
            self.evicted = self.evicted.max(oldest);
            self.forget(oldest, hash);
        }
        let latest = self.by_key.entry(key_hash).or_insert(offset);
        *latest = offset.max(*latest);
        self.in_order.push_back((offset, key_hash));
    }

    /// Forgets what is applied.
    pub(crate) fn applied(&mut self, to: Offset) {
        while let Some((offset, hash)) = self.in_order.front().copied()
            && offset <= to
        {
            self.in_order.pop_front();
            self.forget(offset, hash);
        }
    }

    /// The offset that a read of this key has to have applied.
    pub(crate) fn wanted(&self, key_hash: u64) -> Offset {
        self.by_key.get(&key_hash).copied().unwrap_or(self.evicted)
    }

    fn forget(&mut self, offset: Offset, hash: u64) {
        if self.by_key.get(&hash) == Some(&offset) {
            self.by_key.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_latest_write_of_a_key_is_wanted_until_it_is_applied() {
        let mut recent = RecentWrites::new();
        recent.wrote(1, Offset(10));
        recent.wrote(2, Offset(11));
        recent.wrote(1, Offset(12));
        assert_eq!(
            (recent.wanted(1), recent.wanted(2), recent.wanted(3)),
            (Offset(12), Offset(11), Offset::NONE)
        );
        recent.applied(Offset(11));
        assert_eq!((recent.wanted(1), recent.wanted(2)), (Offset(12), Offset::NONE));
        recent.applied(Offset(12));
        assert_eq!(recent.wanted(1), Offset::NONE);
        assert!(recent.by_key.is_empty() && recent.in_order.is_empty());
    }

    proptest! {
        #[test]
        fn no_write_is_ever_missed_and_memory_is_bounded(
            keys in prop::collection::vec(0u64..6000, RECENT_WRITES_MAX..RECENT_WRITES_MAX + 3000),
            applied in 0i64..3000,
        ) {
            let mut recent = RecentWrites::new();
            for (offset, key) in (0..).zip(&keys) {
                recent.wrote(*key, Offset(offset));
                if offset == applied {
                    recent.applied(Offset(applied));
                }
            }
            prop_assert!(recent.in_order.len() <= RECENT_WRITES_MAX);
            prop_assert!(recent.by_key.len() <= recent.in_order.len());
            for (offset, key) in (0..).zip(&keys).filter(|(offset, _)| *offset > applied) {
                prop_assert!(recent.wanted(*key) >= Offset(offset));
            }
        }
    }
}
