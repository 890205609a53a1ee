//! The link between a writer and Postgres is cut when a COMMIT has been done and its answer is under way, or when the COMMIT
//! itself is: the writer cannot tell one from the other.

use anyhow::Result;

use super::{
    Context, Drill, Length, Need,
    stage::{catch_commit, linked},
    witness::Witnesses,
};
use crate::{
    faults::proxy::Direction,
    workload::{Target, Workload},
};

/// After so many cuts, flushes go through for a moment: what is cut at every flush has nothing to publish.
const BREATH: u64 = 5;

pub(super) const DRILL: Drill = Drill {
    name: "commit-cut",
    number: 4,
    about: "the link is cut between a COMMIT and its answer: nothing lost, nothing doubled",
    engines: Need::Shared,
    // A thousand of each.
    long: Length::new(3600, 2000),
    short: Length::new(40, 30),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let (deployment, proxy) = linked().await?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    let witnesses = Witnesses::start(&context, &deployment)?;
    workload.more(50).await?;
    for round in context.rounds() {
        if round.is_multiple_of(BREATH) {
            workload.more(100).await?;
        }
        let (name, direction) = if round.is_multiple_of(2) {
            ("cut after COMMIT", Direction::ToClient)
        } else {
            ("cut before COMMIT", Direction::ToServer)
        };
        let caught = catch_commit(&proxy, direction).await?;
        context.fault(name, &caught.client.to_string());
        caught.cut();
    }
    proxy.heal();
    workload.more(50).await?;
    witnesses.stop(&context).await?;
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}
