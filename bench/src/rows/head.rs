//! What stands above the table: the machine, what a sync costs on it just now, the engines' settings, seed and load.
//!
//! Invariant: measured at each run, never remembered.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    time::Instant,
};

use anyhow::{Context, Result};

use super::{Plan, engines::Engines, sample::median};

/// As `pg_test_fsync` writes.
const BLOCK: usize = 8192;
const SYNCS: usize = 200;

/// A few lines.
pub(crate) fn text(plan: &Plan) -> Result<String> {
    let engines = match Engines::here() {
        Some(engines) => format!(
            "Postgres: {}\nKafka: one broker, defaults of flushing (no fsync per write)",
            engines.settings()?
        ),
        None => "no engines".to_owned(),
    };
    Ok(format!(
        "{}\nfdatasync of a rewritten block of 8 KiB: median {:.0} µs of {SYNCS}\n{engines}\nseed {}, {} repeats of \
         baseline, ours, baseline; medians; load average {}",
        machine()?,
        sync_us()?,
        plan.seed,
        plan.repeats,
        load()?
    ))
}

/// Of the last minute, five and fifteen.
pub(crate) fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("read the load average")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("read what the CPUs are")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").context("read how much memory there is")?;
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
    Ok(format!(
        "{count} × {}, {} GiB, Linux {}",
        model.map_or("unknown CPU", |(_, name)| name),
        kib.unwrap_or_default() >> 20,
        kernel.trim()
    ))
}

/// In the folder of temporary files, where the rows' logs and databases lie, too.
fn sync_us() -> Result<f64> {
    let folder = tempfile::TempDir::new().context("make a folder")?;
    let file = File::create(folder.path().join("block"))?;
    let block = vec![7; BLOCK];
    file.write_all_at(&block, 0)?;
    file.sync_all()?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(took))
}
