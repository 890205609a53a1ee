//! Which replicas to ask, and in which order.
//!
//! Pure. Invariant: a replica that is fresh comes before one that lags, whatever else is known of them.

use millpond_schemas::{Offset, PartitionId};

use super::marks::Marks;

/// A replica that is not at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Which one.
    pub(super) index: usize,
    /// Records that it is known to have beyond what is wanted, in the partition where that is the least; negative: it
    /// lacks so many.
    pub(super) ahead: i64,
    /// Whether it is in every partition where the primary was, a refresh ago.
    pub(super) fresh: bool,
}

/// Whom to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Known to have reached what is wanted; best first.
    pub(super) reached: Vec<usize>,
    /// May reach it in a moment: about as far as the primary. Freshest first.
    pub(super) close: Vec<usize>,
    /// Far behind what is wanted: asked only when the primary does not answer. Freshest first.
    pub(super) behind: Vec<usize>,
}

impl Candidate {
    /// A replica with these marks, for a read that wants at least these offsets of these partitions.
    pub(super) fn of(index: usize, marks: &Marks, floor: &Marks, want: &[(PartitionId, Offset)]) -> Self {
        let ahead = want.iter().map(|(partition, at_least)| marks.of(*partition).applied.0 - at_least.0);
        let is_fresh = |(partition, _): &(PartitionId, Offset)| {
            marks.of(*partition).applied >= floor.of(*partition).applied
        };
        Self { index, ahead: ahead.min().unwrap_or(0), fresh: want.iter().all(is_fresh) }
    }
}

/// Sorts `candidates` for a read. `turn` rises from read to read, so that those that are equally good take turns.
pub(super) fn plan(mut candidates: Vec<Candidate>, turn: usize) -> Plan {
    if !candidates.is_empty() {
        let turn = turn % candidates.len();
        candidates.rotate_left(turn);
    }
    let mut plan = Plan::default();
    let of = |candidates: &[Candidate]| candidates.iter().map(|candidate| candidate.index).collect();
    let (mut reached, mut short): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.ahead >= 0);
    // Stable: fresh ones keep their turns. The rest: the freshest first.
    reached.sort_by_key(|candidate| {
        let lagging = !candidate.fresh;
        (lagging, if lagging { -candidate.ahead } else { 0 })
    });
    short.sort_by_key(|candidate| -candidate.ahead);
    let (close, behind): (Vec<_>, Vec<_>) = short.into_iter().partition(|candidate| candidate.fresh);
    (plan.reached, plan.close, plan.behind) = (of(&reached), of(&close), of(&behind));
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use millpond_schemas::UnixMillis;

    use super::{super::marks::Mark, *};

    const P0: PartitionId = PartitionId(0);
    const P1: PartitionId = PartitionId(1);

    fn marks(applied: &[i64]) -> Marks {
        let mut marks = Marks::default();
        for (partition, applied) in (0..).zip(applied) {
            marks.set(PartitionId(partition), Mark { applied: Offset(*applied), time: UnixMillis::EPOCH });
        }
        marks
    }

    /// Replicas that have applied so much of a partition in which the primary had 100.
    fn candidates(applied: &[i64], at_least: Offset) -> Vec<Candidate> {
        let of = |(index, applied): (usize, &i64)| {
            Candidate::of(index, &marks(&[*applied]), &marks(&[100]), &[(P0, at_least)])
        };
        applied.iter().enumerate().map(of).collect()
    }

    #[test]
    fn fresh_replicas_take_turns_and_lagging_ones_come_last() {
        let order = |turn| plan(candidates(&[40, 120, 100, 60], Offset::NONE), turn).reached;
        assert_eq!(order(0), [1, 2, 3, 0]);
        assert_eq!(order(2), [2, 1, 3, 0]);
    }

    #[test]
    fn what_is_wanted_decides_before_freshness() {
        let applied = [40, 105, 110, 130];
        let wanted = plan(candidates(&applied, Offset(120)), 0);
        assert_eq!(wanted, Plan { reached: vec![3], close: vec![2, 1], behind: vec![0] });
        let wanted = plan(candidates(&applied, Offset(200)), 0);
        assert_eq!(wanted, Plan { reached: vec![], close: vec![3, 2, 1], behind: vec![0] });
        assert_eq!(plan(Vec::new(), 7), Plan::default());
    }

    #[test]
    fn of_several_partitions_the_one_furthest_behind_counts() {
        let of = |applied: [i64; 2]| {
            Candidate::of(0, &marks(&applied), &marks(&[100, 10]), &[(P0, Offset(90)), (P1, Offset(5))])
        };
        assert_eq!(of([100, 10]), Candidate { index: 0, ahead: 5, fresh: true });
        assert_eq!(of([100, 9]), Candidate { index: 0, ahead: 4, fresh: false });
        assert_eq!(of([80, 90]), Candidate { index: 0, ahead: -10, fresh: false });
    }

    proptest! {
        #[test]
        fn everybody_is_in_the_plan_once(
            applied in prop::collection::vec(-1i64..200, 0..6),
            at_least in -1i64..200,
            turn: usize,
        ) {
            let plan = plan(candidates(&applied, Offset(at_least)), turn);
            let mut all = [plan.reached, plan.close, plan.behind].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..applied.len()).collect::<Vec<_>>());
        }
    }
}
