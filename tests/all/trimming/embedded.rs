//! The embedded system on a clock that is moved: segments go when they are old and every shard has synced past them.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use millpond::embedded::Options;
use millpond_log::{Clock, Manual};
use millpond_schemas::{Offset, PartitionId, UnixMillis, floor::TRIM_AGE_MIN};
use millpond_shard::Dump;
use millpond_tests::pond::{Pond, Writer, key, put};
use millpond_writer::Config;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) const START: UnixMillis = UnixMillis(1_800_000_000_000);
pub(super) const HOUR: Duration = Duration::from_hours(1);
const PATIENCE: Duration = Duration::from_mins(1);
/// Of each value, so that some tens of them fill a segment.
const VALUE: &str = include_str!("embedded.rs");

pub(super) fn options(dir: &Path, clock: &Arc<Manual>) -> Options {
    let clock = Clock::Manual(Arc::clone(clock));
    Options { partitions: 4, segment_bytes: 64 << 10, clock, ..Options::new(dir) }
}

/// An empty pond on a clock of its own.
async fn opened() -> Result<(TempDir, Arc<Manual>, Pond)> {
    let (dir, clock) = (TempDir::new()?, Manual::new(START));
    let pond = Pond::open(&options(dir.path(), &clock)).await?;
    Ok((dir, clock, pond))
}

/// Everything, in the order in which it ends.
async fn all_end(sweeper: Sweeper, writer: Writer, pond: Pond) -> Result<()> {
    sweeper.stop().await;
    writer.stop().await;
    pond.close().await;
    Ok(())
}

