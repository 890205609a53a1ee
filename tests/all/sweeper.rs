//! Sweepers: what is due becomes tombstones, and those go after the grace; any number of sweepers does no harm.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use millpond::embedded::Options;
use millpond_log::{Clock, Manual};
use millpond_schemas::{CONTENT_TYPE_DEFAULT, Expiry, Op, PartitionId, Row, UnixMillis};
use millpond_shard::{Shard, SqliteConfig};
use millpond_tests::pond::{Pond, mutation};
use millpond_writer::{ClaimConfig, Config};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const START: UnixMillis = UnixMillis(1_800_000_000_000);
const GRACE: Duration = Duration::from_secs(100);
const KEYS: usize = 200;

fn sweeper(pond: &Pond, clock: &Arc<Manual>, stop: &CancellationToken) -> JoinHandle<()> {
    let config = millpond_sweeper::Config {
        interval: Duration::from_millis(2),
        interval_busy: Duration::from_millis(1),
        rows_max: 7,
        purge_grace: GRACE,
        ..millpond_sweeper::Config::default()
    };
    let clock = Clock::Manual(Arc::clone(clock));
    let parts = millpond_sweeper::Parts { clock, ..pond.embedded.sweeper(config) };
    tokio::spawn(millpond_sweeper::run(parts, stop.clone()))
}

async fn rows(pond: &Pond) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for partition in (0..pond.partitions()).map(PartitionId) {
        all.extend(pond.dump(partition).await?.rows);
    }
    Ok(all)
}

/// Waits, flush by flush, until the rows are as wanted.
async fn until(pond: &Pond, wanted: impl Fn(&[Row]) -> bool) -> Result<()> {
    let mut outcomes = pond.embedded.outcomes.subscribe().await?;
    let reached = async {
        while !wanted(&rows(pond).await?) {
            outcomes.next().await.context("the writer goes on")?;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_mins(1), reached).await.context("the rows never get there")?
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sweepers_with_clocks_years_apart_expire_and_purge_once() -> Result<()> {
    let dir = TempDir::new()?;
    let clock = Manual::new(START);
    let options =
        Options { partitions: 4, clock: Clock::Manual(Arc::clone(&clock)), ..Options::new(dir.path()) };
    let pond = Pond::open(&options).await?;
    let claim = ClaimConfig { purge_grace: GRACE, ..Config::default().claim };
    let writer = pond.writer(Config { claim, ..Config::default() });
    for n in 0..KEYS {
        let expiry = (n % 2 == 0).then_some(Expiry::TtlMs(5_000));
        let content_type = CONTENT_TYPE_DEFAULT.into();
        let put = Op::Put { value: format!("{n}").into(), content_type, expiry };
        pond.send(&mutation(&format!("k{n}"), put)).await?;
    }
    pond.drained().await?;

    let stop = CancellationToken::new();
    let ahead = Manual::new(UnixMillis(START.0 + 10 * 365 * 86_400_000));
    let sweepers = [sweeper(&pond, &clock, &stop), sweeper(&pond, &ahead, &stop)];
    pond.drained().await?;
    assert!(
        rows(&pond).await?.iter().all(|row| !row.is_tombstone()),
        "nothing is due by the records' own time"
    );

    clock.advance(Duration::from_secs(6));
    let dead = |rows: &[Row]| rows.iter().filter(|row| row.is_tombstone()).count();
    until(&pond, |rows| dead(rows) == KEYS / 2 && rows.len() == KEYS).await?;

    clock.advance(GRACE);
    until(&pond, |rows| dead(rows) == 0 && rows.len() == KEYS / 2).await?;

    stop.cancel();
    for sweeper in sweepers {
        sweeper.await?;
    }
    pond.drained().await?;
    writer.stop().await;
    assert_replays(&pond).await?;
    pond.close().await;
    Ok(())
}

/// The copies are what the log says, whatever the sweepers' clocks.
async fn assert_replays(pond: &Pond) -> Result<()> {
    let dir = TempDir::new()?;
    let shard = Shard::open(&SqliteConfig::new(dir.path().join("copy.sqlite"))).await?;
    for partition in (0..pond.partitions()).map(PartitionId) {
        pond.replay(partition, &shard, 500).await?;
        assert_eq!(shard.dump(partition).await?.rows, pond.dump(partition).await?.rows);
    }
    shard.close().await;
    Ok(())
}
