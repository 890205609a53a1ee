//! Waiters against ranges, watermarks and holes.

use millpond_schemas::{Exception, Generation, PartitionId, Rejected, Rejection};
use proptest::prelude::*;

use super::*;

fn rejected() -> Outcome {
    Outcome::Rejected(Rejected { rejection: Rejection::ConditionFailed, current: None })
}

fn range(from: i64, to: i64, rejected_at: &[i64]) -> OutcomeRange {
    let exception = |offset: &i64| Exception { offset: Offset(*offset), id: None, outcome: rejected() };
    OutcomeRange {
        generation: Generation::FIRST,
        partition: PartitionId(0),
        from: Offset(from),
        to: Offset(to),
        time: UnixMillis(to * 10),
        exceptions: rejected_at.iter().filter(|at| (from..=to).contains(at)).map(exception).collect(),
        expired: Vec::new(),
    }
}

#[test]
fn a_range_resolves_its_own_waiters_and_no_others() {
    let mut partition = Partition::new(usize::MAX);
    let mut waiters: Vec<_> = (0..6).map(|offset| partition.wait_outcome(Offset(offset)).1).collect();
    partition.heard(&Arc::new(range(0, 1, &[]))).wake();
    let woken = partition.heard(&Arc::new(range(3, 4, &[4])));
    assert!(woken.stranded, "offset 2 is committed, and nobody said what became of it");
    woken.wake();
    let told: Vec<_> = waiters.iter_mut().map(|waiter| waiter.try_recv().ok().map(Outcome::from)).collect();
    let plain = Some(Outcome::Applied(None));
    assert_eq!(told, [plain.clone(), plain.clone(), None, plain, Some(rejected()), None]);
    assert_eq!(partition.stranded(), Some((Offset(2), Offset(2))));
    partition.read_outcomes(Offset(2), Offset(2), &[range(2, 2, &[2])]).wake();
    assert_eq!(waiters[2].try_recv().map(Outcome::from), Ok(rejected()));
    assert_eq!(partition.stranded(), None);
}

#[test]
fn a_late_call_is_answered_from_what_is_kept() {
    let mut partition = Partition::new(usize::MAX);
    partition.heard(&Arc::new(range(0, 9, &[3])));
    assert_eq!(partition.outcome(Offset(3)), Some(rejected()));
    assert_eq!(partition.outcome(Offset(4)), Some(Outcome::Applied(None)));
    assert_eq!(partition.outcome(Offset(10)), None);
}

#[test]
fn a_watermark_wakes_who_waits_at_or_below_it() {
    let mut partition = Partition::new(usize::MAX);
    let mut five = partition.wait_applied(Offset(5)).1;
    let mut six = partition.wait_applied(Offset(6)).1;
    partition.read_watermark(Offset(5), UnixMillis(1)).wake();
    assert!(five.try_recv().is_ok());
    assert!(six.try_recv().is_err());
}

#[test]
fn who_leaves_is_forgotten() {
    let mut partition = Partition::new(usize::MAX);
    let (outcome, _receiver) = partition.wait_outcome(Offset(1));
    let (applied, _receiver) = partition.wait_applied(Offset(1));
    assert_eq!(partition.waiting(), 2);
    partition.leave(outcome);
    partition.leave(applied);
    assert_eq!(partition.waiting(), 0);
}

#[test]
fn staleness_counts_from_the_first_record_that_is_not_applied() {
    let mut partition = Partition::new(usize::MAX);
    let now = UnixMillis(5000);
    assert_eq!(partition.staleness_ms(Offset::NONE, UnixMillis::EPOCH, now), 0);
    partition.heard(&Arc::new(range(0, 0, &[])));
    partition.acked(1, Offset(1), UnixMillis(4000));
    partition.acked(2, Offset(2), UnixMillis(4500));
    assert_eq!(partition.staleness_ms(Offset(0), UnixMillis(0), now), 1000);
    assert_eq!(partition.staleness_ms(Offset(1), UnixMillis(4000), now), 1000);
    partition.heard(&Arc::new(OutcomeRange { time: UnixMillis(4500), ..range(1, 2, &[]) }));
    assert_eq!(partition.staleness_ms(Offset(2), UnixMillis(4500), now), 0);
    assert_eq!(partition.staleness_ms(Offset(1), UnixMillis(4000), now), 1000, "a replica that lags");
}

#[test]
fn an_own_write_is_wanted_until_it_is_committed() {
    let mut partition = Partition::new(usize::MAX);
    partition.acked(7, Offset(3), UnixMillis(1));
    assert_eq!(partition.wanted(7), Offset(3));
    partition.heard(&Arc::new(range(0, 3, &[])));
    assert_eq!(partition.wanted(7), Offset::NONE);
    partition.acked(7, Offset(2), UnixMillis(1));
    assert_eq!(partition.wanted(7), Offset::NONE, "an ack that is late is applied already");
}

proptest! {
    /// However ranges are cut, lost and repeated: every waiter gets its own outcome, exactly once.
    #[test]
    fn every_waiter_gets_its_own_outcome(
        cuts in prop::collection::btree_set(1i64..60, 0..12),
        lost in prop::collection::vec(any::<bool>(), 13),
        rejected_at in prop::collection::btree_set(0i64..60, 0..20),
        waits in prop::collection::vec((0i64..60, 0usize..13), 0..60),
    ) {
        let rejected_at: Vec<i64> = rejected_at.into_iter().collect();
        let froms: Vec<i64> = std::iter::once(0).chain(cuts.iter().copied()).collect();
        let tos: Vec<i64> = cuts.iter().map(|cut| cut - 1).chain([59]).collect();
        let mut partition = Partition::new(4096);
        let mut open = Vec::new();
        let mut told = Vec::new();
        for (step, (from, to)) in froms.into_iter().zip(tos).enumerate() {
            for (offset, _) in waits.iter().filter(|(_, at)| *at == step) {
                match partition.outcome(Offset(*offset)) {
                    Some(outcome) => told.push((*offset, outcome)),
                    None => open.push((*offset, partition.wait_outcome(Offset(*offset)).1)),
                }
            }
            if !lost[step] {
                partition.heard(&Arc::new(range(from, to, &rejected_at))).wake();
            }
        }
        partition.read_watermark(Offset(59), UnixMillis(590)).wake();
        if let Some((first, last)) = partition.stranded() {
            let all = [range(0, 30, &rejected_at), range(31, 59, &rejected_at)];
            partition.read_outcomes(first, last, &all).wake();
        }
        prop_assert_eq!(partition.stranded(), None);
        for (offset, mut waiter) in open {
            match waiter.try_recv() {
                Ok(outcome) => told.push((offset, outcome.into())),
                Err(_) => prop_assert!(false, "nobody told {}", offset),
            }
        }
        for (offset, outcome) in told {
            let expected =
                if rejected_at.contains(&offset) { rejected() } else { Outcome::Applied(None) };
            prop_assert_eq!(outcome, expected);
        }
    }
}
