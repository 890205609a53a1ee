//! How many records of one partition go into the next flush of a shard.
//!
//! Invariant: a transaction that the shard does not finish in time is not tried at the same size for ever.

use std::time::Duration;

use crate::Config;

/// The fewest records that a shard gets per flush for being slow.
const RECORDS_MIN: usize = 64;

/// Adapts to the shard's speed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace(usize);

impl Pace {
    pub(crate) fn new(config: &Config) -> Self {
        Self(config.flush_records_max)
    }

    /// Most records of one partition.
    pub(crate) fn records_max(self) -> usize {
        self.0
    }

    /// A transaction was committed: they are to take about as long as wanted.
    pub(crate) fn took(&mut self, time: Duration, config: &Config) {
        let most = config.flush_records_max;
        self.0 = if time > config.flush_time_max {
            (self.0 / 2).max(RECORDS_MIN.min(self.0))
        } else {
            (self.0 + self.0 / 8 + 1).min(most)
        };
    }

    /// A transaction has failed: perhaps it was more than fits the time that it may take.
    pub(crate) fn failed(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_make_flushes_ever_smaller_and_fast_ones_let_them_grow_again() {
        let config = Config::default();
        let mut pace = Pace::new(&config);
        (0..20).for_each(|_| pace.failed());
        assert_eq!(pace.records_max(), 1);
        pace.took(config.flush_time_max * 2, &config);
        assert_eq!(pace.records_max(), 1, "a slow one is no reason for more");
        (0..100).for_each(|_| pace.took(Duration::ZERO, &config));
        assert_eq!(pace.records_max(), config.flush_records_max);
        (0..20).for_each(|_| pace.took(config.flush_time_max * 2, &config));
        assert_eq!(pace.records_max(), RECORDS_MIN);
    }
}
