//! What housekeeping has forgotten is no difference, and what it must not have forgotten is one.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use millpond::embedded::Options;
use millpond_log::{Clock, Manual, Topologies};
use millpond_schemas::{Conditions, MutationId, Offset, PartitionId, UnixMillis};
use millpond_tests::pond::{Pond, put_bytes};
use millpond_writer::{Config, Verdict, Verify};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

const START: UnixMillis = UnixMillis(1_800_000_000_000);
const P0: PartitionId = PartitionId(0);
const HOUR_MS: u64 = 3_600_000;

async fn verify(pond: &Pond) -> Result<Verdict> {
    let scratch = TempDir::new()?;
    let topologies = Mutex::new(Topologies::open(pond.embedded.control.clone()).await?);
    let verify = Verify {
        log: &pond.embedded.log,
        topologies: &topologies,
        keyring: pond.embedded.keyring.clone(),
        scratch: scratch.path(),
        differences_max: 10,
        told: &|_, _| {},
        stop: CancellationToken::new(),
    };
    Ok(verify.run(&pond.shard(P0), P0).await?)
}

/// Every third is durable, every second is rejected.
async fn records(pond: &Pond, from: u8, to: u8) -> Result<Offset> {
    let mut last = Offset::NONE;
    for n in from..to {
        let mut one = put_bytes("k", format!("{n}"));
        one.id = Some(MutationId { bytes: [n + 1; 16], durable: n % 3 == 0 });
        one.conditions = Conditions { absent: n % 2 == 0, ..Conditions::default() };
        last = pond.send(&one).await?.1.offset;
    }
    Ok(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn memories_older_than_a_day_may_be_gone_or_not() -> Result<()> {
    let dir = TempDir::new()?;
    let clock = Manual::new(START);
    let options = Options {
        partitions: 1,
        shards: 1,
        clock: Clock::Manual(Arc::clone(&clock)),
        ..Options::new(dir.path())
    };
    let pond = Pond::open(&options).await?;
    let mut from = 0;
    for flush_records_max in [7, 3, 1] {
        let writer = pond.writer(Config { flush_records_max, ..Config::default() });
        // The edge of the day lies inside of a flush.
        for hours in [0, 1, 12] {
            clock.advance(std::time::Duration::from_millis(hours * HOUR_MS));
            let last = records(&pond, from, from + 10).await?;
            from += 10;
            pond.applied(P0, last).await?;
        }
        writer.stop().await;
        let before = verify(&pond).await?;
        ensure!(before.is_equal(), "{before:?}");
        let shard = pond.shard(P0);
        while shard.prune(P0, 2).await? {
            let during = verify(&pond).await?;
            ensure!(during.is_equal(), "{during:?}");
        }
        let after = verify(&pond).await?;
        ensure!(after.is_equal(), "{after:?}");
        ensure!(after.copy == before.copy, "what may be forgotten is in no digest: {before:?} {after:?}");
        clock.advance(std::time::Duration::from_millis(6 * HOUR_MS));
    }
    let kept = pond.shard(P0).operations(P0).await?;
    ensure!(!kept.is_empty() && kept.len() < 30, "something is forgotten, and not all: {}", kept.len());
    let file = dir.path().join("shard-0.sqlite");
    for table in ["operation", "seen", "outcome"] {
        let place = if table == "operation" { "time" } else { "from_offset" };
        let delete = format!("DELETE FROM {table} WHERE {place} = (SELECT max({place}) FROM {table})");
        let done =
            std::process::Command::new("sqlite3").arg(&file).arg(delete).status().context("sqlite3")?;
        ensure!(done.success(), "{table} cannot be changed");
        let found = verify(&pond).await?;
        let named = found.differences.iter().any(|difference| difference.table == table);
        ensure!(named && !found.is_equal(), "{table}: {found:?}");
    }
    pond.close().await;
    Ok(())
}
