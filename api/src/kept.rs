//! Outcomes heard lately, for calls that ask after their outcome came.
//!
//! Invariant: bounded in bytes; the oldest go first.

use std::{collections::BTreeMap, mem::size_of, sync::Arc};

use millpond_schemas::{Exception, Offset, Outcome, OutcomeRange};

/// What a range takes beyond its exceptions and keys, bytes: itself, its reference, its place in the map.
const RANGE_BYTES: usize = size_of::<OutcomeRange>() + 64;

/// Recent ranges of one partition, by their first offset.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    ranges: BTreeMap<Offset, Arc<OutcomeRange>>,
    bytes: usize,
}

impl Kept {
    /// Keeps a range, and drops old ones above `bytes_max`.
    pub(crate) fn keep(&mut self, range: Arc<OutcomeRange>, bytes_max: usize) {
        self.bytes += bytes_of(&range);
        if let Some(before) = self.ranges.insert(range.from, range) {
            self.bytes -= bytes_of(&before);
        }
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.ranges.pop_first() else { break };
            self.bytes -= bytes_of(&oldest);
        }
    }

    /// What became of an offset, if its range is kept.
    pub(crate) fn outcome(&self, offset: Offset) -> Option<Outcome> {
        self.ranges.range(..=offset).next_back().and_then(|(_, range)| range.of(offset))
    }
}

/// About what a range takes in memory.
fn bytes_of(range: &OutcomeRange) -> usize {
    let exceptions: usize = range.exceptions.iter().map(exception_bytes).sum();
    let keys: usize = range.expired.iter().map(|key| key.bytes().len() + 64).sum();
    RANGE_BYTES + exceptions + keys
}

fn exception_bytes(exception: &Exception) -> usize {
    size_of::<Exception>() + outcome_bytes(&exception.outcome)
}

fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Applied(Some(effect)) => {
            effect.value.as_ref().map_or(0, bytes::Bytes::len) + effect.content_type.len() + 64
        }
        Outcome::Duplicate { original: Some(original), .. } => size_of::<Outcome>() + outcome_bytes(original),
        Outcome::DeadLettered(refusal) => refusal.detail.len(),
        Outcome::Applied(None) | Outcome::Rejected(_) | Outcome::Duplicate { original: None, .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{Generation, PartitionId, UnixMillis};

    use super::*;

    fn range(from: i64, to: i64) -> Arc<OutcomeRange> {
        Arc::new(OutcomeRange {
            generation: Generation::FIRST,
            partition: PartitionId(0),
            from: Offset(from),
            to: Offset(to),
            time: UnixMillis::EPOCH,
            exceptions: Vec::new(),
            expired: Vec::new(),
        })
    }

    #[test]
    fn only_offsets_inside_a_kept_range_are_answered() {
        let mut kept = Kept::default();
        kept.keep(range(5, 9), usize::MAX);
        kept.keep(range(20, 20), usize::MAX);
        let answered: Vec<i64> = (0..30).filter(|offset| kept.outcome(Offset(*offset)).is_some()).collect();
        assert_eq!(answered, [5, 6, 7, 8, 9, 20]);
    }

    #[test]
    fn the_oldest_go_first_and_bytes_are_counted_back() {
        let mut kept = Kept::default();
        for from in 0..100 {
            kept.keep(range(from, from), 10 * RANGE_BYTES);
        }
        assert_eq!((kept.ranges.len(), kept.bytes), (10, 10 * RANGE_BYTES));
        assert!(kept.outcome(Offset(89)).is_none());
        assert!(kept.outcome(Offset(90)).is_some());
        kept.keep(range(90, 90), 10 * RANGE_BYTES);
        assert_eq!((kept.ranges.len(), kept.bytes), (10, 10 * RANGE_BYTES));
    }
}
