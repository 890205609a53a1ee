//! Applying to SQLite, beside a C loop over one prepared upsert; and two files beside one.
//!
//! Invariant: both sides open files that a shard has made, with the same pragmas, hold the same keys, and draw them alike.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use millpond_schemas::Flush;
use millpond_shard::{Shard, SqliteConfig};

use super::{
    Plan,
    flushes::{Flushes, VALUE_BYTES, start},
    line::Line,
    sample::{Compared, Runs, Sample, Side, Stretch, float},
    tools::beside,
};

const ROWS: i64 = 4_000;
const LOOP: &str = "sqlite_loop";
const DURABILITY: &str = "WAL, synchronous=NORMAL: the log is the truth";

/// Rows per second against the loop, then two files against one.
pub(crate) async fn run(plan: &Plan) -> Result<Vec<Line>> {
    let (keys, flushes) = plan.pick((200_000, 40), (1_000_000, 60));
    let mut lines = against_loop(plan, keys, flushes).await?;
    lines.push(two_files(plan, keys, flushes).await?);
    lines[0] = lines[0].clone().note(format!("uniform over {keys} keys, {VALUE_BYTES} B, flushes of {ROWS}"));
    Ok(lines.into_iter().map(|line| line.durable(DURABILITY)).collect())
}

struct File {
    shard: Shard,
    flushes: Flushes,
}

async fn open(path: &Path, (keys, seed): (u64, u64)) -> Result<File> {
    let shard = Shard::open(&SqliteConfig::new(path)).await?;
    shard.create_copy(start(0)).await?;
    let mut file = File { shard, flushes: Flushes { at: start(0), keys, records: ROWS, seed } };
    // As many draws as there are keys leave two thirds of them there.
    let fill = i64::try_from(keys)? / ROWS;
    for _ in 0..fill {
        let flush = file.flushes.some(1);
        apply(&file.shard, flush).await?;
    }
    Ok(file)
}

async fn apply(shard: &Shard, flushes: Vec<Flush>) -> Result<()> {
    for flush in flushes {
        ensure!(shard.apply(vec![flush]).await?.fenced.is_empty(), "a flush was fenced");
    }
    Ok(())
}

async fn against_loop(plan: &Plan, keys: u64, flushes: i64) -> Result<Vec<Line>> {
    let folder = tempfile::TempDir::new().context("make a folder")?;
    let plain = folder.path().join("plain.sqlite");
    let filled = open(&plain, (keys, plan.seed)).await?;
    let first = filled.flushes.at.applied.0 + 1;
    filled.shard.close().await;
    let mut ours = open(&folder.path().join("ours.sqlite"), (keys, plan.seed)).await?;
    let rows = float((ROWS * flushes).unsigned_abs());
    let runs = Runs::interleave(plan.repeats, async |side, number| match side {
        Side::Baseline => {
            let from = first + ROWS * flushes * i64::try_from(number)?;
            looped(&plain, (flushes, from), (keys, plan.seed))
        }
        Side::Ours => {
            let made = ours.flushes.some(flushes);
            let stretch = Stretch::start()?;
            apply(&ours.shard, made).await?;
            stretch.end(rows)
        }
    })
    .await?;
    ours.shard.close().await;
    Ok(vec![
        runs.line("apply to SQLite: rows/s", Compared::rate("rows/s", 0.90)).note(runs.shares()),
        // The loop's CPU time holds what makes its rows; it is small beside the upserts.
        runs.line("apply to SQLite: CPU of all", Compared::cpu(1.25)),
    ])
}

fn looped(path: &Path, (flushes, from): (i64, i64), (keys, seed): (u64, u64)) -> Result<Sample> {
    let cache_kib = SqliteConfig::new(path).cache_kib;
    let mut command = Command::new(beside(LOOP)?);
    command.arg(path).args([flushes, ROWS].map(|number| number.to_string()));
    command.arg(keys.to_string()).arg(from.to_string()).args([seed, cache_kib.into()].map(|n| n.to_string()));
    let stretch = Stretch::start()?;
    let output = command.output().context("run the loop")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let said = String::from_utf8_lossy(&output.stdout);
    let (rows, seconds) = said.trim().split_once(' ').context("the loop says rows and seconds")?;
    stretch.end_with(rows.parse()?, Duration::from_secs_f64(seconds.parse()?))
}

/// The same number of rows in two files at once, and in one.
async fn two_files(plan: &Plan, keys: u64, flushes: i64) -> Result<Line> {
    let folder = tempfile::TempDir::new().context("make a folder")?;
    let keys = keys / 2;
    let mut one = open(&folder.path().join("one.sqlite"), (keys, plan.seed)).await?;
    let mut other = open(&folder.path().join("other.sqlite"), (keys, plan.seed + 1)).await?;
    let rows = float((ROWS * flushes).unsigned_abs());
    let runs = Runs::interleave(plan.repeats, async |side, _| {
        let (half, rest) = match side {
            Side::Baseline => (one.flushes.some(flushes), Vec::new()),
            Side::Ours => (one.flushes.some(flushes / 2), other.flushes.some(flushes / 2)),
        };
        let stretch = Stretch::start()?;
        let first = tokio::spawn({
            let shard = one.shard.clone();
            async move { apply(&shard, half).await }
        });
        apply(&other.shard, rest).await?;
        first.await.context("the first half panicked")??;
        stretch.end(rows)
    })
    .await?;
    one.shard.close().await;
    other.shard.close().await;
    Ok(runs.line("apply to SQLite: two files / one", Compared::rate("rows/s", 1.7)))
}
