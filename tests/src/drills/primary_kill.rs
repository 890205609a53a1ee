//! The Postgres primary is killed and started again, again and again: writes are accepted throughout, and applied once.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::RngExt;
use tokio::{task::block_in_place, time::sleep};

use super::{Context, Drill, Length, Need, stage, steady::Steady};
use crate::{
    deployment::{Deployment, Engines},
    postgres::Cluster,
    workload::{Target, Workload},
};

/// How long it is down at most, by choice.
const DOWN_MS: std::ops::Range<u64> = 0..4_000;
/// Puts that have to be accepted while it is down.
const ACCEPTED: u64 = 10;

pub(super) const DRILL: Drill = Drill {
    name: "primary-kill",
    number: 5,
    about: "kill -9 of the Postgres primary, and its start: no violation, and every put is accepted throughout",
    engines: Need::Shared,
    long: Length::new(1800, 20),
    short: Length::new(60, 1),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::fresh(1)).await??;
    let engines = Engines::shared()?.with_cluster(&cluster);
    let deployment = Deployment::start_on(engines, &stage::options()).await?;
    stage::until_shared_out(&deployment).await?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    let steady = Steady::start(&context, &deployment);
    workload.more(50).await?;
    let mut random = context.random(1);
    for _ in context.rounds() {
        block_in_place(|| cluster.kill(0))?;
        context.fault("kill -9 of the primary", "node-0");
        steady.more(ACCEPTED).await?;
        if context.is_long() {
            sleep(Duration::from_millis(random.random_range(DOWN_MS))).await;
        }
        block_in_place(|| cluster.start_again(0))?;
        let serves = Instant::now();
        // All that was accepted before is applied.
        deployment.drained().await?;
        context.takeover(serves.elapsed());
        workload.more(50).await?;
    }
    context.figure("takeover is", "from the primary's start until all that had been accepted is applied");
    steady.stop(&context).await?;
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}
