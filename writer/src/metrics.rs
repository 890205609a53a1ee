//! A writer's metrics: what it measures, and what is read from its statuses whenever somebody asks.
//!
//! Invariant: the partition is a label of watermark, lag and a halt only. Every reason is told, from 0 on.

use std::time::Duration;

use millpond_schemas::{DeadReason, Rejection};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
    registry::Unit,
};

use crate::{Halt, Phase, Statuses, Totals, attempt::Stage};

/// Upper ends of the buckets of a flush: seconds, records, bytes.
const SECONDS: [f64; 11] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
const RECORDS: [f64; 8] = [1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 20_000.0];
const BYTES: [f64; 8] = [1e3, 1e4, 1e5, 5e5, 1e6, 4e6, 16e6, 64e6];

type Told = Result<(), std::fmt::Error>;

/// What is measured of each flush.
#[derive(Debug)]
pub(crate) struct Meters {
    seconds: Histogram,
    records: Histogram,
    bytes: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            seconds: Histogram::new(SECONDS),
            records: Histogram::new(RECORDS),
            bytes: Histogram::new(BYTES),
        }
    }
}

impl Meters {
    /// A flush was committed.
    #[expect(clippy::cast_precision_loss, reason = "a flush is far smaller")]
    pub(crate) fn flushed(&self, took: Duration, records: usize, bytes: usize) {
        self.seconds.observe(took.as_secs_f64());
        self.records.observe(records as f64);
        self.bytes.observe(bytes as f64);
    }
}

impl Collector for Statuses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Told {
        let (totals, letters) = (self.totals(), self.dead_letters());
        for (name, help, value) in [
            ("flushes", "Transactions committed on shards", totals.flushes),
            ("records", "Offsets applied: records, and holes passed over", totals.records),
            ("rows", "Rows written", totals.rows),
            ("fenced", "Flushes of a partition whose compare-and-set failed", totals.fenced),
            ("resyncs", "Times that a partition read anew where it stands", totals.resyncs),
            ("expired", "Keys expired by Sweeps", totals.expired),
            ("purged", "Tombstones removed by Purges", totals.purged),
        ] {
            let counter = ConstCounter::new(value);
            let name = format!("millpond_writer_{name}");
            counter.encode(encoder.encode_descriptor(&name, help, None, MetricType::Counter)?)?;
        }
        flushes(&mut encoder, self.meters(), &totals)?;
        outcomes(&mut encoder, &totals)?;
        let reasons = DeadReason::ALL.iter().map(|reason| (reason.code(), letters.get(reason).copied()));
        by_reason(&mut encoder, ("dead_letters", "Records that can never apply"), reasons)?;
        let rejections = Rejection::ALL.into_iter().zip(self.rejections());
        let rejections = rejections.map(|(reason, times)| (reason.code(), Some(times)));
        by_reason(&mut encoder, ("rejections", "Mutations rejected in log order"), rejections)?;
        self.partitions_told(&mut encoder)
    }
}

