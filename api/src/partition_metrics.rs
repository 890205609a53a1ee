//! How far each partition is, read whenever somebody asks.
//!
//! Invariant: nothing is asked of a log or a shard for it; it is what this api knows.

use std::sync::Arc;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

use crate::partitions::Partitions;

/// Reads end, watermark and lag of every partition.
#[derive(Debug)]
pub(crate) struct PartitionMetrics(pub(crate) Arc<Partitions>);

impl Collector for PartitionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let known: Vec<(String, i64, i64)> = self
            .0
            .ids()
            .map(|partition| {
                let state = self.0.of(partition);
                (partition.to_string(), state.end().0, state.committed().next().0)
            })
            .collect();
        let gauge = ConstGauge::new(0i64);
        let mut tell = |name: &str, help: &str, value: fn(i64, i64) -> i64| {
            let mut family = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            for (partition, end, committed) in &known {
                let labels = [("partition", partition.as_str())];
                ConstGauge::new(value(*end, *committed)).encode(family.encode_family(&labels)?)?;
            }
            Ok::<(), std::fmt::Error>(())
        };
        tell("millpond_log_end_offset", "Next offset to be issued, as far as is known here", |end, _| end)?;
        tell(
            "millpond_partition_lag_records",
            "Records on the log that are not applied yet",
            |end, committed| (end - committed).max(0),
        )
    }
}
