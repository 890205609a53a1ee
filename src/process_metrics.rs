//! What the system knows of this process, under the names that Prometheus' own clients give it.
//!
//! Invariant: read from /proc when somebody asks; where there is none, nothing is told.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Where the fields behind the process's name begin: the third of the manual page is the first there.
const FIELDS_FROM: usize = 3;
const USER_TICKS: usize = 14 - FIELDS_FROM;
const SYSTEM_TICKS: usize = 15 - FIELDS_FROM;
const THREADS: usize = 20 - FIELDS_FROM;
const START_TICKS: usize = 22 - FIELDS_FROM;
const VIRTUAL_BYTES: usize = 23 - FIELDS_FROM;
const RESIDENT_PAGES: usize = 24 - FIELDS_FROM;

/// Reads /proc/self.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: f64| {
            let descriptor = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            ConstGauge::new(value).encode(descriptor)
        };
        if let Some(fds) = count("/proc/self/fd") {
            gauge("process_open_fds", "Open file descriptors", None, fds)?;
        }
        if let Some(most) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(most_fds) {
            gauge("process_max_fds", "As many may be open", None, most)?;
        }
        let Some(stat) = fs::read_to_string("/proc/self/stat").ok() else { return Ok(()) };
        let fields: Vec<f64> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(number).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        let bytes = Some(Unit::Bytes);
        let resident = field(RESIDENT_PAGES) * float(rustix::param::page_size() as u64);
        gauge("process_resident_memory", "Memory in RAM", bytes.clone(), resident)?;
        gauge("process_virtual_memory", "Memory that is addressed", bytes, field(VIRTUAL_BYTES))?;
        let tick = float(rustix::param::clock_ticks_per_second());
        if let Some(boot) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_seconds) {
            let at = boot + field(START_TICKS) / tick;
            gauge("process_start_time", "When it was started", Some(Unit::Seconds), at)?;
        }
        gauge("process_threads", "Threads of the system", None, field(THREADS))?;
        let ticks = field(USER_TICKS) + field(SYSTEM_TICKS);
        let seconds = ConstCounter::new(ticks / tick);
        let help = "CPU time, of the user and of the system";
        let unit = Some(&Unit::Seconds);
        seconds.encode(encoder.encode_descriptor("process_cpu", help, unit, MetricType::Counter)?)
    }
}

fn count(dir: &str) -> Option<f64> {
    Some(float(fs::read_dir(dir).ok()?.count() as u64))
}

fn most_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// When the machine was started, seconds since the epoch.
fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for name in [
            "process_resident_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= 1.0, "{line}");
        }
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
    }
}
