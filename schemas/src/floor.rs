//! The floor of a partition: up to where its log may be trimmed.
//!
//! Pure. Not here: asking anybody. Invariant: the floor is never above what a copy still needs, the record that a copy
//! compares its digest with included, and never within the youngest 24 hours of the log's own time; where anything is
//! not known, there is no floor.

use std::time::Duration;

use crate::{Offset, UnixMillis, Watermark};

/// Records younger than this are never trimmed: outcomes are told, and ids compared, for as long.
pub const TRIM_AGE_MIN: Duration = Duration::from_hours(24);

/// Where a copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The highest offset applied.
    pub applied: Offset,
    /// The record that is compared with the log: the last real one at or below `applied`.
    pub digest_offset: Offset,
    /// Clamped time of that record.
    pub time: UnixMillis,
}

/// A copy that could be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// None: it does not answer, or has no copy yet.
    pub mark: Option<Mark>,
    /// For how long it has been behind by more than it may be, or silent; zero: it keeps up.
    pub late_for: Duration,
}

/// Who needs records of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Holders<'a> {
    /// The serving copy, as far as it would outlast a power loss. None: it does not answer.
    pub primary: Option<Mark>,
    /// Every replica in the topology.
    pub replicas: &'a [Replica],
    /// The first offsets that other copies, which are being made, still read.
    pub making: &'a [Offset],
    /// How long a replica may be late before it holds nothing any more.
    pub late_max: Duration,
}

impl From<&Watermark> for Mark {
    fn from(watermark: &Watermark) -> Self {
        Self { applied: watermark.applied, digest_offset: watermark.digest_offset, time: watermark.time }
    }
}

impl Mark {
    /// By how much, in the log's time, a copy that stands here is behind another.
    pub fn behind(&self, other: &Self) -> Duration {
        if self.applied >= other.applied {
            return Duration::ZERO;
        }
        Duration::from_millis(other.time.ms_since(self.time))
    }

    /// The first offset that a copy which stands here needs: that of the record which it is compared by.
    fn needs(&self) -> Offset {
        self.digest_offset.max(Offset(0))
    }
}

impl Replica {
    /// Whether it still counts: the log is kept for it.
    pub fn holds(&self, late_max: Duration) -> bool {
        self.late_for <= late_max
    }
}

impl Holders<'_> {
    /// The lowest offset that any of them needs. None: one does not say.
    pub fn floor(&self) -> Option<Offset> {
        let mut floor = self.primary?.needs();
        for replica in self.replicas.iter().filter(|replica| replica.holds(self.late_max)) {
            floor = floor.min(replica.mark?.needs());
        }
        Some(self.making.iter().fold(floor, |floor, offset| floor.min(*offset)).max(Offset(0)))
    }
}

