//! Which keys were written through this api and may not be on every node yet: `curl PUT; curl GET` shows what was put.
//!
//! Invariant: for a key whose write some node may lack, the answer is never below that write's offset, until the write
//! has been on the primary for [`MEMORY_MS`].

use std::collections::{HashMap, VecDeque};

use millpond_schemas::{Offset, UnixMillis};

/// Most writes of one partition that are remembered one by one.
pub(crate) const RECENT_WRITES_MAX: usize = 4096;
/// How long, by the log's clock, a write is remembered that the primary has and some replica has not: what was
/// written before that was not written a moment ago. Longer: behind a replica that stands still, more reads of the
/// primary.
const MEMORY_MS: u64 = 10_000;

/// Recent writes of one partition, by hash of their key.
#[derive(Debug)]
pub(crate) struct RecentWrites {
    by_key: HashMap<u64, Offset>,
    in_order: VecDeque<Write>,
    /// Highest write that was forgotten for lack of room.
    evicted: Option<Write>,
    /// Highest write.
    latest: Offset,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    offset: Offset,
    time: UnixMillis,
    key_hash: u64,
}

/// What nodes have of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// All of them.
    pub(crate) everywhere: Offset,
    /// The primary.
    pub(crate) committed: Offset,
    /// Time of the record there.
    pub(crate) time: UnixMillis,
}

impl Reached {
    /// Whether a write need not be looked for any more.
    fn covers(&self, write: &Write) -> bool {
        let is_old = write.offset <= self.committed && self.time.ms_since(write.time) > MEMORY_MS;
        write.offset <= self.everywhere || is_old
    }
}

impl RecentWrites {
    pub(crate) fn new() -> Self {
        Self { by_key: HashMap::new(), in_order: VecDeque::new(), evicted: None, latest: Offset::NONE }
    }

    /// Remembers that a key was written.
    pub(crate) fn wrote(&mut self, key_hash: u64, offset: Offset, time: UnixMillis) {
        if self.in_order.len() >= RECENT_WRITES_MAX {
            self.make_room();
        }
        let latest = self.by_key.entry(key_hash).or_insert(offset);
        *latest = offset.max(*latest);
        self.in_order.push_back(Write { offset, time, key_hash });
        self.latest = self.latest.max(offset);
    }

    /// Gives up writes that a later one of their key covers; where those are few, the oldest of all.
    fn make_room(&mut self) {
        if self.by_key.len() <= RECENT_WRITES_MAX / 2 {
            self.in_order.retain(|write| self.by_key.get(&write.key_hash) == Some(&write.offset));
        } else if let Some(oldest) = self.in_order.pop_front()
            && self.forget(oldest)
            && self.evicted.is_none_or(|evicted| evicted.offset < oldest.offset)
        {
            self.evicted = Some(oldest);
        }
    }

    /// Forgets what nodes have.
    pub(crate) fn reached(&mut self, reached: Reached) {
        while let Some(write) = self.in_order.front().copied()
            && reached.covers(&write)
        {
            self.in_order.pop_front();
            self.forget(write);
        }
        self.evicted = self.evicted.filter(|evicted| !reached.covers(evicted));
    }

    /// The offset that a read of this key has to have applied.
    pub(crate) fn wanted(&self, key_hash: u64) -> Offset {
        let evicted = || self.evicted.map_or(Offset::NONE, |evicted| evicted.offset);
        self.by_key.get(&key_hash).copied().unwrap_or_else(evicted)
    }

    /// The offset that a read of any keys has to have applied.
    pub(crate) fn wanted_of_any(&self) -> Offset {
        let evicted = self.evicted.map_or(Offset::NONE, |evicted| evicted.offset);
        if self.in_order.is_empty() { evicted } else { self.latest }
    }

