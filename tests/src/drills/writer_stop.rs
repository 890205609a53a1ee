//! A writer stands still, somebody else takes over, and it wakes up: what it still wanted to commit is void. It stands
//! still with a transaction open and its COMMIT under way, or between two transactions, with a connection that is whole.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Context, Drill, Length, Need,
    stage::{Owners, catch_commit, linked, owned, until_shared_out, watch_rise, writer_of},
};
use crate::{
    deployment::Deployment,
    faults::proxy::{Direction, Proxy},
    process::until_async,
    roles::Kind,
    workload::{Target, Workload},
};

/// How long the writer stands still in the long form.
const STOPPED: Duration = Duration::from_secs(30);

pub(super) const DRILL: Drill = Drill {
    name: "writer-stop",
    number: 3,
    about: "SIGSTOP of a writer, also with a transaction open, a successor claims, SIGCONT: the zombie commits 0 rows",
    engines: Need::Shared,
    long: Length::new(600, 10),
    short: Length::new(60, 2),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let (mut deployment, proxy) = linked().await?;
    let owners = Owners::open(&deployment)?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    workload.more(50).await?;
    for round in context.rounds() {
        let moment = if round.is_multiple_of(2) { Direction::ToServer } else { Direction::ToClient };
        stop(&context, &mut deployment, (&proxy, &owners, moment)).await?;
    }
    proxy.heal();
    workload.more(50).await?;
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

async fn stop(
    context: &Context,
    deployment: &mut Deployment,
    (proxy, owners, moment): (&Proxy, &Owners, Direction),
) -> Result<()> {
    let caught = catch_commit(proxy, moment).await?;
    let zombie = writer_of(deployment, proxy, caught.client)?;
    let before = owners.of(&owned(deployment, zombie).await?).await?;
    deployment.role(Kind::Writer, zombie).pause()?;
    let stopped = Instant::now();
    let (name, caught) = match moment {
        Direction::ToServer => ("SIGSTOP before COMMIT", Some(caught)),
        Direction::ToClient => {
            // It lies in the zombie's socket.
            caught.pass();
            ("SIGSTOP after COMMIT", None)
        }
    };
    context.fault(name, &format!("writer-{zombie}"));
    owners.until_taken_over(deployment, &before).await?;
    context.takeover(stopped.elapsed());
    let mut highest = owners.now().await?;
    if context.is_long() {
        until_async(STOPPED.saturating_sub(stopped.elapsed()), async || false).await;
    }
    // Both at once: the COMMIT that was under way, and its sender.
    if let Some(caught) = caught {
        caught.pass();
    }
    deployment.role(Kind::Writer, zombie).resume()?;
    // It is done with what it held when it has partitions by a Claim of its own again.
    let (risen, shared) = tokio::join!(watch_rise(owners, &mut highest), until_shared_out(deployment));
    shared?;
    risen
}
