//! Single calls over HTTP beside a bare hyper server, and writes that wait for their outcome beside those that do not.
//!
//! There is no log that drops what it is given, so the api stands on a local log in memory (`/dev/shm`), and what that log
//! costs by itself, measured by the CPU time of its thread, is told beside the line and taken off.
//! Invariant: both sides get the same calls from the same client.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::StatusCode;

use super::{
    Plan,
    calls::{Draw, marks, puts},
    drive::Drive,
    line::Line,
    sample::{Compared, Runs, Side, Stretch, float},
    tools::Served,
};

const CONNECTIONS: usize = 64;
/// So many that those which wait, some ms each, are enough to use both cores.
const WAITING: usize = 1024;
/// Of the embedded default.
const PARTITIONS: u32 = 8;
const MEMORY: &str = "/dev/shm";
const SERVER_US: &str = "server_cpu_us";
const LOG_US: &str = "log_us";
/// Most CPU-µs of a call above the bare server's.
const EXTRA_US: f64 = 3.0;

/// Requests per second and CPU time of a put.
pub(crate) async fn put(plan: &Plan) -> Result<Vec<Line>> {
    let calls = puts(&mut Draw::uniform(100_000, plan.seed), 100_000, None)?;
    let folder = tempfile::TempDir::new_in(MEMORY).context("make a folder in memory")?;
    let (echo, api) = (Served::bare()?, Served::example("accept", &[folder.path()])?);
    let runs = Runs::interleave(plan.repeats, async |side, _| {
        let server = if side == Side::Baseline { &echo } else { &api };
        let before = Threads::of(server.pid())?;
        let stretch = Stretch::start()?;
        let driven = drive(server, plan.pick(3, 6), StatusCode::ACCEPTED).run(&calls).await?;
        let operations = float(driven.waits.len());
        let mut sample = stretch.end_with(operations, driven.wall)?;
        let used = Threads::of(server.pid())?;
        sample.set(SERVER_US, used.all.saturating_sub(before.all).as_secs_f64() * 1e6 / operations);
        sample.set(LOG_US, used.log.saturating_sub(before.log).as_secs_f64() * 1e6 / operations);
        Ok(sample)
    })
    .await?;
    let (bare, whole, log) = (runs.baseline(SERVER_US), runs.ours(SERVER_US), runs.ours(LOG_US));
    let extra = whole - log - bare;
    Ok(vec![
        runs.line("single PUT, log in memory / echo: requests/s", Compared::rate("req/s", 0.85)).note(runs.shares()),
        Line::new("single PUT, log in memory / echo: extra CPU", "CPU-µs/op", 1.0)
            .measured(bare, whole - log, EXTRA_US / extra.max(0.01))
            .note(format!(
                "server alone, less {log:.2} of the log's thread; extra {extra:.2}, ratio = {EXTRA_US} / extra"
            )),
    ])
}

/// Throughput of writes that wait until they are applied, against writes that do not, each until all is applied.
pub(crate) async fn wait(plan: &Plan) -> Result<Vec<Line>> {
    let folder = tempfile::TempDir::new().context("make a folder")?;
    let server = Served::embedded(&folder.path().join("data"))?;
    let mut draw = Draw::uniform(100_000, plan.seed);
    let marks = Arc::new(marks(PARTITIONS)?);
    let (plain, waiting) = (puts(&mut draw, 100_000, None)?, puts(&mut draw, 100_000, Some("wait=10"))?);
    let seconds = plan.pick(4, 8);
    let runs = Runs::interleave(plan.repeats, async |side, _| {
        let (calls, status) = match side {
            Side::Baseline => (&plain, StatusCode::ACCEPTED),
            Side::Ours => (&waiting, StatusCode::OK),
        };
        let load = Drive { connections: WAITING, ..drive(&server, seconds, status) };
        let stretch = Stretch::start()?;
        let driven = load.run(calls).await?;
        // What was only accepted is applied behind the last call.
        Drive { connections: marks.len(), ..drive(&server, seconds, StatusCode::OK) }.each(&marks).await?;
        let mut sample = stretch.end(float(driven.waits.len()))?;
        sample.set("p99_us", float(driven.waits.value_at_quantile(0.99)));
        Ok(sample)
    })
    .await?;
    let line = runs.line("wait=applied / 202, embedded: calls/s", Compared::rate("call/s", 0.95));
    let p99 = format!("p99 {:.0} µs waiting, {:.0} µs not", runs.ours("p99_us"), runs.baseline("p99_us"));
    Ok(vec![line.durable("fdatasync; SQLite synchronous=NORMAL").note(p99).note(runs.shares())])
}

fn drive(server: &Served, seconds: u64, expected: StatusCode) -> Drive {
    let length = Duration::from_secs(seconds);
    Drive { address: server.address, connections: CONNECTIONS, length, expected }
}

/// CPU time of a process's threads.
struct Threads {
    all: Duration,
    /// Of the one that appends to the mutations log.
    log: Duration,
}

impl Threads {
    fn of(pid: u32) -> Result<Self> {
        let mut sum = Self { all: Duration::ZERO, log: Duration::ZERO };
        for task in fs::read_dir(format!("/proc/{pid}/task")).context("list threads")? {
            let (name, used) = thread(&task?.path())?;
            sum.all += used;
            if name.starts_with("log-append") {
                sum.log += used;
            }
        }
        Ok(sum)
    }
}

fn thread(task: &Path) -> Result<(String, Duration)> {
    let name = fs::read_to_string(task.join("comm"))?.trim().to_owned();
    // The first number: nanoseconds on a CPU.
    let used = fs::read_to_string(task.join("schedstat"))?;
    let ns = used.split_whitespace().next().context("schedstat has numbers")?.parse()?;
    Ok((name, Duration::from_nanos(ns)))
}
