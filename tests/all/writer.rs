//! The writer on a real log and real shards: what is appended is applied once, in order, whoever is in the way.

mod put_back;

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millpond::embedded::Options;
use millpond_log::{Append, Clock, Manual};
use millpond_schemas::{
    Conditions, Control, ControlOp, DeadReason, LogId, Mutation, Offset, Op, Outcome, PartitionId, Raw,
    Rejection, UnixMillis, limits::TIME_JUMP_MS_MAX,
};
use millpond_shard::{Dump, Shard, SqliteConfig};
use millpond_tests::pond::{Pond, increment, key, mutation, put};
use millpond_writer::Config;
use tempfile::TempDir;

/// A copy's content without who wrote it: the owner is the only thing that a replay does not repeat.
fn content(mut dump: Dump) -> Dump {
    dump.watermark.owner = Offset::NONE;
    dump
}

/// Every partition, replayed into an empty shard in flushes of any size, is what serves.
async fn assert_replays(pond: &Pond) -> Result<()> {
    for flush_records_max in [1, 7, 500] {
        let dir = TempDir::new()?;
        let shard = Shard::open(&SqliteConfig::new(dir.path().join("copy.sqlite"))).await?;
        for partition in (0..pond.partitions()).map(PartitionId) {
            pond.replay(partition, &shard, flush_records_max).await?;
            assert_eq!(content(shard.dump(partition).await?), content(pond.dump(partition).await?));
        }
        shard.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_appended_is_applied_in_order_and_replays_to_the_same() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Pond::small(dir.path()).await?;
    let writer = pond.writer(Config::default());
    pond.send(&put("a", "1")).await?;
    let (partition, second) = pond.send(&put("a", "2")).await?;
    pond.send(&mutation("b", Op::Delete)).await?;
    let conditional = Conditions { absent: true, ..Conditions::default() };
    let (_, rejected) = pond.send(&Mutation { conditions: conditional, ..put("a", "3") }).await?;
    pond.drained().await?;

    let snapshot = pond.shard(partition).read(partition, vec![key("a")]).await?;
    let row = snapshot.rows[0].clone().expect("the key is there");
    assert_eq!((row.value, row.version.offset()), (Some(Bytes::from_static(b"2")), second.offset));
    let outcome = pond.dump(partition).await?.outcomes.into_iter().find(|one| one.offset == rejected.offset);
    let Some(Outcome::Rejected(rejected)) = outcome.map(|one| one.outcome) else { panic!("a rejection") };
    assert_eq!((rejected.rejection, rejected.current), (Rejection::ConditionFailed, Some(row.version)));

    writer.stop().await;
    assert_replays(&pond).await?;
    pond.close().await;
    Ok(())
}

#[tokio::test]
async fn repeats_with_one_idempotency_key_count_once_across_restarts() -> Result<()> {
    let dir = TempDir::new()?;
    for _ in 0..3 {
        let pond = Pond::small(dir.path()).await?;
        let writer = pond.writer(Config::default());
        for name in ["x", "y", "x"] {
            pond.send(&increment("n", name)).await?;
        }
        pond.drained().await?;
        let partition = pond.partition(&key("n"));
        let row = pond.shard(partition).read(partition, vec![key("n")]).await?.rows.remove(0).expect("a row");
        assert_eq!(row.value, Some(Bytes::from_static(b"2")));
        writer.stop().await;
        assert_replays(&pond).await?;
        pond.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn two_writers_of_the_same_copies_do_no_harm() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Pond::small(dir.path()).await?;
    let config = Config { flush_records_max: 3, ..Config::default() };
    let writers = [pond.writer(config.clone()), pond.writer(config)];
    for round in 0..300 {
        let records = (0..8).map(|n| {
            let mutation = increment(&format!("k{n}"), &format!("{round}"));
            Append { partition: pond.partition(&mutation.key), raw: mutation.encode() }
        });
        pond.embedded.log.append(records.collect()).await?;
    }
    pond.drained().await?;
    for n in 0..8 {
        let key = key(&format!("k{n}"));
        let partition = pond.partition(&key);
        let row = pond.shard(partition).read(partition, vec![key]).await?.rows.remove(0).expect("a row");
        assert_eq!(row.value, Some(Bytes::from_static(b"300")));
    }
    for writer in writers {
        writer.stop().await;
    }
    assert_replays(&pond).await?;
    pond.close().await;
    Ok(())
}

#[tokio::test]
async fn a_copy_of_another_log_halts_and_applies_nothing() -> Result<()> {
    let (first, second) = (TempDir::new()?, TempDir::new()?);
    for dir in [&first, &second] {
        let pond = Pond::small(dir.path()).await?;
        let writer = pond.writer(Config::default());
        pond.send(&put("a", "1")).await?;
        pond.drained().await?;
        writer.stop().await;
        pond.close().await;
    }
    for n in 0..2 {
        let name = format!("shard-{n}.sqlite");
        std::fs::copy(first.path().join(&name), second.path().join(&name))?;
    }
    let pond = Pond::small(second.path()).await?;
    let writer = pond.writer(Config::default());
    let partition = pond.partition(&key("a"));
    let before = pond.dump(partition).await?;
    assert_eq!(writer.halted(partition).await?, "log-diverged");
    assert_eq!(pond.dump(partition).await?, before);
    writer.stop().await;
    pond.close().await;
    Ok(())
}

/// It would fill the log while the clock is wrong or the shard does not answer, and wear out the duplicate window.
#[tokio::test(start_paused = true)]
async fn trying_again_takes_no_further_claim() -> Result<()> {
    let now = UnixMillis(1_800_000_000_000);
    let dir = TempDir::new()?;
    let options = |clock| Options { partitions: 1, shards: 1, clock, ..Options::new(dir.path()) };
    let ahead = Clock::Manual(Manual::new(now.plus_ms(2 * TIME_JUMP_MS_MAX)));
    let pond = Pond::open(&options(ahead)).await?;
    let (partition, _) = pond.send(&put("a", "1")).await?;
    pond.close().await;

    let clock = Manual::new(now);
    let pond = Pond::open(&options(Clock::Manual(Arc::clone(&clock)))).await?;
    let writer = pond.writer(Config::default());
    assert_eq!(writer.halted(partition).await?, "time-jump");
    let claimed = pond.embedded.log.bounds(partition).await?.end;
    for _ in 0..5 {
        let before = writer.statuses.totals().resyncs;
        tokio::time::advance(Duration::from_secs(1)).await;
        while writer.statuses.totals().resyncs == before {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(pond.embedded.log.bounds(partition).await?.end, claimed);
    tokio::time::resume();
    clock.advance(Duration::from_millis(2 * TIME_JUMP_MS_MAX));
    pond.drained().await?;
    writer.stop().await;
    pond.close().await;
    Ok(())
}

#[tokio::test]
async fn forged_and_broken_records_are_dead_lettered_and_stop_nobody() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Pond::small(dir.path()).await?;
    let writer = pond.writer(Config::default());
    let partition = pond.partition(&key("a"));
    let sweep = Control {
        id: [7; 16],
        log_id: LogId([9; 16]),
        partition,
        end_seen: Offset(0),
        mac_key_id: 1,
        op: ControlOp::Sweep { rows_max: 1 },
    };
    let forged = pond.append(partition, sweep.encode(&pond.embedded.keyring)?).await?;
    let keyless =
        pond.append(partition, Raw { value: Some(Bytes::from_static(b"v")), ..Raw::default() }).await?;
    pond.send(&put("a", "good")).await?;
    pond.drained().await?;

    let letters = pond.shard(partition).dead_letters(partition, Offset(0), 10).await?;
    let found: Vec<_> = letters.iter().map(|letter| (letter.offset, letter.refusal.reason)).collect();
    let wanted = [(forged.offset, DeadReason::ForgedControlRecord), (keyless.offset, DeadReason::MissingKey)];
    assert_eq!(found, wanted);
    let rows = pond.shard(partition).read(partition, vec![key("a")]).await?.rows;
    assert_eq!(rows[0].as_ref().and_then(|row| row.value.clone()), Some(Bytes::from_static(b"good")));
    writer.stop().await;
    assert_replays(&pond).await?;
    pond.close().await;
    Ok(())
}

/// Holds a shard's file for writing, as another program may: `sqlite3` with a transaction open.
struct Held(std::process::Child);

impl Held {
    fn hold(file: &Path) -> Result<Self> {
        let mut sqlite = Command::new("sqlite3");
        let mut child = sqlite.arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.as_mut().context("it is piped")?;
        stdin.write_all(b".timeout 60000\nBEGIN IMMEDIATE;\nSELECT 'held';\n")?;
        let mut said = [0; 5];
        child.stdout.as_mut().context("it is piped")?.read_exact(&mut said)?;
        ensure!(&said == b"held\n", "sqlite3 does not hold the file");
        Ok(Self(child))
    }

    /// Ends the transaction.
    fn let_go(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        ensure!(self.0.wait()?.success(), "sqlite3 failed");
        Ok(())
    }
}

#[tokio::test]
async fn nothing_is_published_before_its_commit_and_a_shard_that_waits_makes_no_dead_letter() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Pond::open(&Options { partitions: 1, shards: 1, ..Options::new(dir.path()) }).await?;
    let writer = pond.writer(Config::default());
    pond.send(&put("a", "1")).await?;
    pond.drained().await?;

    let mut outcomes = pond.embedded.outcomes.subscribe().await.context("it passes through memory")?;
    let held = Held::hold(&dir.path().join("shard-0.sqlite"))?;
    let resyncs = writer.statuses.totals().resyncs;
    let (partition, sent) = pond.send(&put("a", "2")).await?;
    // The commit was tried, and given up.
    let tried = async {
        while writer.statuses.totals().resyncs == resyncs {
            tokio::task::yield_now().await;
        }
    };
    let heard = tokio::time::timeout(Duration::from_mins(1), async {
        tokio::select! {
            heard = outcomes.next() => Some(heard),
            () = tried => None,
        }
    });
    ensure!(heard.await?.is_none(), "an outcome was published before its commit");
    held.let_go()?;

    pond.applied(partition, sent.offset).await?;
    let dump = pond.dump(partition).await?;
    assert_eq!(dump.dead_letters, []);
    let row = dump.rows.into_iter().find(|row| row.key == key("a")).expect("the key is there");
    assert_eq!((row.value, row.version.offset()), (Some(Bytes::from_static(b"2")), sent.offset));
    writer.stop().await;
    pond.close().await;
    Ok(())
}