/// A sweeper that trims what is older than this.
pub(super) struct Sweeper {
    metrics: millpond_sweeper::Metrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Sweeper {
    pub(super) fn start(pond: &Pond, trim_after: Option<Duration>) -> Self {
        let config = millpond_sweeper::Config {
            interval: Duration::from_mins(10),
            trim_after,
            trim_interval: Duration::from_millis(2),
            ..millpond_sweeper::Config::default()
        };
        let parts = pond.embedded.sweeper(config);
        let (metrics, stop) = (parts.metrics.clone(), CancellationToken::new());
        Self { metrics, task: tokio::spawn(millpond_sweeper::run(parts, stop.clone())), stop }
    }

    /// Waits for two whole rounds that begin from now on.
    pub(super) async fn rounds(&self) -> Result<()> {
        let wanted = self.metrics.trim_rounds() + 3;
        let reached = async {
            while self.metrics.trim_rounds() < wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.context("the sweeper goes on")
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("a sweeper never panics");
    }
}

/// Puts of so many keys, all of them old ones again.
pub(super) async fn fill(pond: &Pond, keys: usize) -> Result<()> {
    for at in 0..keys {
        pond.send(&put(&format!("key-{at}"), VALUE)).await?;
    }
    Ok(())
}

pub(super) async fn starts(pond: &Pond) -> Result<Vec<Offset>> {
    let mut starts = Vec::new();
    for partition in (0..pond.partitions()).map(PartitionId) {
        starts.push(pond.embedded.log.bounds(partition).await?.start);
    }
    Ok(starts)
}

async fn dumps(pond: &Pond) -> Result<Vec<Dump>> {
    let mut dumps = Vec::new();
    for partition in (0..pond.partitions()).map(PartitionId) {
        dumps.push(pond.dump(partition).await?);
    }
    Ok(dumps)
}

/// What must hold of a trimmed log, whatever was trimmed.
async fn nothing_needed_is_gone(pond: &Pond, now: UnixMillis) -> Result<()> {
    for (partition, start) in (0..).map(PartitionId).zip(starts(pond).await?) {
        let mark = pond.shard(partition).watermark(partition).await?.context("there is a copy")?;
        ensure!(
            start <= mark.digest_offset,
            "{partition}: it starts at {start}, the copy stands at {mark:?}"
        );
        let compared = pond.embedded.log.record(partition, mark.digest_offset).await?;
        let compared = compared.context("the compared record is there")?;
        ensure!(compared.raw.digest() == mark.digest, "{partition}: another record is compared");
        // What was trimmed is the oldest: so it is enough that the first one left is the first young one, or older.
        let day = i64::try_from(TRIM_AGE_MIN.as_millis())?;
        let first_young = pond.embedded.log.older(&[UnixMillis(now.0 - day); 4]).await;
        let first_young = first_young[partition.0 as usize].context("the log tells its ages")?;
        ensure!(start <= first_young, "{partition}: a record of the last 24 h is gone");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_and_applied_is_trimmed_and_all_goes_on_after_a_restart() -> Result<()> {
    let (dir, clock, pond) = opened().await?;
    let writer = pond.writer(Config::default());
    fill(&pond, 100).await?;
    pond.drained().await?;
    let sweeper = Sweeper::start(&pond, Some(TRIM_AGE_MIN));
    clock.advance(23 * HOUR);
    fill(&pond, 100).await?;
    pond.drained().await?;
    sweeper.rounds().await?;
    assert_eq!(starts(&pond).await?, [Offset(0); 4], "nothing is a day old");
    clock.advance(2 * HOUR);
    fill(&pond, 50).await?;
    pond.drained().await?;
    sweeper.rounds().await?;
    let trimmed = starts(&pond).await?;
    assert!(trimmed.iter().all(|start| *start > Offset(0)), "{trimmed:?}");
    nothing_needed_is_gone(&pond, Clock::Manual(Arc::clone(&clock)).now()).await?;
    sweeper.stop().await;
    writer.stop().await;
    let before = dumps(&pond).await?;
    pond.close().await;

    let pond = Pond::open(&options(dir.path(), &clock)).await?;
    assert_eq!(starts(&pond).await?, trimmed);
    let writer = pond.writer(Config::default());
    let (partition, ack) = pond.send(&put("key-0", "new")).await?;
    pond.applied(partition, ack.offset).await?;
    pond.drained().await?;
    let after = dumps(&pond).await?;
    for (before, after) in before.iter().zip(&after) {
        let other =
            |dump: &Dump| dump.rows.iter().filter(|row| row.key != key("key-0")).cloned().collect::<Vec<_>>();
        assert_eq!(other(before), other(after));
        assert!(after.watermark.applied > before.watermark.applied, "it was claimed");
    }
    writer.stop().await;
    pond.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_age_than_a_day_keeps_the_last_day_all_the_same() -> Result<()> {
    let (_dir, clock, pond) = opened().await?;
    let writer = pond.writer(Config::default());
    let sweeper = Sweeper::start(&pond, Some(Duration::ZERO));
    fill(&pond, 100).await?;
    clock.advance(TRIM_AGE_MIN);
    fill(&pond, 10).await?;
    pond.drained().await?;
    sweeper.rounds().await?;
    assert_eq!(starts(&pond).await?, [Offset(0); 4]);
    all_end(sweeper, writer, pond).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_age_nothing_is_ever_trimmed() -> Result<()> {
    let (_dir, clock, pond) = opened().await?;
    let writer = pond.writer(Config::default());
    fill(&pond, 100).await?;
    clock.advance(1000 * HOUR);
    fill(&pond, 100).await?;
    pond.drained().await?;
    let sweeper = Sweeper::start(&pond, None);
    sweeper.rounds().await?;
    assert_eq!(starts(&pond).await?, [Offset(0); 4]);
    all_end(sweeper, writer, pond).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_applies_nothing_holds_the_floor_however_old_its_records_are() -> Result<()> {
    let (_dir, clock, pond) = opened().await?;
    let sweeper = Sweeper::start(&pond, Some(TRIM_AGE_MIN));
    // No copy is there yet.
    fill(&pond, 100).await?;
    clock.advance(100 * HOUR);
    fill(&pond, 100).await?;
    sweeper.rounds().await?;
    assert_eq!(starts(&pond).await?, [Offset(0); 4]);

    // Copies stand somewhere, and go no further.
    let writer = pond.writer(Config::default());
    pond.drained().await?;
    writer.stop().await;
    fill(&pond, 100).await?;
    clock.advance(100 * HOUR);
    fill(&pond, 100).await?;
    sweeper.rounds().await?;
    let now = Clock::Manual(Arc::clone(&clock)).now();
    nothing_needed_is_gone(&pond, now).await?;
    let held = starts(&pond).await?;

    let writer = pond.writer(Config::default());
    pond.drained().await?;
    sweeper.rounds().await?;
    nothing_needed_is_gone(&pond, now).await?;
    let trimmed = starts(&pond).await?;
    assert!(trimmed.iter().zip(&held).any(|(now, before)| now > before), "{held:?}, then {trimmed:?}");
    all_end(sweeper, writer, pond).await
}

/// The data directory as a power loss would leave it at best for the log and at worst for the shards: all of the log,
/// and of each shard only what a checkpoint has synced.
fn without_what_was_not_synced(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, to) = (entry.file_name(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            without_what_was_not_synced(&entry.path(), &to)?;
        } else if !name.to_string_lossy().ends_with("-wal") && !name.to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_segment_goes_before_what_it_holds_is_synced_in_every_shard() -> Result<()> {
    let ((dir, clock, pond), lost) = (opened().await?, TempDir::new()?);
    let writer = pond.writer(Config::default());
    // So little that SQLite does not sync it by itself.
    fill(&pond, 40).await?;
    clock.advance(25 * HOUR);
    fill(&pond, 20).await?;
    pond.drained().await?;
    writer.stop().await;
    let sweeper = Sweeper::start(&pond, Some(TRIM_AGE_MIN));
    sweeper.rounds().await?;
    sweeper.stop().await;
    let trimmed = starts(&pond).await?;
    assert!(trimmed.iter().any(|start| *start > Offset(0)), "something was trimmed");
    let before = dumps(&pond).await?;
    without_what_was_not_synced(dir.path(), lost.path())?;
    pond.close().await;

    let pond = Pond::open(&options(lost.path(), &clock)).await?;
    let writer = pond.writer(Config::default());
    pond.drained().await.context("every copy finds on the log what it needs")?;
    for (before, after) in before.iter().zip(dumps(&pond).await?) {
        assert_eq!(before.rows, after.rows);
    }
    writer.stop().await;
    pond.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_below_the_start_of_the_log_halts_and_changes_nothing() -> Result<()> {
    let ((dir, clock, pond), older) = (opened().await?, TempDir::new()?);
    let writer = pond.writer(Config::default());
    fill(&pond, 4).await?;
    pond.drained().await?;
    writer.stop().await;
    for entry in fs::read_dir(dir.path())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("shard-") {
            fs::copy(entry.path(), older.path().join(entry.file_name()))?;
        }
    }
    let writer = pond.writer(Config::default());
    fill(&pond, 100).await?;
    clock.advance(25 * HOUR);
    fill(&pond, 20).await?;
    pond.drained().await?;
    let sweeper = Sweeper::start(&pond, Some(TRIM_AGE_MIN));
    sweeper.rounds().await?;
    sweeper.stop().await;
    writer.stop().await;
    let trimmed = starts(&pond).await?;
    pond.close().await;

    // Somebody puts back an old copy of the shards.
    for entry in fs::read_dir(dir.path())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("shard-") {
            fs::remove_file(entry.path())?;
        }
    }
    for entry in fs::read_dir(older.path())? {
        let entry = entry?;
        fs::copy(entry.path(), dir.path().join(entry.file_name()))?;
    }
    let pond = Pond::open(&options(dir.path(), &clock)).await?;
    let before = dumps(&pond).await?;
    let writer = pond.writer(Config::default());
    let (partition, _) = (0..)
        .map(PartitionId)
        .zip(&trimmed)
        .find(|(_, start)| **start > Offset(20))
        .context("one was trimmed")?;
    assert_eq!(writer.halted(partition).await?, "log-gap");
    writer.stop().await;
    assert_eq!(before[partition.0 as usize], pond.dump(partition).await?);
    pond.close().await;
    Ok(())
}
