//! CPU time of processes, from /proc.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Length of a tick of `/proc/PID/stat`: 10 ms on every Linux that we know.
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system, of all threads of a process so far. A tick is 10 ms.
pub(crate) fn of(pid: u32) -> Result<Duration> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("read CPU time of {pid}"))?;
    let (_, rest) = text.rsplit_once(')').context("stat has a command name")?;
    let mut ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let mut next = || ticks.next().context("stat has times")?.context("times are numbers");
    Ok(TICK * (next()? + next()?))
}

/// What a stretch of work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// A stretch of work under way, in some processes.
pub(crate) struct Watch {
    began: Instant,
    before: Duration,
    pids: Vec<u32>,
}

impl Watch {
    /// Starts now.
    pub(crate) fn start(pids: Vec<u32>) -> Result<Self> {
        let before = sum(&pids)?;
        Ok(Self { began: Instant::now(), before, pids })
    }

    /// Of this process alone.
    pub(crate) fn here() -> Result<Self> {
        Self::start(vec![std::process::id()])
    }

    /// What it took until now.
    pub(crate) fn took(&self) -> Result<Took> {
        Ok(Took { wall: self.began.elapsed(), cpu: sum(&self.pids)?.saturating_sub(self.before) })
    }
}

fn sum(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| of(*pid)).sum()
}

/// A line of a table: what, how many, per second, CPU-µs each.
pub(crate) fn line(what: &str, operations: u64, took: Took) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
    let operations_f = operations as f64;
    let per_second = operations_f / took.wall.as_secs_f64();
    let cpu_us = took.cpu.as_secs_f64() * 1e6 / operations_f;
    format!("{what:<34} {operations:>9} {per_second:>12.0}/s {cpu_us:>9.2} CPU-µs each")
}
