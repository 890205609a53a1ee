//! Whether the clock of the log and that of this api are apart, partition by partition: each has a broker of its own.
//!
//! A TTL counts from the record's append time, and an expiry is judged by this api's clock: while they are apart, keys
//! would end at another time than their writers mean. Invariant: what a partition's last ack has shown holds until
//! another one shows otherwise, or for [`HOLDS`]: without other writes, one write then finds out anew.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use millpond_schemas::{Mutation, Op, PartitionId, UnixMillis, limits::TIME_JUMP_MS_MAX};

use crate::{
    problem::{Code, Problem},
    state::State,
};

/// How long an ack is believed.
const HOLDS: Duration = Duration::from_secs(30);

/// What the last ack of each partition has shown.
#[derive(Debug)]
pub(crate) struct Clocks {
    /// Elapsed time of the last ack that was apart, ms, at least 1; 0: the last one was not.
    apart: Box<[AtomicU64]>,
}

impl Clocks {
    pub(crate) fn new(partitions: u32) -> Self {
        Self { apart: (0..partitions).map(|_| AtomicU64::new(0)).collect() }
    }

    /// A record was appended at `time`, as this api learns at `now`. Whether that is news.
    pub(crate) fn acked(
        &self,
        partition: PartitionId,
        [time, now]: [UnixMillis; 2],
        elapsed: impl FnOnce() -> Duration,
    ) -> Option<Apart> {
        let slot = &self.apart[partition.0 as usize];
        let is_apart = is_apart(time, now);
        if !is_apart && slot.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mark = if is_apart { in_ms(elapsed()).max(1) } else { 0 };
        let was_apart = slot.swap(mark, Ordering::Relaxed) != 0;
        (is_apart != was_apart).then_some(if is_apart { Apart::Began } else { Apart::Ended })
    }

    /// Whether a partition's clock is another one.
    pub(crate) fn are_apart(&self, partition: PartitionId, elapsed: Duration) -> bool {
        let mark = self.apart[partition.0 as usize].load(Ordering::Relaxed);
        mark != 0 && in_ms(elapsed).saturating_sub(mark) < in_ms(HOLDS)
    }

    /// How many partitions' last acks were apart, however long ago.
    pub(crate) fn count_apart(&self) -> usize {
        self.apart.iter().filter(|slot| slot.load(Ordering::Relaxed) != 0).count()
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apart {
    Began,
    Ended,
}

impl State {
    /// Refuses what would expire at another time than its writer means.
    ///
    /// # Errors
    /// 503: it is not sent.
    pub(crate) fn judge_clock(&self, mutation: &Mutation) -> Result<(), Problem> {
        let (Op::Put { expiry: Some(_), .. } | Op::Ttl { expiry: Some(_), .. }) = &mutation.op else {
            return Ok(());
        };
        if self.clocks.are_apart(self.partition_of(&mutation.key), self.clock.elapsed()) {
            return Err(Problem::new(Code::ClockSkew, ""));
        }
        Ok(())
    }

    /// Compares an ack's time with this api's; whether they are apart.
    pub(crate) fn compare_clock(&self, partition: PartitionId, [time, now]: [UnixMillis; 2]) -> bool {
        if let Some(apart) = self.clocks.acked(partition, [time, now], || self.clock.elapsed()) {
            let ahead_s = (time.0 - now.0) / 1000;
            let partition = partition.0;
            match apart {
                Apart::Began => tracing::error!(
                    partition,
                    ahead_s,
                    "the log's clock and this one are apart; writes with a TTL are not taken"
                ),
                Apart::Ended => {
                    tracing::warn!(partition, ahead_s, "the log's clock and this one agree again");
                }
            }
        }
        is_apart(time, now)
    }
}

fn is_apart(time: UnixMillis, now: UnixMillis) -> bool {
    time.0.abs_diff(now.0) > TIME_JUMP_MS_MAX
}

fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const P: PartitionId = PartitionId(1);

    #[test]
    fn ten_minutes_are_let_pass_and_more_is_not_either_way() {
        let clocks = Clocks::new(2);
        let elapsed = Duration::from_secs(5);
        for time in [NOW.plus_ms(TIME_JUMP_MS_MAX), UnixMillis(NOW.0 - 600_000)] {
            assert_eq!(clocks.acked(P, [time, NOW], || elapsed), None);
            assert!(!clocks.are_apart(P, elapsed));
        }
        for time in [NOW.plus_ms(TIME_JUMP_MS_MAX + 1), UnixMillis(NOW.0 - 600_001)] {
            assert_eq!(clocks.acked(P, [time, NOW], || elapsed), Some(Apart::Began));
            assert_eq!(clocks.acked(P, [time, NOW], || elapsed), None);
            assert!(clocks.are_apart(P, elapsed) && !clocks.are_apart(PartitionId(0), elapsed));
            assert_eq!(clocks.count_apart(), 1);
            assert_eq!(clocks.acked(P, [NOW, NOW], || elapsed), Some(Apart::Ended));
            assert!(!clocks.are_apart(P, elapsed));
        }
    }

    #[test]
    fn what_no_ack_confirms_is_asked_anew_after_a_while() {
        let clocks = Clocks::new(2);
        clocks.acked(P, [UnixMillis(0), NOW], || Duration::ZERO);
        assert!(clocks.are_apart(P, HOLDS.saturating_sub(Duration::from_secs(1))));
        assert!(!clocks.are_apart(P, HOLDS + Duration::from_secs(1)));
    }
}
