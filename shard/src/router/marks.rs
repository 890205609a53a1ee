//! What is known of nodes: how far each has applied every partition, and who owns it.
//!
//! Pure. Invariant: a known watermark rises, but where the node itself contradicts it.

use millpond_schemas::{Offset, PartitionId, UnixMillis, Watermark};

use crate::Freshness;

/// Where a node's copy of a partition was in one of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) partition: PartitionId,
    pub(super) owner: Offset,
    pub(super) mark: Mark,
}

impl From<&Freshness> for Seen {
    fn from(freshness: &Freshness) -> Self {
        let mark = Mark { applied: freshness.applied.offset, time: freshness.time };
        Self { partition: freshness.applied.partition, owner: freshness.owner, mark }
    }
}

impl From<&Watermark> for Seen {
    fn from(watermark: &Watermark) -> Self {
        let mark = Mark { applied: watermark.applied, time: watermark.time };
        Self { partition: watermark.partition, owner: watermark.owner, mark }
    }
}

/// How far a node is known to have applied a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The highest watermark seen.
    pub(super) applied: Offset,
    /// Clamped time of that record.
    pub(super) time: UnixMillis,
}

impl Mark {
    /// Nothing is known.
    pub(super) const NONE: Self = Self { applied: Offset::NONE, time: UnixMillis::EPOCH };
}

/// One node's marks, by partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    pub(super) fn of(&self, partition: PartitionId) -> Mark {
        self.0.get(partition.0 as usize).copied().unwrap_or(Mark::NONE)
    }

    /// The node has been seen here.
    pub(super) fn rise(&mut self, partition: PartitionId, mark: Mark) {
        let slot = self.slot(partition);
        if mark.applied > slot.applied {
            *slot = mark;
        }
    }

    /// The node is here and nowhere else, whatever was seen before.
    pub(super) fn set(&mut self, partition: PartitionId, mark: Mark) {
        *self.slot(partition) = mark;
    }

    /// Partitions of which anything is known.
    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        (0u32..).zip(&self.0).filter(|(_, mark)| **mark != Mark::NONE).map(|(p, _)| PartitionId(p))
    }

    fn slot(&mut self, partition: PartitionId) -> &mut Mark {
        let at = partition.0 as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, Mark::NONE);
        }
        &mut self.0[at]
    }
}

/// The highest Claim by which each partition's copy on the primary is known to have been owned.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners(Vec<Offset>);

impl Owners {
    pub(super) fn rise(&mut self, partition: PartitionId, owner: Offset) {
        let at = partition.0 as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, Offset::NONE);
        }
        self.0[at] = self.0[at].max(owner);
    }

    /// Whether an answer comes from an old timeline.
    ///
    /// An owner is the offset of a Claim in this very partition, and no writer applies a Claim above its own: it
    /// steps down before it. So a copy of this log that has applied the known Claim was owned by it, or by a later
    /// one, when it did; one that has not applied it yet may still show the owner before, and only lags. An answer
    /// at or above the known Claim with an owner below it has applied something else at that offset: records that
    /// the log has lost. It is refused whatever the call asks for. So is a copy that was
    /// rebuilt, until its writer has claimed it. What lags is judged by its watermark alone: up to
    /// there every copy of the log holds the same state, whoever owned it.
    pub(super) fn is_old_timeline(&self, seen: &Seen) -> bool {
        let known = self.0.get(seen.partition.0 as usize).copied().unwrap_or(Offset::NONE);
        seen.owner < known && seen.mark.applied >= known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P7: PartitionId = PartitionId(7);

    fn mark(applied: i64) -> Mark {
        Mark { applied: Offset(applied), time: UnixMillis(applied) }
    }

    #[test]
    fn marks_rise_and_are_lowered_only_by_contradiction() {
        let mut marks = Marks::default();
        assert_eq!(marks.of(P7), Mark::NONE);
        marks.rise(P7, mark(5));
        marks.rise(P7, mark(3));
        assert_eq!(marks.of(P7), mark(5));
        assert_eq!(marks.partitions().collect::<Vec<_>>(), [P7]);
        marks.set(P7, mark(3));
        assert_eq!(marks.of(P7), mark(3));
    }

    #[test]
    fn only_what_has_passed_the_known_claim_under_a_lower_owner_is_an_old_timeline() {
        let mut owners = Owners::default();
        let old = |owners: &Owners, applied, owner| {
            owners.is_old_timeline(&Seen { partition: P7, owner: Offset(owner), mark: mark(applied) })
        };
        assert!(!old(&owners, 100, -1), "nothing is known");
        owners.rise(P7, Offset(50));
        owners.rise(P7, Offset(40));
        for (applied, owner, refused) in [
            (10, 5, false),
            (49, 5, false),
            (50, 5, true),
            (90, 49, true),
            (40, 50, false),
            (50, 50, false),
            (90, 60, false),
        ] {
            assert_eq!(old(&owners, applied, owner), refused, "applied {applied}, owner {owner}");
        }
    }
}
