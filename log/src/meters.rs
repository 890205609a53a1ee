//! What a log counts and measures, and how `/metrics` tells it.
//!
//! Not here: what a caller waits for besides the log. Invariant: both engines tell the same names, whatever they have
//! of it; nothing is asked of a broker or a disk for it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{Counters, Log};

/// Upper ends of the buckets, seconds: from a fast drive's fdatasync to a broker that hangs.
const BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

type Told = Result<(), std::fmt::Error>;

/// What one open log measures.
#[derive(Debug)]
pub(crate) struct Meters {
    /// From a call of `enqueue` to its acks, or to an error.
    appends: Histogram,
    /// Of the local log's groups.
    syncs: Histogram,
    records: AtomicU64,
    bytes: AtomicU64,
    groups: AtomicU64,
    failures: AtomicU64,
}

impl Default for Meters {
    fn default() -> Self {
        let zero = AtomicU64::default;
        let (appends, syncs) = (Histogram::new(BUCKETS), Histogram::new(BUCKETS));
        Self { appends, syncs, records: zero(), bytes: zero(), groups: zero(), failures: zero() }
    }
}

impl Meters {
    /// A call was acked.
    pub(crate) fn appended(&self, records: usize, bytes: usize, took: Duration) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.appends.observe(took.as_secs_f64());
    }

    /// A call was answered with an error after it was taken.
    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A group was written and synced.
    pub(crate) fn synced(&self, took: Duration) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.syncs.observe(took.as_secs_f64());
    }
}

/// Bytes of records that wait for the log or are on their way, and how many may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Now.
    pub bytes: usize,
    /// At most; beyond it is [`crate::Error::Backpressure`].
    pub max: usize,
}

/// Tells of a log whenever somebody asks.
pub fn register(registry: &mut Registry, log: Log) {
    registry.register_collector(Box::new(Reading(log)));
}

#[derive(Debug)]
struct Reading(Log);

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Told {
        let (meters, Queued { bytes, max }) = (self.0.meters(), self.0.queued());
        counters(&mut encoder, meters, self.0.counters())?;
        let seconds = Some(&Unit::Seconds);
        for (name, help, histogram) in [
            ("millpond_log_append_duration", "From sending records to their ack", &meters.appends),
            (
                "millpond_log_fsync_duration",
                "Writing a group of the local log and its fdatasync",
                &meters.syncs,
            ),
        ] {
            histogram.encode(encoder.encode_descriptor(name, help, seconds, histogram.metric_type())?)?;
        }
        let stalls = self.0.stalls();
        let longest = stalls.iter().map(|stall| stall.since).max().unwrap_or_default();
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let unit = Some(&Unit::Bytes);
        gauge("millpond_log_queue", "Records that wait for the log or are on their way", unit, count(bytes))?;
        gauge(
            "millpond_log_queue_max",
            "Above it calls are answered 503 log-backpressure",
            unit,
            count(max),
        )?;
        let help = "Partitions that a producer's open transaction holds up";
        gauge("millpond_log_stalled_partitions", help, None, count(stalls.len()))?;
        let help = "How long the longest of them has been held up";
        gauge("millpond_log_stalled", help, seconds, longest.as_secs_f64())
    }
}

fn counters(encoder: &mut DescriptorEncoder<'_>, meters: &Meters, lived: Counters) -> Told {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    for (name, help, unit, value) in [
        ("appended_records", "Records acked to this process", None, read(&meters.records)),
        ("appended", "Bytes of them", Some(&Unit::Bytes), read(&meters.bytes)),
        ("append_failures", "Calls that were taken and not acked", None, read(&meters.failures)),
        ("groups", "Groups of records that the local log has written", None, read(&meters.groups)),
        ("producers_failed", "Producers that died and were made anew", None, lived.producers_failed),
        ("holes", "Offsets passed over as confirmed holes", None, lived.holes),
        ("readers_restarted", "Consumers that were given up and made anew", None, lived.readers_restarted),
    ] {
        let counter = ConstCounter::new(value);
        let name = format!("millpond_log_{name}");
        counter.encode(encoder.encode_descriptor(&name, help, unit, counter.metric_type())?)?;
    }
    Ok(())
}
