//! An asynchronous replica that lags becomes the primary: what it lacks comes from the log, once.
//!
//! The old primary is dead here; see `old_timeline` for one that lives.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::{JoinSet, block_in_place};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Drill, Length, Need,
    calls::{Caller, is_known},
    stage,
    steady::Steady,
};
use crate::{
    deployment::{Deployment, Engines},
    history::{Change, Intent},
    postgres::Cluster,
    workload::{Target, Workload},
};

/// From the primary's death until all that had been accepted is applied by the new one.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// The number of the client that makes the replica lag.
const CLIENT: u64 = 3_000_000;
/// Lines of its batches.
const LINES: usize = 100;
/// Its keys of each kind.
const KEYS: usize = 500;

pub(super) const DRILL: Drill = Drill {
    name: "promotion",
    number: 6,
    about: "promote an asynchronous replica that lags by as many applies as --count says: nothing lost, nothing doubled, \
            ready in 30 s",
    engines: Need::Shared,
    long: Length::new(600, 20_000),
    short: Length::new(60, 200),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let (mut cluster, mut deployment) = start().await?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    let steady = Steady::start(&context, &deployment);
    workload.more(50).await?;
    lag(&context, &cluster, &deployment).await?;
    block_in_place(|| cluster.kill(0))?;
    let killed = Instant::now();
    context.fault("kill -9 of the primary", "node-0");
    promote(&context, &mut deployment).await?;
    deployment.drained().await?;
    context.judge("ready", killed.elapsed(), READY_WITHIN);
    workload.more(50).await?;
    steady.stop(&context).await?;
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

/// A primary, a replica, and roles that use them.
pub(super) async fn start() -> Result<(Cluster, Deployment)> {
    let cluster = tokio::task::spawn_blocking(|| Cluster::fresh(1)).await??;
    let engines = Engines::shared()?.with_cluster(&cluster);
    let deployment = Deployment::start_on(engines, &stage::options()).await?;
    stage::until_shared_out(&deployment).await?;
    Ok((cluster, deployment))
}

/// Cuts the replica off and writes until it lags by as much as the drill's count says.
pub(super) async fn lag(context: &Context, cluster: &Cluster, deployment: &Deployment) -> Result<()> {
    cluster.psql(1, "postgres", "postgres", "ALTER SYSTEM SET primary_conninfo = ''")?;
    cluster.psql(1, "postgres", "postgres", "SELECT pg_reload_conf()")?;
    let streams = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    let cut = async || Ok(deployment.psql(0, 1, streams)? == "0");
    deployment.until("the replica is cut off", cut).await?;
    context.fault("replica cut off", "node-1");
    let (recorder, address) = (context.recorder().clone(), deployment.address_of_api(0));
    let writing = Writing::start(Caller { recorder, address, client: CLIENT });
    let wanted = i64::try_from(context.length().count)?;
    let lags = until_lags(deployment, wanted).await;
    let (ok, failed) = writing.stop().await?;
    context.operations(ok, failed, 0);
    let lags = lags?;
    context.figure("the replica lags by", format!("{lags} applies"));
    Ok(())
}

/// Promotes the replica and tells everybody.
pub(super) async fn promote(context: &Context, deployment: &mut Deployment) -> Result<()> {
    ensure!(deployment.psql(0, 1, "SELECT pg_promote()")? == "t", "it is not promoted");
    context.fault("promotion", "node-1");
    for shard in 0..2 {
        let (name, address) = (format!("shard-{shard}"), deployment.address(shard, 1));
        let set = deployment.run(&["topology", "set-primary", &name, &address]).await?;
        ensure!(set.status.success(), "{set:?}");
    }
    deployment.primary_is(1);
    Ok(())
}

/// Offsets that a node has applied, of all partitions together.
pub(super) fn applied(deployment: &Deployment, node: usize) -> Result<i64> {
    let of = |shard| -> Result<i64> {
        let said =
            deployment.psql(shard, node, "SELECT coalesce(sum(applied_offset + 1), 0) FROM watermark")?;
        Ok(said.parse()?)
    };
    Ok(of(0)? + of(1)?)
}

/// Waits as long as the lag grows.
async fn until_lags(deployment: &Deployment, wanted: i64) -> Result<i64> {
    let replica = applied(deployment, 1)?;
    let mut lags = 0;
    while lags < wanted {
        let next = (lags + 100).min(wanted);
        let grows = async || {
            lags = applied(deployment, 0)? - replica;
            Ok(lags >= next)
        };
        deployment.until(&format!("the replica lags by {next}"), grows).await?;
    }
    ensure!(applied(deployment, 1)? == replica, "the replica is not cut off");
    Ok(lags)
}

/// A client that sends batches, one after the other.
struct Writing {
    stop: CancellationToken,
    running: JoinSet<(u64, u64)>,
}

impl Writing {
    fn start(caller: Caller) -> Self {
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        running.spawn(batches(caller, stop.clone()));
        Self { stop, running }
    }

    /// Lines that were accepted, and others.
    async fn stop(mut self) -> Result<(u64, u64)> {
        self.stop.cancel();
        Ok(self.running.join_next().await.context("it was started")??)
    }
}

async fn batches(caller: Caller, stop: CancellationToken) -> (u64, u64) {
    let (mut ok, mut others, mut number) = (0, 0, 0);
    while !stop.is_cancelled() {
        let lines: Vec<Intent> = (number..number + LINES).map(intent).collect();
        number += LINES;
        for told in caller.batch(&lines).await {
            *if is_known(&told) { &mut ok } else { &mut others } += 1;
        }
    }
    (ok, others)
}

/// What shows whether it was done twice or not at all: every other one counts or appends.
fn intent(number: usize) -> Intent {
    let at = (number / 4) % KEYS;
    match number % 4 {
        0 => Intent::new(format!("lag-n-{at}"), Change::Increment { by: 1, initial: 0 }),
        1 => Intent::new(format!("lag-a-{at}"), Change::Append { value: format!("{number},").into() }),
        2 if number % 40 == 2 => Intent::new(format!("lag-k-{at}"), Change::Delete),
        _ => Intent::put(format!("lag-k-{at}"), format!("l{number}")),
    }
}
