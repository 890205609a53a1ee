//! A writer's metrics, read from its statuses whenever somebody asks.
//!
//! Invariant: the partition is a label of watermark and halt only.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::{Phase, Statuses};

impl Collector for Statuses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let totals = self.totals();
        let counters = [
            ("flushes", "Transactions committed on shards", totals.flushes),
            ("records", "Records applied", totals.records),
            ("rows", "Rows written", totals.rows),
            ("dead_letters", "Records that can never apply", totals.dead_letters),
            ("fenced", "Flushes whose compare-and-set failed", totals.fenced),
            ("resyncs", "Times that a partition read anew where it stands", totals.resyncs),
            ("expired", "Keys expired by Sweeps", totals.expired),
            ("purged", "Tombstones removed by Purges", totals.purged),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let name = format!("millpond_writer_{name}");
            counter.encode(encoder.encode_descriptor(&name, help, None, counter.metric_type())?)?;
        }
        let seconds = ConstCounter::new(totals.flush_time.as_secs_f64());
        let help = "Time spent in transactions";
        let unit = Some(&Unit::Seconds);
        seconds.encode(encoder.encode_descriptor(
            "millpond_writer_flush",
            help,
            unit,
            seconds.metric_type(),
        )?)?;
        self.encode_partitions(encoder)
    }
}

impl Statuses {
    fn encode_partitions(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(0i64);
        let partitions = self.partitions();
        let help = "Highest offset applied";
        let mut family =
            encoder.encode_descriptor("millpond_writer_applied_offset", help, None, gauge.metric_type())?;
        for (partition, status) in &partitions {
            let labels = [("partition", partition.to_string())];
            ConstGauge::new(status.applied.0).encode(family.encode_family(&labels)?)?;
        }
        let help = "1 while a partition stands still for this reason";
        let mut family =
            encoder.encode_descriptor("millpond_writer_halted", help, None, gauge.metric_type())?;
        for (partition, status) in &partitions {
            if let Phase::Halted(halt) = &status.phase {
                let labels = [("partition", partition.to_string()), ("reason", halt.name().to_owned())];
                ConstGauge::new(1i64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