    /// Whether it was the latest of its key.
    fn forget(&mut self, write: Write) -> bool {
        let is_latest = self.by_key.get(&write.key_hash) == Some(&write.offset);
        if is_latest {
            self.by_key.remove(&write.key_hash);
        }
        is_latest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: UnixMillis = UnixMillis(1_000_000);

    fn everywhere(to: i64) -> Reached {
        Reached { everywhere: Offset(to), committed: Offset(to), time: T0 }
    }

    #[test]
    fn the_latest_write_of_a_key_is_wanted_until_every_node_has_it() {
        let mut recent = RecentWrites::new();
        recent.wrote(1, Offset(10), T0);
        recent.wrote(2, Offset(11), T0);
        recent.wrote(1, Offset(12), T0);
        assert_eq!(
            (recent.wanted(1), recent.wanted(2), recent.wanted(3)),
            (Offset(12), Offset(11), Offset::NONE)
        );
        recent.reached(Reached { everywhere: Offset(10), committed: Offset(12), time: T0 });
        assert_eq!((recent.wanted(1), recent.wanted(2)), (Offset(12), Offset(11)));
        recent.reached(everywhere(11));
        assert_eq!((recent.wanted(1), recent.wanted(2)), (Offset(12), Offset::NONE));
        assert_eq!(recent.wanted_of_any(), Offset(12));
        recent.reached(everywhere(12));
        assert_eq!((recent.wanted(1), recent.wanted_of_any()), (Offset::NONE, Offset::NONE));
        assert!(recent.by_key.is_empty() && recent.in_order.is_empty());
    }

    #[test]
    fn a_node_that_stands_still_is_not_remembered_for_ever() {
        let mut recent = RecentWrites::new();
        (0..5000).for_each(|offset: i64| recent.wrote(offset.unsigned_abs(), Offset(offset), T0));
        let reached = |committed: i64, ms: u64| Reached {
            everywhere: Offset::NONE,
            committed: Offset(committed),
            time: T0.plus_ms(ms),
        };
        recent.reached(reached(6000, MEMORY_MS));
        assert_eq!((recent.wanted(4999), recent.wanted(8000)), (Offset(4999), Offset(903)));
        recent.reached(reached(4998, MEMORY_MS + 1));
        assert_eq!(
            (recent.wanted(4999), recent.wanted(8000)),
            (Offset(4999), Offset::NONE),
            "the primary lacks one"
        );
        recent.reached(reached(4999, MEMORY_MS + 1));
        assert_eq!(recent.wanted(4999), Offset::NONE);
    }

    #[test]
    fn who_writes_few_keys_often_delays_no_reads_of_others() {
        let mut recent = RecentWrites::new();
        (0..50_000).for_each(|offset: i64| recent.wrote(offset.unsigned_abs() % 1_000, Offset(offset), T0));
        assert_eq!((recent.wanted(999), recent.wanted(1_000)), (Offset(49_999), Offset::NONE));
        assert!(recent.in_order.len() <= RECENT_WRITES_MAX && recent.by_key.len() == 1_000);
    }

    proptest! {
        #[test]
        fn no_write_is_ever_missed_and_memory_is_bounded(
            keys in prop::collection::vec(0u64..6000, RECENT_WRITES_MAX..RECENT_WRITES_MAX + 3000),
            applied in 0i64..3000,
        ) {
            let mut recent = RecentWrites::new();
            for (offset, key) in (0..).zip(&keys) {
                recent.wrote(*key, Offset(offset), T0);
                if offset == applied {
                    recent.reached(everywhere(applied));
                }
            }
            prop_assert!(recent.in_order.len() <= RECENT_WRITES_MAX);
            prop_assert!(recent.by_key.len() <= recent.in_order.len());
            for (offset, key) in (0..).zip(&keys).filter(|(offset, _)| *offset > applied) {
                prop_assert!(recent.wanted(*key) >= Offset(offset));
                prop_assert!(recent.wanted_of_any() >= Offset(offset));
            }
        }
    }
}
