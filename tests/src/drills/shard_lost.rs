//! A shard's whole Postgres is lost under load, data and all. An empty one is put in its place, and one command of the
//! runbook makes it serve again.
//!
//! Invariant: nothing tells the new one anything but that command and the running writers.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::block_in_place;

use super::{Context, Drill, Length, Need, stage, steady::Steady};
use crate::{
    deployment::{Deployment, Engines},
    postgres::Cluster,
    workload::{Target, Workload},
};

/// The shard that is lost.
const SHARD: usize = 0;
/// Puts that have to be accepted while it is lost.
const ACCEPTED: u64 = 20;
/// Operations before it is lost: a rebuild that has nothing to do shows nothing.
const BEFORE: u64 = 200;
/// From the command until all that had been accepted is applied.
const READY_WITHIN: Duration = Duration::from_mins(1);

pub(super) const DRILL: Drill = Drill {
    name: "shard-lost",
    number: 26,
    about: "a shard's Postgres and its data directory are lost under load; one command makes an empty one in its place serve: \
            nothing acked is missing, verify says equal",
    engines: Need::Shared,
    long: Length::new(600, 3),
    short: Length::new(60, 1),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let engines = Engines::shared()?;
    let password = engines.password().to_owned();
    let mut cluster = tokio::task::spawn_blocking(move || Cluster::fresh_beside(&password)).await??;
    let deployment = Deployment::start_on(engines.with_shard_on(SHARD, &cluster), &stage::options()).await?;
    stage::until_shared_out(&deployment).await?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    let steady = Steady::start(&context, &deployment);
    let mut slowest = Duration::ZERO;
    for _ in context.rounds() {
        workload.more(BEFORE).await?;
        block_in_place(|| cluster.lose(0))?;
        context.fault("shard lost, data and all", &format!("shard-{SHARD}"));
        steady.more(ACCEPTED).await?;
        block_in_place(|| cluster.make_anew())?;
        deployment.make_again(SHARD)?;
        steady.more(ACCEPTED).await?;
        let began = Instant::now();
        let served = deployment.run(&["rebuild", "--shard", &format!("shard-{SHARD}"), "--serve"]).await?;
        ensure!(served.status.success(), "{served:?}{}", deployment.tails());
        deployment.drained().await?;
        slowest = slowest.max(began.elapsed());
        workload.more(50).await?;
    }
    context.judge("serves again", slowest, READY_WITHIN);
    steady.stop(&context).await?;
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await?;
    let verified = deployment.run(&["verify", "--all-nodes"]).await?;
    let said = String::from_utf8_lossy(&verified.stdout);
    ensure!(verified.status.success(), "millpond verify ended with {}: {said}", verified.status);
    context.figure("verify", said.lines().last().unwrap_or_default());
    Ok(())
}
