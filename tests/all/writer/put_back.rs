//! A shard or a log that is put back to an earlier moment, as a restore does, or the promotion of a replica that lagged.
//!
//! One partition and one shard. Their files are exchanged while nobody has them open.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use millpond::embedded::Options;
use millpond_schemas::{Control, ControlOp, Offset, PartitionId, Record, Watermark};
use millpond_tests::pond::{Pond, put};
use millpond_writer::Config;
use tempfile::TempDir;

const PARTITION: PartitionId = PartitionId(0);
const SHARD: &str = "shard-0.sqlite";
const LOG: &str = "log/mutations.1";

async fn open(dir: &Path) -> Result<Pond> {
    Pond::open(&Options { partitions: 1, shards: 1, ..Options::new(dir) }).await
}

/// A writer's life, in which it applies one put: the watermark that it leaves.
async fn life(dir: &Path, value: &'static str) -> Result<Watermark> {
    let pond = open(dir).await?;
    let writer = pond.writer(Config::default());
    pond.send(&put("a", value)).await?;
    pond.drained().await?;
    writer.stop().await;
    let watermark = pond.dump(PARTITION).await?.watermark;
    pond.close().await;
    ensure!(!dir.join(format!("{SHARD}-wal")).exists(), "the file alone is the shard");
    Ok(watermark)
}

/// Copies a folder of files.
fn copied(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

async fn is_claim(pond: &Pond, offset: Offset) -> Result<bool> {
    let record = pond.embedded.log.record(PARTITION, offset).await?.context("a record")?;
    let decoded = pond.decoder(PARTITION).decode(&record);
    Ok(matches!(decoded, Ok(Record::Control(Control { op: ControlOp::Claim(_), .. }))))
}

/// A counter in the shard would go back with it.
#[tokio::test]
async fn no_owner_is_issued_twice_though_the_shard_was_put_back() -> Result<()> {
    let dir = TempDir::new()?;
    let (shard, aside) = (dir.path().join(SHARD), dir.path().join("aside"));
    let first = life(dir.path(), "1").await?.owner;
    fs::copy(&shard, &aside)?;
    let second = life(dir.path(), "2").await?.owner;
    fs::copy(&aside, &shard)?;
    let third = life(dir.path(), "3").await?.owner;
    ensure!(first < second && second < third, "owners {first}, {second} and {third}");
    let pond = open(dir.path()).await?;
    for owner in [first, second, third] {
        ensure!(is_claim(&pond, owner).await?, "owner {owner} is no Claim");
    }
    pond.close().await;
    Ok(())
}

#[tokio::test]
async fn a_log_that_was_put_back_and_has_grown_since_halts_and_nothing_of_it_is_applied() -> Result<()> {
    let dir = TempDir::new()?;
    let (log, aside) = (dir.path().join(LOG), dir.path().join("aside"));
    life(dir.path(), "1").await?;
    copied(&log, &aside)?;
    let applied = life(dir.path(), "2").await?.applied;
    fs::remove_dir_all(&log)?;
    fs::rename(&aside, &log)?;

    let pond = open(dir.path()).await?;
    let last = applied.next();
    while pond.embedded.log.bounds(PARTITION).await?.end <= last {
        pond.send(&put("a", "another")).await?;
    }
    let before = pond.dump(PARTITION).await?;
    let writer = pond.writer(Config::default());
    let halted = tokio::select! {
        halted = writer.halted(PARTITION) => halted?,
        applied = pond.applied(PARTITION, last) => applied.map(|()| "not at all")?,
    };
    assert_eq!(halted, "log-diverged");
    assert_eq!(pond.dump(PARTITION).await?, before);
    writer.stop().await;
    pond.close().await;
    Ok(())
}
