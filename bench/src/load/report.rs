//! What a load found: for a person, or as a line of JSON.
//!
//! Invariant: a load that did not make 99 % of its offered calls in time has no figures, only the reason.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{drive::Seen, lanes::Job};
use crate::{cpu::Family, latency::Latencies};

/// Percent of the offered calls that must be good and in time.
const ACHIEVED_PERCENT_MIN: u64 = 99;

/// CPU time of every process, by name.
pub(super) struct Cpu(Vec<(Family, Duration)>);

/// A load that is over.
pub(super) struct Measured {
    pub(super) job: Job,
    pub(super) seen: Seen,
    /// Different calls that were encoded.
    pub(super) encoded: usize,
    pub(super) wall: Duration,
    /// While calls were made.
    pub(super) cpu: Vec<(String, Duration)>,
    /// Until all was applied besides: how long that took afterwards, and the CPU time of both.
    pub(super) settled: Option<(Duration, Vec<(String, Duration)>)>,
}

impl Cpu {
    /// What they have taken so far.
    pub(super) fn now(processes: &[Family]) -> Result<Self> {
        let one = |family: &Family| Ok((family.clone(), family.took(processes)?));
        Ok(Self(processes.iter().map(one).collect::<Result<_>>()?))
    }

    /// What they have taken since.
    pub(super) fn since(&self) -> Result<Vec<(String, Duration)>> {
        let named: Vec<Family> = self.0.iter().map(|(family, _)| family.clone()).collect();
        let one = |(family, before): &(Family, Duration)| {
            Ok((family.name.clone(), family.took(&named)?.saturating_sub(*before)))
        };
        self.0.iter().map(one).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

impl Measured {
    /// Why its figures are worth nothing, if so.
    pub(super) fn void(&self) -> Option<String> {
        let Seen { offered, in_time, failed, calls, .. } = &self.seen;
        let failure = self.seen.first_failure.as_deref().unwrap_or("none failed");
        if self.job.rate.is_some() && in_time * 100 < offered * ACHIEVED_PERCENT_MIN {
            let share = float(*in_time) * 100.0 / float(*offered);
            return Some(format!(
                "void: {in_time} of {offered} offered calls were good and in time, {share:.1} %; {failure}"
            ));
        }
        (failed * 100 > *calls || *calls == 0)
            .then(|| format!("void: {failed} of {calls} calls failed; {failure}"))
    }

    fn each(&self, cpu: &[(String, Duration)]) -> Vec<(String, f64)> {
        let each = |took: Duration| took.as_secs_f64() * 1e6 / float(self.seen.operations.max(1));
        let mut each: Vec<(String, f64)> =
            cpu.iter().map(|(name, took)| (name.clone(), each(*took))).collect();
        each.push(("all".to_owned(), each.iter().map(|(_, us)| us).sum()));
        each
    }

    fn per_second(&self, wall: Duration) -> f64 {
        float(self.seen.operations) / wall.as_secs_f64()
    }

    /// How calls come.
    fn pace(&self) -> String {
        let job = &self.job;
        let arrival = format!("{:?}", job.arrival).to_lowercase();
        job.rate.map_or_else(
            || "closed loop".to_owned(),
            |rate| format!("open loop, {rate} calls/s offered, {arrival} arrivals"),
        )
    }

    fn how(&self) -> String {
        let (job, shape) = (&self.job, &self.job.shape);
        let mut parts = vec![
            self.pace(),
            if job.log.is_some() {
                format!("{} batches at once", job.connections * job.streams)
            } else {
                let protocol = format!("{:?}", job.encoder.protocol).to_lowercase();
                format!("{protocol}, {} connections of {} calls", job.connections, job.streams)
            },
            shape.distribution.name(shape.keys, shape.theta),
            format!("{} B", shape.value_bytes),
            format!("batches of {} ({:?})", shape.batch, shape.format).to_lowercase(),
            format!("seed {}", shape.seed),
        ];
        if self.seen.offered > self.encoded as u64 {
            parts.push(format!("{} different calls, again and again", self.encoded));
        }
        parts.join(", ")
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        let seen = &self.seen;
        let name = self.job.shape.workload.name();
        if let Some(reason) = self.void() {
            return format!("{name}: {reason}\n  {}", self.how());
        }
        let mut lines = vec![
            format!(
                "{name}: {} operations, {:.0}/s, in {} calls; {} missed, {} rejected, {} failed",
                seen.operations,
                self.per_second(self.wall),
                seen.calls,
                seen.missed,
                seen.rejected,
                seen.failed
            ),
            format!("  {}", self.how()),
            format!("  CPU-µs an operation: {}", list(&self.each(&self.cpu))),
        ];
        if let Some((after, cpu)) = &self.settled {
            let rate = self.per_second(self.wall + *after);
            let each = list(&self.each(cpu));
            lines.push(format!("  all applied {after:.1?} later, {rate:.0}/s, CPU-µs until then: {each}"));
        }
        lines.push(format!("  latency {}", seen.all().line()));
        if seen.latencies.len() > 1 {
            let kinds = seen.latencies.iter().map(|(kind, latencies)| (kind.name(), latencies));
            lines.extend(kinds.map(|(kind, of)| format!("    {kind} ({}) {}", of.count(), of.line())));
        }
        lines.join("\n")
    }

    /// For a program.
    pub(super) fn json(&self) -> Value {
        let (job, shape, seen) = (&self.job, &self.job.shape, &self.seen);
        let mut object = json!({
            "workload": shape.workload.name(), "how": self.how(), "rate_offered": job.rate,
            "protocol": format!("{:?}", job.encoder.protocol).to_lowercase(), "native": job.log.is_some(),
            "connections": job.connections, "streams": job.streams,
            "keys": shape.distribution.name(shape.keys, shape.theta), "value_bytes": shape.value_bytes,
            "batch": shape.batch, "seed": shape.seed, "offered": seen.offered, "in_time": seen.in_time,
            "calls": seen.calls, "failed": seen.failed, "first_failure": seen.first_failure, "void": self.void(),
        });
        if self.void().is_none() {
            object["figures"] = self.figures();
        }
        object
    }

    fn figures(&self) -> Value {
        let seen = &self.seen;
        let kinds: Map<String, Value> = seen
            .latencies
            .iter()
            .map(|(kind, latencies): (_, &Latencies)| (kind.name().to_owned(), latencies.json()))
            .collect();
        let object = |each: Vec<(String, f64)>| -> Map<String, Value> {
            each.into_iter().map(|(name, us)| (name, json!(us))).collect()
        };
        json!({
            "operations": seen.operations, "operations_per_second": self.per_second(self.wall),
            "wall_s": self.wall.as_secs_f64(), "missed": seen.missed, "rejected": seen.rejected,
            "cpu_us_each": object(self.each(&self.cpu)), "latency": seen.all().json(), "latency_of": kinds,
            "applied": self.settled.as_ref().map(|(after, cpu)| json!({
                "later_s": after.as_secs_f64(), "operations_per_second": self.per_second(self.wall + *after),
                "cpu_us_each": object(self.each(cpu)),
            })),
        })
    }
}

fn list(each: &[(String, f64)]) -> String {
    let parts: Vec<String> = each.iter().map(|(name, us)| format!("{name} {us:.2}")).collect();
    parts.join(", ")
}
