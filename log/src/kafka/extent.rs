//! How much a topic holds, and which of it is old.
//!
//! Brokers tell offsets and times; how many bytes there are they tell only to clients that librdkafka is not. So some
//! records are looked at, and their mean size stands for all. Invariant: a partition whose leader does not answer never
//! counts as old.

use std::{
    sync::{Mutex, MutexGuard, atomic::Ordering},
    time::Duration,
};

use millpond_schemas::{Offset, PartitionId, UnixMillis};
use tokio::time::timeout;

use super::{
    Log,
    ends::{Edge, Seen},
};
use crate::{Error, Extent};

/// Places in what lies there at which records are looked at.
const PLACES: usize = 4;
/// Records that are looked at in each place.
const RUN: i64 = 16;
/// How long looking may take.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// What a record is taken for while none was looked at.
const SIZE_UNKNOWN: u64 = 1024;
/// What a broker keeps of a record besides key, value and headers, about.
const OVERHEAD: u64 = 16;

/// The records that were looked at last.
#[derive(Debug, Default)]
pub(super) struct Sizes(Mutex<Sample>);

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// How many there were of which it was taken.
    of: u64,
    records: u64,
    bytes: u64,
}

impl Sample {
    /// Whether it may not speak for so many: a tenth of them has come or gone since.
    fn is_stale(&self, records: u64) -> bool {
        self.records == 0 || self.of.abs_diff(records) > self.of / 10
    }

    fn size_of(&self, records: u64) -> u64 {
        if self.records == 0 {
            return records.saturating_mul(SIZE_UNKNOWN);
        }
        let all = u128::from(records) * u128::from(self.bytes) / u128::from(self.records);
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

impl Sizes {
    fn sample(&self) -> MutexGuard<'_, Sample> {
        self.0.lock().expect("nothing panics while it holds the sample")
    }
}

impl Log {
    /// As [`crate::Log::older`].
    pub(crate) async fn older(&self, times: &[UnixMillis]) -> Vec<Option<Offset>> {
        assert_eq!(times.len(), self.partitions() as usize, "one time per partition");
        let asked = (0..).map(PartitionId).zip(times);
        // All are asked at once, then awaited.
        let asked: Vec<_> =
            asked.map(|(partition, time)| self.0.ends.asked(partition, Edge::Since(*time))).collect();
        let mut older = Vec::with_capacity(asked.len());
        for answer in asked {
            older.push(answer.await.ok().map(|seen| seen.edge));
        }
        older
    }

    /// As [`crate::Log::extent`].
    pub(crate) async fn extent(&self, from: &[Offset]) -> Result<Extent, Error> {
        assert_eq!(from.len(), self.partitions() as usize, "one offset per partition");
        // All are asked at once, then awaited.
        let asked: Vec<_> =
            (0..self.partitions()).map(|at| self.0.ends.asked(PartitionId(at), Edge::Start)).collect();
        let (mut lying, mut failed, count) = (Vec::new(), Vec::new(), asked.len());
        for ((at, answer), from) in (0..).zip(asked).zip(from) {
            let Seen { edge: start, end } = answer.await.unwrap_or_else(|error| {
                failed.push(error);
                // What was known of it counts on.
                Seen { edge: Offset(0), end: Offset(self.0.known_ends[at as usize].load(Ordering::Acquire)) }
            });
            let from = (*from).max(start);
            if from < end {
                lying.push((PartitionId(at), from, end));
            }
        }
        if failed.len() == count {
            return Err(failed.swap_remove(0));
        }
        let records = lying.iter().map(|(_, from, end)| end.0.abs_diff(from.0)).sum();
        let sample = *self.0.sizes.sample();
        if records > 0 && sample.is_stale(records) {
            let places: Vec<_> = (0..PLACES).map(|_| pick(&lying, rand::random_range(0..records))).collect();
            // One that comes late is tried again by the next call.
            if let Ok(Some(sample)) = timeout(LOOK_MAX, self.look(records, places)).await {
                *self.0.sizes.sample() = sample;
            }
        }
        Ok(Extent { records, bytes: self.0.sizes.sample().size_of(records) })
    }

    /// Looks at some records in each of these places. None: there were none, or they cannot be had.
    async fn look(&self, of: u64, places: Vec<(PartitionId, Offset, Offset)>) -> Option<Sample> {
        let mut sample = Sample { of, ..Sample::default() };
        for (partition, from, end) in places {
            let to = Offset((from.0 + RUN).min(end.0));
            let (records, bytes) = self.standing().sizes(partition, (from, to)).await.ok()?;
            sample.records += records;
            sample.bytes += bytes + records * OVERHEAD;
        }
        (sample.records > 0).then_some(sample)
    }
}

/// The record that so many others come before, and where its partition ends.
fn pick(lying: &[(PartitionId, Offset, Offset)], mut before: u64) -> (PartitionId, Offset, Offset) {
    for (partition, from, end) in lying {
        let records = end.0.abs_diff(from.0);
        if before < records {
            return (*partition, Offset(from.0.saturating_add_unsigned(before)), *end);
        }
        before -= records;
    }
    unreachable!("fewer come before it than there are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_looked_at_has_a_size_and_what_was_has_its_mean() {
        assert_eq!(Sample::default().size_of(10), 10 * SIZE_UNKNOWN);
        let sample = Sample { of: 100, records: 2, bytes: 400 };
        assert_eq!(sample.size_of(10), 2000);
        assert_eq!(Sample { bytes: u64::MAX, ..sample }.size_of(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_sample_speaks_until_a_tenth_has_come_or_gone() {
        let sample = Sample { of: 100, records: 2, bytes: 400 };
        assert!(Sample::default().is_stale(1));
        assert!(!sample.is_stale(90) && !sample.is_stale(110));
        assert!(sample.is_stale(89) && sample.is_stale(111));
    }

    #[test]
    fn every_record_can_be_picked() {
        let lying = [(PartitionId(1), Offset(5), Offset(7)), (PartitionId(4), Offset(0), Offset(1))];
        let picked: Vec<_> = (0..3).map(|before| pick(&lying, before)).collect();
        let [one, other] = [(PartitionId(1), Offset(7)), (PartitionId(4), Offset(1))];
        assert_eq!(
            picked,
            [(one.0, Offset(5), one.1), (one.0, Offset(6), one.1), (other.0, Offset(0), other.1)]
        );
    }
}
