//! Writers are killed: at any moment, just before a COMMIT reaches Postgres, and just before its answer reaches the writer.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::{RngExt, rngs::StdRng};

use super::{
    Context, Drill, Length, Need,
    stage::{Owners, catch_commit, linked, owned, until_shared_out, writer_of},
};
use crate::{
    deployment::Deployment,
    faults::proxy::{Direction, Proxy},
    roles::Kind,
    workload::{Target, Workload},
};

/// From the kill to the successor's first commit in the slowest of the partitions.
const TAKEOVER_P99: Duration = Duration::from_secs(5);

pub(super) const DRILL: Drill = Drill {
    name: "writer-kill",
    number: 2,
    about: "kill -9 of a writer, also just before and just after a COMMIT: no violation; takeover p99 at most 5 s",
    engines: Need::Shared,
    long: Length::new(3600, 200),
    short: Length::new(40, 3),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let (mut deployment, proxy) = linked().await?;
    let owners = Owners::open(&deployment)?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    workload.more(50).await?;
    let mut random = context.random(1);
    for round in context.rounds() {
        // Each point in turn, so that a short run has each.
        kill(&context, (&mut deployment, &proxy, &owners), (round % 3, &mut random)).await?;
    }
    proxy.heal();
    workload.more(50).await?;
    context.worked(&workload.stop().await?);
    context.judge_takeovers(99, TAKEOVER_P99);
    context.settle(&deployment).await
}

/// Kills a writer, waits for its successor, and starts it again.
async fn kill(
    context: &Context,
    (deployment, proxy, owners): (&mut Deployment, &Proxy, &Owners),
    (point, random): (u64, &mut StdRng),
) -> Result<()> {
    let (name, direction) = match point {
        0 => ("kill -9 before COMMIT", Some(Direction::ToServer)),
        1 => ("kill -9 after COMMIT", Some(Direction::ToClient)),
        _ => ("kill -9", None),
    };
    let (victim, caught) = match direction {
        Some(direction) => {
            let caught = catch_commit(proxy, direction).await?;
            (writer_of(deployment, proxy, caught.client)?, Some(caught))
        }
        None => (random.random_range(0..deployment.count(Kind::Writer)), None),
    };
    let before = owners.of(&owned(deployment, victim).await?).await?;
    deployment.kill(Kind::Writer, victim)?;
    let killed = Instant::now();
    context.fault(name, &format!("writer-{victim}"));
    // What it held back never arrives.
    drop(caught);
    owners.until_taken_over(deployment, &before).await?;
    context.takeover(killed.elapsed());
    deployment.start_again(Kind::Writer, victim).await?;
    until_shared_out(deployment).await
}
