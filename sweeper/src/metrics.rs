//! What a sweeper counts.
//!
//! Not here: how many keys expired; the writer knows that. Invariant: only what is on the log counts as asked for, and
//! only what is off it as trimmed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use millpond_schemas::{Offset, PartitionId};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Counters. A clone counts into the same ones.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    rounds: AtomicU64,
    failures: AtomicU64,
    in_vain: AtomicU64,
    sweeps: AtomicU64,
    purges: AtomicU64,
    trim_rounds: AtomicU64,
    trimmed_records: AtomicU64,
    trim_failures: AtomicU64,
    left_behind: AtomicU64,
    replicas_left: AtomicU64,
    edges: Mutex<BTreeMap<PartitionId, Edges>>,
}

/// Of one partition, as of the last round that came to know them.
#[derive(Clone, Copy, Debug, Default)]
struct Edges {
    floor: Option<Offset>,
    start: Option<Offset>,
}

impl Metrics {
    pub(crate) fn round(&self) {
        self.0.rounds.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn in_vain(&self) {
        self.0.in_vain.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn appended(&self, sweeps: usize, purges: usize) {
        self.0.sweeps.fetch_add(sweeps as u64, Ordering::Relaxed);
        self.0.purges.fetch_add(purges as u64, Ordering::Relaxed);
    }

    fn edges(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Edges>> {
        self.0.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where partitions start. Those that are not among them are no longer this sweeper's.
    pub(crate) fn starts(&self, starts: &HashMap<PartitionId, Offset>) {
        let mut edges = self.edges();
        edges.retain(|partition, _| starts.contains_key(partition));
        for (partition, start) in starts {
            edges.entry(*partition).or_default().start = Some(*start);
        }
    }

    /// Up to where partitions may be trimmed.
    pub(crate) fn floors(
        &self,
        floors: &HashMap<PartitionId, Offset>,
        starts: &HashMap<PartitionId, Offset>,
    ) {
        self.starts(starts);
        let mut edges = self.edges();
        for (partition, edge) in edges.iter_mut() {
            edge.floor = floors.get(partition).copied();
        }
    }

    /// Rounds of trimming that have ended.
    pub fn trim_rounds(&self) -> u64 {
        self.0.trim_rounds.load(Ordering::SeqCst)
    }

    pub(crate) fn trim_round(&self) {
        self.0.trim_rounds.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn trimmed(&self, records: u64) {
        self.0.trimmed_records.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn trim_failed(&self) {
        self.0.trim_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Replicas that the log is not kept for: now, and how often that came.
    pub(crate) fn left_behind(&self, now: usize, ever: u64) {
        self.0.left_behind.store(now as u64, Ordering::Relaxed);
        self.0.replicas_left.store(ever, Ordering::Relaxed);
    }

    fn tell_edges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let edges = self.edges().clone();
        let mut tell = |name: &str, help: &str, of: fn(&Edges) -> Option<Offset>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (partition, edges) in &edges {
                if let Some(offset) = of(edges) {
                    let labels = [("partition", partition.to_string())];
                    ConstGauge::new(offset.0).encode(family.encode_family(&labels)?)?;
                }
            }
            Ok::<(), std::fmt::Error>(())
        };
        tell(
            "millpond_log_floor_offset",
            "Up to where the log may be trimmed; not there while that is not known",
            |edges| edges.floor,
        )?;
        tell(
            "millpond_log_start_offset",
            "First offset that can be read: what is below is trimmed",
            |edges| edges.start,
        )?;
        let name = "millpond_sweeper_replicas_left_behind";
        let help = "Replicas that were late for so long that the log is no longer kept for them";
        let left = ConstGauge::new(self.0.left_behind.load(Ordering::Relaxed));
        left.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = &self.0;
        for (name, help, value) in [
            ("rounds", "Rounds over all partitions of this sweeper", &counts.rounds),
            ("failures", "Partitions that could not be swept in a round", &counts.failures),
            (
                "in_vain",
                "Rows found due again after they were asked for: a clock runs ahead",
                &counts.in_vain,
            ),
            ("trim_rounds", "Rounds of trimming; without an age they trim nothing", &counts.trim_rounds),
            ("trimmed_records", "Records that were trimmed off the log", &counts.trimmed_records),
            ("trim_failures", "Rounds in which the log could not be trimmed", &counts.trim_failures),
            (
                "replicas_left",
                "Times that a replica came to be late for so long that the log is no longer kept for it",
                &counts.replicas_left,
            ),
        ] {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            let name = format!("millpond_sweeper_{name}");
            counter.encode(encoder.encode_descriptor(&name, help, None, MetricType::Counter)?)?;
        }
        let (name, help) = ("millpond_sweeper_records", "Control records appended");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (op, value) in [("sweep", &counts.sweeps), ("purge", &counts.purges)] {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            counter.encode(family.encode_family(&[("op", op)])?)?;
        }
        self.tell_edges(&mut encoder)
    }
}
