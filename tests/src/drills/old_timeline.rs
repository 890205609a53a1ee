//! A replica that lags becomes the primary while the old one lives, can be reached, and goes on being written to until
//! everybody knows; an api and a writer sleep through it and wake up in the old world.
//!
//! What the old primary answers before an api knows better is the log's state at some offset, and the checker wants it to
//! be just that. Invariant: once all have heard, nobody reads there or writes there.

use anyhow::{Result, ensure};

use super::{
    Context, Drill, Length, Need,
    promotion::{applied, lag, promote, start},
    stage,
};
use crate::{
    deployment::Deployment,
    roles::Kind,
    workload::{Target, Workload},
};

/// The api and the writer of this number sleep.
const SLEEPS: usize = 1;
/// Operations in which nobody may touch the old primary.
const OPERATIONS: u64 = 200;

pub(super) const DRILL: Drill = Drill {
    name: "old-timeline",
    number: 7,
    about: "promote a replica that lags by as many applies as --count says while the old primary is alive and reachable, and \
            an api and a writer sleep: no read from the old timeline",
    engines: Need::Shared,
    long: Length::new(600, 20_000),
    short: Length::new(60, 200),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let (cluster, mut deployment) = start().await?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    workload.more(50).await?;
    lag(&context, &cluster, &deployment).await?;
    for kind in [Kind::Writer, Kind::Api] {
        deployment.role(kind, SLEEPS).pause()?;
        context.fault("SIGSTOP", &format!("{kind}-{SLEEPS}"));
    }
    promote(&context, &mut deployment).await?;
    // The new primary goes on, also in the partitions of the writer that sleeps.
    let promoted = applied(&deployment, 1)?;
    let grows = async || Ok(applied(&deployment, 1)? > promoted);
    deployment.until("the new primary is written to", grows).await?;
    deployment.drained().await?;
    for kind in [Kind::Writer, Kind::Api] {
        deployment.role(kind, SLEEPS).resume()?;
    }
    workload.more(50).await?;
    let left = async || Ok(sessions(&deployment)? == 0);
    deployment.until("everybody has left the old primary", left).await?;
    stage::until_shared_out(&deployment).await?;
    let before = (applied(&deployment, 0)?, scans(&deployment)?);
    workload.more(OPERATIONS).await?;
    ensure!(sessions(&deployment)? == 0, "somebody is back at the old primary");
    let after = (applied(&deployment, 0)?, scans(&deployment)?);
    if after != before {
        context.violation(format!("the old primary was used: applied and read {before:?}, then {after:?}"));
    }
    context
        .figure("old primary", format!("stays at {} applied; not read in {OPERATIONS} operations", after.0));
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

/// Sessions that roles have at the old primary.
fn sessions(deployment: &Deployment) -> Result<u64> {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'millpond' \
               AND pid <> pg_backend_pid()";
    Ok(deployment.psql(0, 0, sql)?.parse::<u64>()? + deployment.psql(1, 0, sql)?.parse::<u64>()?)
}

/// How often the rows of the old primary were read.
fn scans(deployment: &Deployment) -> Result<u64> {
    let sql = "SELECT coalesce(sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0)), 0) FROM pg_stat_user_tables \
               WHERE relname LIKE 'kv_p%'";
    Ok(deployment.psql(0, 0, sql)?.parse::<u64>()? + deployment.psql(1, 0, sql)?.parse::<u64>()?)
}
