//! For how long each replica has been late.
//!
//! Pure: times are given. Invariant: a replica that was not seen before has been late for no time, so that a sweeper
//! that has just started keeps the log for it.

use std::time::Duration;

/// Replicas by whatever tells one from another.
#[derive(Debug)]
pub(crate) struct Late<T> {
    late_max: Duration,
    known: Vec<One<T>>,
    /// How often a replica has come to be left behind.
    pub(crate) left: u64,
}

#[derive(Debug)]
struct One<T> {
    replica: T,
    /// When it last kept up.
    kept_up: Duration,
    /// Whether it has been late for too long.
    left: bool,
    /// In this round.
    seen: bool,
}

/// What became of a replica in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// For how long it has been late.
    pub(crate) late_for: Duration,
    /// Since this round it has been so for too long, or no longer is.
    pub(crate) changed: Option<bool>,
}

impl<T> Late<T> {
    /// A replica may be late for so long.
    pub(crate) fn new(late_max: Duration) -> Self {
        Self { late_max, known: Vec::new(), left: 0 }
    }

    /// A replica was asked at `now`, and keeps up or does not. `is`: whether it is that one.
    pub(crate) fn note(
        &mut self,
        replica: T,
        is: impl Fn(&T) -> bool,
        (now, keeps_up): (Duration, bool),
    ) -> Noted {
        let at = self.known.iter().position(|one| is(&one.replica)).unwrap_or_else(|| {
            self.known.push(One { replica, kept_up: now, left: false, seen: true });
            self.known.len() - 1
        });
        let one = &mut self.known[at];
        if keeps_up {
            one.kept_up = now;
        }
        one.seen = true;
        let late_for = now.saturating_sub(one.kept_up);
        let left = late_for > self.late_max;
        let changed = (left != one.left).then_some(left);
        one.left = left;
        self.left += u64::from(changed == Some(true));
        Noted { late_for, changed }
    }

    /// A round is over: forgets the replicas that were not in it. How many are left behind.
    pub(crate) fn end_round(&mut self) -> usize {
        self.known.retain_mut(|one| std::mem::take(&mut one.seen));
        self.known.iter().filter(|one| one.left).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_mins(1);

    fn at(late: &mut Late<u8>, replica: u8, now: u64, keeps_up: bool) -> (u64, Option<bool>) {
        let noted = late.note(replica, |other| *other == replica, (Duration::from_secs(now), keeps_up));
        (noted.late_for.as_secs(), noted.changed)
    }

    #[test]
    fn a_replica_is_left_behind_once_when_it_was_late_for_longer_than_it_may() {
        let mut late = Late::new(MAX);
        assert_eq!(at(&mut late, 1, 100, false), (0, None), "it may have kept up until now");
        assert_eq!(at(&mut late, 1, 160, false), (60, None));
        assert_eq!(late.end_round(), 0);
        assert_eq!(at(&mut late, 1, 161, false), (61, Some(true)));
        assert_eq!(at(&mut late, 1, 170, false), (70, None));
        assert_eq!((late.end_round(), late.left), (1, 1));
        assert_eq!(at(&mut late, 1, 171, true), (0, Some(false)));
        assert_eq!((late.end_round(), late.left), (0, 1));
    }

    #[test]
    fn each_replica_has_its_own_time_and_one_that_went_is_forgotten() {
        let mut late = Late::new(MAX);
        at(&mut late, 1, 0, true);
        at(&mut late, 2, 0, true);
        late.end_round();
        assert_eq!(at(&mut late, 1, 50, true), (0, None));
        assert_eq!(at(&mut late, 2, 50, false), (50, None));
        late.end_round();
        at(&mut late, 1, 55, true);
        late.end_round();
        assert_eq!(at(&mut late, 2, 200, false), (0, None), "it is a new one");
    }
}