fn flushes(encoder: &mut DescriptorEncoder<'_>, meters: &Meters, totals: &Totals) -> Told {
    for (name, help, unit, histogram) in [
        (
            "duration",
            "From a flush's first read to its end, when it is committed",
            Some(Unit::Seconds),
            &meters.seconds,
        ),
        ("records", "Records of a flush", None, &meters.records),
        ("size", "Bytes of them", Some(Unit::Bytes), &meters.bytes),
    ] {
        let name = format!("millpond_writer_flush_{name}");
        let kind = MetricType::Histogram;
        histogram.encode(encoder.encode_descriptor(&name, help, unit.as_ref(), kind)?)?;
    }
    let (name, help) = ("millpond_writer_flush_stage", "Time spent in each stage of committed flushes");
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
    for (stage, time) in Stage::ALL.into_iter().zip(totals.stages) {
        let labels = [("stage", stage.name())];
        ConstCounter::new(time.as_secs_f64()).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn outcomes(encoder: &mut DescriptorEncoder<'_>, totals: &Totals) -> Told {
    let help = "Mutations by what became of them; dead letters have a metric of their own by reason";
    let mut family =
        encoder.encode_descriptor("millpond_writer_outcomes", help, None, MetricType::Counter)?;
    let applied = totals.mutations.saturating_sub(totals.rejected + totals.duplicates);
    for (outcome, times) in [
        ("applied", applied),
        ("rejected", totals.rejected),
        ("duplicate", totals.duplicates),
        ("dead_lettered", totals.dead_letters),
    ] {
        ConstCounter::new(times).encode(family.encode_family(&[("outcome", outcome)])?)?;
    }
    Ok(())
}

fn by_reason(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    reasons: impl Iterator<Item = (&'static str, Option<u64>)>,
) -> Told {
    let name = format!("millpond_writer_{name}");
    let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for (reason, times) in reasons {
        let counter = ConstCounter::new(times.unwrap_or(0));
        counter.encode(family.encode_family(&[("reason", reason)])?)?;
    }
    Ok(())
}

impl Statuses {
    fn partitions_told(&self, encoder: &mut DescriptorEncoder<'_>) -> Told {
        let partitions = self.partitions();
        let gauge = MetricType::Gauge;
        let help = "Highest offset applied; -1: none";
        let name = "millpond_writer_applied_offset";
        let mut family = encoder.encode_descriptor(name, help, None, gauge)?;
        for (partition, status) in &partitions {
            let labels = [("partition", partition.to_string())];
            ConstGauge::new(status.applied.0).encode(family.encode_family(&labels)?)?;
        }
        let help = "Records on the log that are not applied, as of the last look, which is once a second";
        let name = "millpond_writer_lag_records";
        let mut family = encoder.encode_descriptor(name, help, None, gauge)?;
        let lags = || partitions.iter().filter_map(|(partition, status)| Some((partition, status.lag?)));
        for (partition, lag) in lags() {
            let labels = [("partition", partition.to_string())];
            let records = i64::try_from(lag.records).unwrap_or(i64::MAX);
            ConstGauge::new(records).encode(family.encode_family(&labels)?)?;
        }
        let help = "For how long, at most, the first record that is not applied has waited";
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor("millpond_writer_lag", help, unit, gauge)?;
        for (partition, lag) in lags() {
            let labels = [("partition", partition.to_string())];
            ConstGauge::new(lag.time.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
        let help = "Partitions that stand still until somebody acts, each with its reason; others have no such series";
        let name = "millpond_writer_halted";
        let mut family = encoder.encode_descriptor(name, help, None, gauge)?;
        for (partition, status) in &partitions {
            let Phase::Halted(halt) = &status.phase else { continue };
            let labels = [("partition", partition.to_string()), ("reason", halt.name().to_owned())];
            ConstGauge::new(1).encode(family.encode_family(&labels)?)?;
        }
        let phases = partitions.values().map(|status| &status.phase);
        phases_told(encoder, &phases.collect::<Vec<_>>())
    }
}

fn phases_told(encoder: &mut DescriptorEncoder<'_>, phases: &[&Phase]) -> Told {
    let count = |of: &dyn Fn(&Phase) -> bool| {
        i64::try_from(phases.iter().filter(|phase| of(phase)).count()).unwrap_or(i64::MAX)
    };
    let help = "Partitions that this writer owns or tries to, by what they do";
    let name = "millpond_writer_partitions";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (state, count) in [
        ("running", count(&|phase| matches!(phase, Phase::Running))),
        ("waiting", count(&|phase| matches!(phase, Phase::Waiting(_)))),
        ("halted", count(&|phase| matches!(phase, Phase::Halted(_)))),
    ] {
        ConstGauge::new(count).encode(family.encode_family(&[("state", state)])?)?;
    }
    let help = "Partitions that stand still until somebody acts, by reason";
    let name = "millpond_writer_halted_partitions";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for reason in Halt::NAMES {
        let count = count(&|phase| matches!(phase, Phase::Halted(halt) if halt.name() == reason));
        ConstGauge::new(count).encode(family.encode_family(&[("reason", reason)])?)?;
    }
    Ok(())
}
