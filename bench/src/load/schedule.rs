//! When calls are to start: at a rate, whatever becomes of them.
//!
//! Not here: waiting. Invariant: a schedule is fixed before the first call; no answer, early or late, changes it.

use std::time::Duration;

use clap::ValueEnum;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// How starts lie in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Arrival {
    /// Evenly.
    Constant,
    /// As those of many independent clients: a Poisson process.
    Poisson,
}

/// Intended starts, counted from the beginning, in order.
pub(super) struct Schedule {
    arrival: Arrival,
    /// Between two starts in the mean, seconds.
    mean: f64,
    next: f64,
    until: f64,
    random: StdRng,
}

impl Schedule {
    /// `rate` starts a second for so long.
    pub(super) fn new(arrival: Arrival, rate: f64, length: Duration, seed: u64) -> Self {
        let mut schedule = Self {
            arrival,
            mean: 1.0 / rate,
            next: 0.0,
            until: length.as_secs_f64(),
            random: StdRng::seed_from_u64(seed),
        };
        if arrival == Arrival::Poisson {
            schedule.next = schedule.gap();
        }
        schedule
    }

    fn gap(&mut self) -> f64 {
        match self.arrival {
            Arrival::Constant => self.mean,
            // 1 - u is never 0.
            Arrival::Poisson => -(1.0 - self.random.random::<f64>()).ln() * self.mean,
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Half a nanosecond: sums of gaps are not exact.
        let start = self.next;
        if start + 5e-10 >= self.until {
            return None;
        }
        self.next += self.gap();
        Some(Duration::from_secs_f64(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn gaps(arrival: Arrival, seed: u64) -> Vec<f64> {
        let starts: Vec<Duration> = Schedule::new(arrival, 1_000.0, MINUTE, seed).collect();
        assert!(starts.is_sorted() && starts.last() < Some(&MINUTE));
        starts.windows(2).map(|pair| pair[1].as_secs_f64() - pair[0].as_secs_f64()).collect()
    }

    #[test]
    fn constant_starts_lie_evenly() {
        let gaps = gaps(Arrival::Constant, 1);
        assert_eq!(gaps.len(), 59_999);
        assert!(gaps.iter().all(|gap| (gap - 1e-3).abs() < 1e-8));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_a_poisson_process() {
        let gaps = gaps(Arrival::Poisson, 1);
        let count = f64::from(u32::try_from(gaps.len()).expect("a minute's"));
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        assert!((mean - 1e-3).abs() < 2e-5, "mean {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "deviation {}", variance.sqrt());
        assert_ne!(gaps, self::gaps(Arrival::Poisson, 2));
    }
}
