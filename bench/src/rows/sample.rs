//! Stretches of work, the baseline and ours interleaved, and what their comparison says.
//!
//! Invariant: a ratio compares stretches of the same run, ours with the baseline right before and right after it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    cpu::{Cpu, Shares},
    line::Line,
};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What it is compared with.
    Baseline,
    /// Ours.
    Ours,
}

/// What one stretch gave: measures by name. [`RATE`], [`CPU_US`] and more of the row's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    values: BTreeMap<&'static str, f64>,
    shares: Shares,
}

/// Operations per second.
pub(crate) const RATE: &str = "rate";
/// CPU-µs per operation, of all processes.
pub(crate) const CPU_US: &str = "cpu_us";

/// A stretch under way.
pub(crate) struct Stretch {
    began: Instant,
    before: Cpu,
}

impl Stretch {
    /// Starts now.
    pub(crate) fn start() -> Result<Self> {
        let before = Cpu::now()?;
        Ok(Self { began: Instant::now(), before })
    }

    /// Ends now, after so many operations.
    pub(crate) fn end(self, operations: f64) -> Result<Sample> {
        let wall = self.began.elapsed();
        self.end_with(operations, wall)
    }

    /// Ends now; the work itself says that it took `wall`.
    pub(crate) fn end_with(self, operations: f64, wall: Duration) -> Result<Sample> {
        let used = Cpu::now()?.since(&self.before);
        let mut sample = Sample { shares: used.shares(operations), ..Sample::default() };
        sample.set(RATE, operations / wall.as_secs_f64());
        sample.set(CPU_US, used.total().as_secs_f64() * 1e6 / operations);
        Ok(sample)
    }
}

impl Sample {
    /// With these shares and no measure.
    #[cfg(test)]
    pub(crate) fn of_shares(shares: Shares) -> Self {
        Self { shares, ..Self::default() }
    }

    /// A measure.
    pub(crate) fn get(&self, measure: &str) -> f64 {
        self.values.get(measure).copied().unwrap_or(f64::NAN)
    }

    /// Where its CPU time went, µs per operation.
    pub(crate) fn shares(&self) -> Shares {
        self.shares.clone()
    }

    /// Sets a measure.
    pub(crate) fn set(&mut self, measure: &'static str, value: f64) {
        self.values.insert(measure, value);
    }
}

/// All stretches of a row.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Before and after each of ours.
    baseline: Vec<[Sample; 2]>,
    ours: Vec<Sample>,
}

/// What a line tells of some runs.
#[derive(Clone, Copy)]
pub(crate) struct Compared {
    /// Which measure.
    pub(crate) measure: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// Less is better: the ratio is inverted.
    pub(crate) cost: bool,
    /// The ratio to reach.
    pub(crate) target: f64,
}

impl Compared {
    /// Operations per second: more is better.
    pub(crate) fn rate(unit: &'static str, target: f64) -> Self {
        Self { measure: RATE, unit, cost: false, target }
    }

    /// CPU time of all processes: less is better. `times`: what it may cost, in baselines.
    pub(crate) fn cpu(times: f64) -> Self {
        Self { measure: CPU_US, unit: "CPU-µs/op", cost: true, target: 1.0 / times }
    }
}

impl Runs {
    /// Runs baseline, ours, baseline, so many times. The numbers count the stretches of each side.
    pub(crate) async fn interleave(
        repeats: usize,
        mut stretch: impl AsyncFnMut(Side, usize) -> Result<Sample>,
    ) -> Result<Self> {
        let mut runs = Self::default();
        for repeat in 0..repeats {
            let before = stretch(Side::Baseline, 2 * repeat).await?;
            let ours = stretch(Side::Ours, repeat).await?;
            let after = stretch(Side::Baseline, 2 * repeat + 1).await?;
            runs.baseline.push([before, after]);
            runs.ours.push(ours);
        }
        Ok(runs)
    }

    /// The median of a measure of ours.
    pub(crate) fn ours(&self, measure: &str) -> f64 {
        median(self.ours.iter().map(|sample| sample.get(measure)).collect())
    }

    /// The median of a measure of the baseline.
    pub(crate) fn baseline(&self, measure: &str) -> f64 {
        median(self.baseline.iter().flatten().map(|sample| sample.get(measure)).collect())
    }

    /// A line of the table: medians, and the median of the repeats' ratios.
    pub(crate) fn line(&self, stage: &str, compared: Compared) -> Line {
        let Compared { measure, unit, cost, target } = compared;
        let ratio = |([before, after], ours): (&[Sample; 2], &Sample)| {
            let baseline = f64::midpoint(before.get(measure), after.get(measure));
            if cost { baseline / ours.get(measure) } else { ours.get(measure) / baseline }
        };
        let ratios: Vec<f64> = self.baseline.iter().zip(&self.ours).map(ratio).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let line = Line::new(stage, unit, target).measured(
            self.baseline(measure),
            self.ours(measure),
            median(ratios.clone()),
        );
        let line = line.with_shares(self.ours.last().map(Sample::shares).unwrap_or_default());
        if ratios.len() > 1 {
            line.note(format!("{} repeats, {least:.2}-{most:.2}", ratios.len()))
        } else {
            line
        }
    }

    /// Where the CPU time went, in the last stretch of each side.
    pub(crate) fn shares(&self) -> String {
        let last = |sample: Option<&Sample>| sample.map(Sample::shares).unwrap_or_default();
        let baseline = self.baseline.last().map(|[_, after]| after);
        format!("CPU-µs/op: baseline {}; ours {}", last(baseline), last(self.ours.last()))
    }
}

/// The middle one; of an even number the mean of both.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(*value, values[middle - 1]),
        (None, _) => f64::NAN,
    }
}

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "a count of a measurement is far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    fn sample(value: f64) -> Sample {
        let mut sample = Sample::default();
        sample.set(RATE, value);
        sample.set(CPU_US, value);
        sample
    }

    #[tokio::test]
    async fn ours_is_compared_with_the_baselines_around_it() {
        let values = |side, number| match (side, number) {
            (Side::Baseline, number) => [100.0, 200.0, 10.0, 30.0][number],
            (Side::Ours, number) => [75.0, 40.0][number],
        };
        let runs = Runs::interleave(2, async |side, number| Ok(sample(values(side, number)))).await.unwrap();
        let rate = runs.line("x", Compared::rate("/s", 0.9));
        assert_eq!(rate.ratio, Some(f64::midpoint(0.5, 2.0)));
        let cost = runs.line("x", Compared::cpu(1.25));
        assert_eq!((cost.ratio, cost.target), (Some(f64::midpoint(2.0, 0.5)), 0.8));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).total_cmp(&2.0), Ordering::Equal);
        assert_eq!(median(vec![4.0, 1.0]).total_cmp(&2.5), Ordering::Equal);
    }
}
