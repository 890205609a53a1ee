//! A copy that applied records of a wrong time, while its writer's clock was wrong as well: there is a way out.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use millpond::{
    decisions::{Asked, Decision, Ground, Standing, decide},
    embedded::Options,
};
use millpond_log::{Clock, Manual, Topologies};
use millpond_schemas::{
    Audit, Offset, PartitionId, Position, SkipTime, Topology, UnixMillis, Watermark, limits::TIME_JUMP_MS_MAX,
};
use millpond_shard::{Shard, SqliteConfig};
use millpond_tests::pond::{Pond, key, put};
use millpond_writer::{Config, Goal, Phase, Progress, Rebuild, RebuildError};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const P0: PartitionId = PartitionId(0);

fn options(dir: &TempDir, now: UnixMillis) -> Options {
    let clock = Clock::Manual(Manual::new(now));
    Options { partitions: 1, shards: 1, clock, ..Options::new(dir.path()) }
}

/// A rebuild of all into a new file.
async fn rebuilt(
    pond: &Pond,
    topology: &Arc<Topology>,
    file: &str,
) -> Result<Result<Watermark, RebuildError>> {
    let dir = TempDir::new()?;
    let shard = Shard::open(&SqliteConfig::new(dir.path().join(file))).await?;
    let rebuild = Rebuild {
        log: pond.embedded.log.clone(),
        topology: Arc::clone(topology),
        keyring: pond.embedded.keyring.clone(),
        clock: pond.embedded.clock.clone(),
        goal: Goal::End,
    };
    let progress = Progress::default();
    let ended = rebuild.run(vec![shard.clone()], &[P0], &progress, &CancellationToken::new()).await;
    if ended.is_ok() {
        let read = shard.read(P0, vec![key("a")]).await?;
        ensure!(read.rows.first().is_some_and(Option::is_some), "the write is there: {read:?}");
    }
    shard.close().await;
    Ok(ended.map(|mut marks| marks.remove(0)))
}

#[tokio::test]
async fn times_that_a_copy_has_applied_can_be_skipped_and_a_rebuild_gets_by() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Pond::open(&options(&dir, NOW.plus_ms(2 * TIME_JUMP_MS_MAX))).await?;
    let writer = pond.writer(Config::default());
    pond.send(&put("a", "1")).await?;
    pond.drained().await?;
    writer.stop().await;
    pond.close().await;

    // All clocks are set right.
    let pond = Pond::open(&options(&dir, NOW)).await?;
    let writer = pond.writer(Config::default());
    assert_eq!(writer.halted(P0).await?, "time-jump");
    let phase = writer.statuses.partitions().remove(&P0).context("it is known")?.phase;
    let Phase::Halted(halt) = phase else { anyhow::bail!("{phase:?}") };
    let standing = Standing::Halted { name: halt.name().to_owned(), why: halt.to_string() };
    let applied = pond.shard(P0).watermark(P0).await?.context("there is a copy")?.applied;
    let topology = pond.embedded.topology.borrow().clone();
    let ended = rebuilt(&pond, &topology, "halts").await?;
    ensure!(matches!(ended, Err(RebuildError::Halted { .. })), "{ended:?}");

    let ground = Ground {
        log: pond.embedded.log.clone(),
        control: pond.embedded.control.clone(),
        shards: pond.embedded.shards.clone(),
        keyring: pond.embedded.keyring.clone(),
        clock: pond.embedded.clock.clone(),
    };
    let from = Position { generation: topology.generation, partition: P0, offset: Offset(0) };
    let decision = |from, to| Decision::SkipTimes(SkipTime { from, to });
    let asked = |decision| Asked { decision, who: String::new(), why: String::new(), dry_run: true };
    let told = decide(&ground, &asked(decision(from, applied)), Some(&standing)).await?;
    ensure!(told["loses"].as_str().is_some_and(|loses| loses.contains("rebuild it")), "{told}");
    let short = decide(&ground, &asked(decision(from, applied.previous())), Some(&standing)).await;
    ensure!(short.is_err(), "it leaves the record out: {short:?}");

    let mut topologies = Topologies::open(pond.embedded.control.clone()).await?;
    let audit = Audit { who: String::new(), at: NOW, what: String::new(), why: String::new() };
    let skipped = topologies.amend(&audit, |current| {
        let mut next = current.clone();
        next.skip_times.push(SkipTime { from, to: applied });
        Ok::<_, std::convert::Infallible>(Some(next))
    });
    let mark = rebuilt(&pond, &skipped.await?, "gets by").await??;
    ensure!(mark.applied >= applied && mark.time < NOW, "{mark:?}");
    writer.stop().await;
    pond.close().await;
    Ok(())
}
