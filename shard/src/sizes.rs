//! How large the shards are and what in them is dead, asked of their primaries now and then.
//!
//! Not here: what to do about it. Invariant: what could not be asked this time is not told, rather than told as it was.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use tokio_util::sync::CancellationToken;

use crate::{Router, Stats, meters::float};

/// Between two looks at every shard.
const EVERY: Duration = Duration::from_secs(30);

type Told = Result<(), std::fmt::Error>;

/// What was last read of each shard, by its name. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Sizes(Arc<Mutex<BTreeMap<String, Stats>>>);

impl Sizes {
    /// What is known now.
    pub fn known(&self) -> BTreeMap<String, Stats> {
        self.lock().clone()
    }

    /// Asks every shard's primary, at once and then every 30 s, until `shutdown` is cancelled.
    pub async fn sample(self, routers: Vec<Router>, shutdown: CancellationToken) {
        loop {
            for router in &routers {
                let primary = router.primary();
                let stats = tokio::select! {
                    () = shutdown.cancelled() => return,
                    stats = primary.stats() => stats,
                };
                match stats {
                    Ok(stats) => drop(self.lock().insert(router.name().to_owned(), stats)),
                    Err(error) => {
                        tracing::debug!(shard = router.name(), %error, "its size cannot be asked");
                        self.lock().remove(router.name());
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stats>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Sizes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Told {
        let known = self.known();
        let help = "Tables and indexes, every 30 s";
        each(&mut encoder, &known, ("size", help, Some(Unit::Bytes)), |stats| float(stats.bytes))?;
        let help = "Deleted and expired keys that wait for their purge; at most 100,000 are counted";
        each(&mut encoder, &known, ("tombstones", help, None), |stats| float(stats.tombstones))?;
        let help = "When the oldest tombstone became one; NaN: there is none";
        each(&mut encoder, &known, ("oldest_tombstone_timestamp", help, Some(Unit::Seconds)), |stats| {
            stats.oldest_tombstone.map_or(f64::NAN, |time| float(time.0.unsigned_abs()) / 1000.0)
        })?;
        rows(&mut encoder, &known)?;
        updates(&mut encoder, &known)?;
        let help = "Bytes of the largest shard over those of a shard on average";
        let ratio = ConstGauge::new(imbalance(&known));
        ratio.encode(encoder.encode_descriptor(
            "millpond_shard_imbalance_ratio",
            help,
            None,
            MetricType::Gauge,
        )?)
    }
}

fn each(
    encoder: &mut DescriptorEncoder<'_>,
    known: &BTreeMap<String, Stats>,
    (name, help, unit): (&str, &str, Option<Unit>),
    value: impl Fn(&Stats) -> f64,
) -> Told {
    let name = format!("millpond_shard_{name}");
    let mut family = encoder.encode_descriptor(&name, help, unit.as_ref(), MetricType::Gauge)?;
    for (shard, stats) in known {
        ConstGauge::new(value(stats)).encode(family.encode_family(&[("shard", shard.as_str())])?)?;
    }
    Ok(())
}

fn rows(encoder: &mut DescriptorEncoder<'_>, known: &BTreeMap<String, Stats>) -> Told {
    let help = "Rows of all tables by Postgres' own estimate: live, and dead until they are vacuumed";
    let mut family = encoder.encode_descriptor("millpond_shard_rows", help, None, MetricType::Gauge)?;
    for (shard, stats) in known {
        for (state, rows) in stats.rows.into_iter().flat_map(|(live, dead)| [("live", live), ("dead", dead)])
        {
            let labels = [("shard", shard.as_str()), ("state", state)];
            ConstGauge::new(float(rows)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn updates(encoder: &mut DescriptorEncoder<'_>, known: &BTreeMap<String, Stats>) -> Told {
    let help = "Rows that Postgres has updated, in place (HOT) or with every index";
    let kind = MetricType::Counter;
    let mut family = encoder.encode_descriptor("millpond_shard_row_updates", help, None, kind)?;
    for (shard, stats) in known {
        let split = |(all, hot): (u64, u64)| [("true", hot), ("false", all.saturating_sub(hot))];
        for (in_place, rows) in stats.updates.into_iter().flat_map(split) {
            let labels = [("shard", shard.as_str()), ("in_place", in_place)];
            ConstCounter::new(rows).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// 1 where all are equal, or nothing is known.
fn imbalance(known: &BTreeMap<String, Stats>) -> f64 {
    let largest = known.values().map(|stats| stats.bytes).max().unwrap_or(0);
    let all: u64 = known.values().map(|stats| stats.bytes).sum();
    if all == 0 { 1.0 } else { float(largest) * float(known.len() as u64) / float(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imbalance_is_the_largest_over_the_mean() {
        let of = |sizes: &[u64]| {
            let stats = |bytes| Stats { bytes, ..Stats::default() };
            imbalance(&(0..).map(|n: u32| n.to_string()).zip(sizes.iter().copied().map(stats)).collect())
        };
        for (sizes, ratio) in
            [(&[][..], 1.0), (&[0, 0], 1.0), (&[5, 5], 1.0), (&[30, 10], 1.5), (&[9, 0, 0], 3.0)]
        {
            assert!((of(sizes) - ratio).abs() < 1e-9, "{sizes:?}");
        }
    }
}