/// Records older than this may be trimmed when none may that is younger than `age`.
///
/// `reached` is the clamped time of the serving copy's watermark. A log that nobody writes to stands still in its own
/// time, and a clock that runs ahead here ages no record.
pub fn cutoff(reached: UnixMillis, now: UnixMillis, age: Duration) -> UnixMillis {
    let age = u64::try_from(age.max(TRIM_AGE_MIN).as_millis()).unwrap_or(u64::MAX);
    UnixMillis(reached.0.min(now.0).saturating_sub_unsigned(age))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn marks() -> impl Strategy<Value = Mark> {
        (-1i64..100, 0i64..3, 0i64..10_000_000).prop_map(|(digest, markers, time)| Mark {
            applied: Offset(digest + markers),
            digest_offset: Offset(digest),
            time: UnixMillis(time),
        })
    }

    fn replicas() -> impl Strategy<Value = Vec<Replica>> {
        let late =
            prop_oneof![Just(Duration::ZERO), Just(HOUR), (0u64..10_000).prop_map(Duration::from_secs)];
        let replica =
            (prop::option::of(marks()), late).prop_map(|(mark, late_for)| Replica { mark, late_for });
        prop::collection::vec(replica, 0..4)
    }

    fn making() -> impl Strategy<Value = Vec<Offset>> {
        prop::collection::vec((0i64..100).prop_map(Offset), 0..3)
    }

    proptest! {
        #[test]
        fn the_floor_is_never_above_what_any_holder_needs(
            primary in prop::option::of(marks()), replicas in replicas(), making in making(),
        ) {
            let holders = Holders { primary, replicas: &replicas, making: &making, late_max: HOUR };
            let holding: Vec<_> = replicas.iter().filter(|replica| replica.late_for <= HOUR).collect();
            let known = primary.is_some() && holding.iter().all(|replica| replica.mark.is_some());
            let Some(floor) = holders.floor() else {
                prop_assert!(!known, "everybody has said what it needs");
                return Ok(());
            };
            prop_assert!(known, "there is a floor although somebody did not say what it needs");
            let marks = primary.into_iter().chain(holding.iter().filter_map(|replica| replica.mark));
            for mark in marks {
                prop_assert!(floor <= mark.digest_offset.max(Offset(0)), "the compared record is gone");
                prop_assert!(floor <= mark.applied.next());
            }
            prop_assert!(making.iter().all(|offset| floor <= *offset));
            prop_assert!(floor >= Offset(0));
        }

        #[test]
        fn a_holder_that_goes_on_never_lowers_the_floor(
            primary in marks(), replicas in replicas(), making in making(), on in 0i64..50, which in 0usize..8,
        ) {
            let ahead = |mark: Mark| Mark {
                applied: Offset(mark.applied.0 + on), digest_offset: Offset(mark.digest_offset.0 + on), ..mark
            };
            let holders = Holders { primary: Some(primary), replicas: &replicas, making: &making, late_max: HOUR };
            let (mut later, mut later_replicas, mut later_making) = (primary, replicas.clone(), making.clone());
            match which {
                0 => later = ahead(primary),
                1..=3 => later_replicas.iter_mut().take(which).for_each(|r| r.mark = r.mark.map(ahead)),
                _ => later_making.iter_mut().for_each(|offset| offset.0 += on),
            }
            let after = Holders { primary: Some(later), replicas: &later_replicas, making: &later_making, late_max: HOUR };
            prop_assert!(after.floor() >= holders.floor());
        }

        #[test]
        fn the_last_24_hours_of_the_log_are_never_cut_off(
            reached in 0i64..1 << 42, now in 0i64..1 << 42, hours in 0u64..1000, later in 0i64..1 << 40,
        ) {
            let day = 24 * 60 * 60 * 1000;
            let age = Duration::from_hours(hours);
            let cut = cutoff(UnixMillis(reached), UnixMillis(now), age);
            prop_assert!(cut.0 <= reached - day, "the log's own time");
            prop_assert!(cut.0 <= now - day, "the clock");
            prop_assert!(cutoff(UnixMillis(reached), UnixMillis(now), age + HOUR) <= cut, "a longer age keeps more");
            prop_assert!(cutoff(UnixMillis(reached + later), UnixMillis(now), age) >= cut);
            prop_assert!(cutoff(UnixMillis(reached), UnixMillis(now + later), age) >= cut);
        }
    }

    fn mark(applied: i64, time: i64) -> Mark {
        Mark { applied: Offset(applied), digest_offset: Offset(applied), time: UnixMillis(time) }
    }

    #[test]
    fn a_replica_holds_the_floor_until_it_has_been_late_for_too_long() {
        let floor = |late_for, mark| {
            let replicas = [Replica { mark, late_for }];
            Holders { primary: Some(self::mark(90, 9)), replicas: &replicas, making: &[], late_max: HOUR }
                .floor()
        };
        let second = Duration::from_secs(1);
        assert_eq!(floor(Duration::ZERO, Some(mark(10, 1))), Some(Offset(10)));
        assert_eq!(floor(HOUR, Some(mark(10, 1))), Some(Offset(10)));
        assert_eq!(floor(HOUR + second, Some(mark(10, 1))), Some(Offset(90)));
        assert_eq!(floor(HOUR, None), None, "it is silent, and may need anything");
        assert_eq!(floor(HOUR + second, None), Some(Offset(90)));
    }

    #[test]
    fn without_the_serving_copy_there_is_no_floor() {
        let replicas = [Replica { mark: Some(mark(10, 1)), late_for: Duration::ZERO }];
        assert_eq!(Holders { primary: None, replicas: &replicas, making: &[], late_max: HOUR }.floor(), None);
    }

    #[test]
    fn an_empty_copy_holds_the_first_record() {
        let primary = Some(mark(-1, 0));
        assert_eq!(Holders { primary, replicas: &[], making: &[], late_max: HOUR }.floor(), Some(Offset(0)));
    }

    #[test]
    fn a_copy_is_behind_only_where_another_has_applied_more() {
        assert_eq!(mark(5, 1000).behind(&mark(9, 4000)), Duration::from_secs(3));
        assert_eq!(mark(9, 1000).behind(&mark(9, 4000)), Duration::ZERO);
        assert_eq!(mark(5, 4000).behind(&mark(9, 1000)), Duration::ZERO);
    }
}
