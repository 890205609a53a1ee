//! How evenly keys fall on partitions and shards: operations of the busiest, over their mean. Computed, not measured.
//!
//! Invariant: the load generator's own keys, the partition function of the log, and the placement that `millpond init`
//! writes: partition p lies on shard p mod shards.

use anyhow::Result;
use millpond_schemas::{RecordKey, Tenant};

use super::{
    Grown,
    chart::{Chart, Scale, Series},
    table::{Table, cell},
};
use crate::{
    keys::{Distribution, Keys, THETA},
    load::key,
    progress::Steps,
    rows::Plan,
};

const KEYS: u64 = 1_000_000;
const PARTITIONS: [u32; 2] = [8, 64];
const SHARDS: [u32; 2] = [2, 4];
const DISTRIBUTIONS: [Distribution; 2] = [Distribution::Uniform, Distribution::Zipf];

/// Of one kind of keys on one layout.
struct Spread {
    distribution: Distribution,
    partitions: u32,
    /// None: over the partitions themselves.
    shards: Option<u32>,
    /// Of the busiest one, over the mean.
    ratio: f64,
}

/// Every kind of keys, on partitions, and on shards.
pub(super) fn measure(plan: &Plan) -> Result<Grown> {
    let operations: u64 = plan.pick(1_000_000, 20_000_000);
    let bar = Steps::show("balance", DISTRIBUTIONS.len() * PARTITIONS.len());
    let mut table = Table::new(["keys", "partitions", "over", "count", "max_over_mean"]);
    table.comment(format!("{operations} operations on {KEYS} keys, computed"));
    table.comment("partition p lies on shard p mod shards: where shards divide both numbers of partitions they get the same");
    let mut spreads = Vec::new();
    for distribution in DISTRIBUTIONS {
        for partitions in PARTITIONS {
            bar.at(format!("{distribution:?}, {partitions} partitions"));
            let counts = counts((distribution, plan.seed), partitions, operations)?;
            let made = spread(distribution, &counts);
            let lines: Vec<String> = made.iter().map(Spread::text).collect();
            bar.done(&lines.join("\n"));
            spreads.extend(made);
        }
    }
    for spread in &spreads {
        table.row(spread.cells());
    }
    Ok(Grown { table, chart: chart(&spreads) })
}

/// Operations of each partition.
fn counts((distribution, seed): (Distribution, u64), partitions: u32, operations: u64) -> Result<Vec<u64>> {
    let (mut keys, tenant) = (Keys::new(distribution, KEYS, seed), Tenant::new("default")?);
    let mut counts = vec![0; usize::try_from(partitions)?];
    for _ in 0..operations {
        let partition = RecordKey::new(&tenant, key(keys.next()).as_bytes())?.partition(partitions);
        counts[usize::try_from(partition.0)?] += 1;
    }
    Ok(counts)
}

fn spread(distribution: Distribution, counts: &[u64]) -> Vec<Spread> {
    let partitions = u32::try_from(counts.len()).expect("partitions are few");
    let one = |shards: Option<u32>| {
        let ratio = match shards {
            None => max_over_mean(counts),
            Some(shards) => max_over_mean(&on_shards(counts, shards)),
        };
        Spread { distribution, partitions, shards, ratio }
    };
    std::iter::once(None).chain(SHARDS.map(Some)).map(one).collect()
}

fn on_shards(counts: &[u64], shards: u32) -> Vec<u64> {
    let shards = usize::try_from(shards).expect("shards are few");
    (0..shards).map(|shard| counts.iter().skip(shard).step_by(shards).sum()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a count is far below 2^52")]
fn max_over_mean(counts: &[u64]) -> f64 {
    let sum: u64 = counts.iter().sum();
    counts.iter().copied().max().unwrap_or_default() as f64 * counts.len() as f64 / sum as f64
}

impl Spread {
    fn count(&self) -> u32 {
        self.shards.unwrap_or(self.partitions)
    }

    fn over(&self) -> &'static str {
        if self.shards.is_some() { "shards" } else { "partitions" }
    }

    fn name(&self) -> &'static str {
        if self.distribution == Distribution::Zipf { "Zipf(0.99)" } else { "uniform" }
    }

    fn text(&self) -> String {
        let (name, count, over, ratio) = (self.name(), self.count(), self.over(), self.ratio);
        format!("{name}, {count} {over} of {} partitions: max/mean {ratio:.3}", self.partitions)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.distribution.name(KEYS, THETA).replace(", ", " "),
            self.partitions.to_string(),
            self.over().to_owned(),
            self.count().to_string(),
            cell(self.ratio),
        ]
    }
}

/// A line for each kind of keys over partitions, and one over shards: those of the last number of partitions.
fn chart(spreads: &[Spread]) -> Chart {
    let last = PARTITIONS.last().copied();
    let line = |distribution, shards: bool| -> Option<Series> {
        let fits = |one: &&Spread| {
            one.distribution == distribution
                && one.shards.is_some() == shards
                && (!shards || Some(one.partitions) == last)
        };
        let found: Vec<&Spread> = spreads.iter().filter(fits).collect();
        let first = found.first()?;
        Some(Series {
            name: format!("{}, {}", first.name(), first.over()),
            points: found.iter().map(|one| (f64::from(one.count()), one.ratio)).collect(),
        })
    };
    let series = DISTRIBUTIONS.into_iter().flat_map(|of| [line(of, false), line(of, true)]).flatten();
    Chart {
        title: "Operations of the busiest partition or shard, over the mean".to_owned(),
        x: Scale { label: "partitions or shards".to_owned(), log: true, ticks: Vec::new() },
        y: Scale { label: "busiest / mean".to_owned(), log: false, ticks: Vec::new() },
        series: series.collect(),
        stacked: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_is_compared_with_the_mean() {
        assert!((max_over_mean(&[10, 20, 30, 20]) - 1.5).abs() < 1e-9);
        assert_eq!(on_shards(&[1, 2, 3, 4, 5], 2), [9, 6]);
    }

    #[test]
    fn uniform_keys_lie_evenly_and_skewed_ones_do_not() {
        let ratio = |distribution| max_over_mean(&counts((distribution, 1), 64, 200_000).unwrap());
        let (uniform, zipf) = (ratio(Distribution::Uniform), ratio(Distribution::Zipf));
        assert!(uniform < 1.1, "{uniform}");
        // The hottest key alone has 6.5 % of all: four times a partition's mean.
        assert!(zipf > 4.0, "{zipf}");
    }

    #[test]
    fn every_layout_is_there() {
        let spreads = spread(Distribution::Zipf, &[1; 64]);
        let counts: Vec<u32> = spreads.iter().map(Spread::count).collect();
        assert_eq!(counts, [64, 2, 4]);
        assert_eq!(chart(&spreads).series.len(), 2);
    }
}
