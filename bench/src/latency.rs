//! Latencies as a histogram of microseconds, three digits exact.
//!
//! Invariant: nothing is lost: what is longer than the histogram's range counts as its longest.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Longest latency that is told from longer ones: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// The quantiles that are reported.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// How long calls took.
#[derive(Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are sound"))
    }
}

impl Latencies {
    /// Takes one.
    pub(crate) fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(us.max(1));
    }

    /// Takes all of another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// At least so many of them, 0 to 1, took no longer than this.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    /// The longest.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// How many took at least so long.
    #[cfg(test)]
    pub(crate) fn at_least(&self, latency: Duration) -> u64 {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.count_between(us, LONGEST_US)
    }

    /// For a person.
    pub(crate) fn line(&self) -> String {
        let mut parts: Vec<String> =
            QUANTILES.iter().map(|(name, share)| format!("{name} {:?}", self.quantile(*share))).collect();
        parts.push(format!("max {:?}", self.max()));
        parts.join(" ")
    }

    /// For a program, in microseconds.
    pub(crate) fn json(&self) -> Value {
        let mut object = serde_json::Map::new();
        object.insert("count".to_owned(), json!(self.count()));
        object.insert("mean_us".to_owned(), json!(self.0.mean()));
        for (name, share) in QUANTILES {
            object.insert(format!("{name}_us"), json!(self.0.value_at_quantile(share)));
        }
        object.insert("max_us".to_owned(), json!(self.0.max()));
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_latencies_are_kept() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_millis(5));
        latencies.record(Duration::from_hours(5));
        assert_eq!(latencies.count(), 3);
        assert_eq!(latencies.at_least(Duration::from_millis(5)), 2);
        assert!(latencies.max() >= Duration::from_mins(59));
    }
}
