//! The keys that are written most, by a space-saving sketch: so many counters, whatever comes.
//!
//! Not here: any key; only its hash. Invariant: a key that makes up more than a 64th of a window's mutations is among
//! those told; where only a sample is counted, as far as the sample shows it.

use std::time::{Duration, Instant};

use millpond_schemas::{PartitionId, Record};

use crate::copy::Batch;

/// Counters of a window.
const COUNTERS: usize = 64;
/// How long a window is. The last one and the one that goes on are told together.
const WINDOW: Duration = Duration::from_mins(1);
/// In a larger batch not every mutation is counted, but one of each two, three and so on, for as many.
const COUNTED_MAX: usize = 1024;
/// Where a sample's next mutation lies must not keep step with what comes: the golden ratio's bits never repeat.
const UNEVEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hot keys of one process, most written first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hottest {
    /// The time that the counts are of.
    pub window: Duration,
    /// Mutations in it.
    pub mutations: u64,
    /// At most 64.
    pub keys: Vec<HotKey>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// Of its record key, `tenant/key`: [`millpond_schemas::RecordKey::hash`].
    pub hash: u64,
    /// Whose it is.
    pub tenant: String,
    /// Where it belongs.
    pub partition: PartitionId,
    /// Its mutations, about; at most `error` too many.
    pub count: u64,
    /// By how much the count may be too high.
    pub error: u64,
}

impl HotKey {
    fn and(&mut self, other: &Self) {
        self.count += other.count;
        self.error += other.error;
    }
}

/// The windows.
#[derive(Debug)]
pub(crate) struct Hot {
    now: Sketch,
    before: Sketch,
    /// How long the one before was, if there was one.
    before_for: Duration,
    since: Instant,
    /// Moves on with each mutation of a sample.
    place: u64,
}

impl Default for Hot {
    fn default() -> Self {
        let (now, before) = (Sketch::default(), Sketch::default());
        Self { now, before, before_for: Duration::ZERO, since: Instant::now(), place: 0 }
    }
}

/// A window's counters.
#[derive(Debug, Default)]
struct Sketch {
    /// Beside `keys`, so that a search goes over nothing else.
    hashes: Vec<u64>,
    keys: Vec<HotKey>,
    mutations: u64,
}

impl Hot {
    /// Counts the mutations of batches that were applied.
    pub(crate) fn count<'b>(&mut self, batches: impl Iterator<Item = &'b Batch>) {
        self.turn(self.since.elapsed());
        for batch in batches {
            let stride = 1 + batch.entries.len() / COUNTED_MAX;
            for some in batch.entries.chunks(stride) {
                if let Ok(Record::Mutation(mutation)) = &self.one_of(some).decoded {
                    let key = (mutation.key.hash(), mutation.key.tenant(), batch.partition);
                    self.now.add(key, some.len() as u64);
                }
            }
        }
    }

    /// One of them, each as often.
    fn one_of<'e, T>(&mut self, some: &'e [T]) -> &'e T {
        self.place = self.place.wrapping_add(UNEVEN);
        let at = (u128::from(self.place) * some.len() as u128) >> u64::BITS;
        &some[usize::try_from(at).expect("below the length")]
    }

    /// Both windows together.
    pub(crate) fn hottest(&mut self) -> Hottest {
        let elapsed = self.since.elapsed();
        self.turn(elapsed);
        let mut both = Vec::with_capacity(2 * COUNTERS);
        both.extend(self.now.keys.iter().cloned());
        for key in &self.before.keys {
            match both.iter_mut().find(|there| there.hash == key.hash) {
                Some(there) => there.and(key),
                None => both.push(key.clone()),
            }
        }
        both.sort_by_key(|key| std::cmp::Reverse((key.count - key.error, key.hash)));
        both.truncate(COUNTERS);
        Hottest {
            window: self.since.elapsed() + self.before_for,
            mutations: self.now.mutations + self.before.mutations,
            keys: both,
        }
    }

    /// Begins new windows when they are over.
    fn turn(&mut self, elapsed: Duration) {
        if elapsed < WINDOW {
            return;
        }
        let ended = std::mem::take(&mut self.now);
        // Nothing came for a whole window more: what was counted is old.
        let old = elapsed >= 2 * WINDOW;
        self.before = if old { Sketch::default() } else { ended };
        self.before_for = if old { WINDOW } else { elapsed };
        self.since = Instant::now();
    }
}

impl Sketch {
    fn add(&mut self, (hash, tenant, partition): (u64, &str, PartitionId), times: u64) {
        self.mutations += times;
        if let Some(at) = self.hashes.iter().position(|there| *there == hash) {
            self.keys[at].count += times;
            return;
        }
        let new = |count, error| HotKey { hash, tenant: tenant.to_owned(), partition, count, error };
        if self.keys.len() < COUNTERS {
            self.hashes.push(hash);
            self.keys.push(new(times, 0));
            return;
        }
        let least = (0..COUNTERS).min_by_key(|at| self.keys[*at].count).expect("there are counters");
        let error = self.keys[least].count;
        self.hashes[least] = hash;
        self.keys[least] = new(error + times, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(hot: &mut Hot, hash: u64, times: u64) {
        hot.now.add((hash, "t", PartitionId(3)), times);
    }

    #[test]
    fn the_hottest_keys_are_found_among_many() {
        let mut hot = Hot::default();
        for round in 0..10_000u64 {
            add(&mut hot, 1_000_000 + round, 1);
            if round % 10 == 0 {
                add(&mut hot, 7, 2);
            }
            if round % 20 == 0 {
                add(&mut hot, 8, 2);
            }
        }
        let hottest = hot.hottest();
        assert_eq!((hottest.keys.len(), hottest.mutations), (COUNTERS, 13_000));
        let found: Vec<u64> = hottest.keys.iter().take(2).map(|key| key.hash).collect();
        assert_eq!(found, [7, 8]);
        let first = &hottest.keys[0];
        assert!(first.count >= 2000 && first.count - first.error <= 2000, "{first:?}");
        assert_eq!((first.tenant.as_str(), first.partition), ("t", PartitionId(3)));
    }

    #[test]
    fn a_sample_does_not_keep_step_with_keys_that_take_turns() {
        let mut hot = Hot::default();
        for stride in 2..6 {
            let turns: Vec<usize> = (0..stride * 1000).map(|n| n % stride).collect();
            let mut times = vec![0_usize; stride];
            turns.chunks(stride).for_each(|some| times[*hot.one_of(some)] += 1);
            let fair = 1000 / stride;
            assert!(times.iter().all(|times| times.abs_diff(fair) < 50), "{times:?}");
        }
    }

    #[test]
    fn what_was_hot_two_windows_ago_is_forgotten() {
        let mut hot = Hot::default();
        add(&mut hot, 1, 5);
        hot.turn(WINDOW);
        add(&mut hot, 1, 2);
        let hottest = hot.hottest();
        assert_eq!((hottest.keys[0].count, hottest.mutations), (7, 7));
        assert!(hottest.window >= WINDOW);
        hot.turn(WINDOW);
        assert_eq!(hot.hottest().keys[0].count, 2);
        hot.turn(2 * WINDOW);
        assert_eq!(hot.hottest().keys, []);
    }
}
