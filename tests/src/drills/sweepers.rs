//! Two sweepers at once, one of them killed, none for long, while keys expire: the state is that of a replay, and what is
//! due is caught up with.
//!
//! The long form leaves the deployment without any for as long as `--seconds` says, a minute unless it is told otherwise;
//! the table of faults speaks of ten.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Context, Drill, Length, Need,
    calls::{Caller, is_known},
    stage,
};
use crate::{
    deployment::{Deployment, Options},
    history::{Change, Expiry, Intent},
    roles::Kind,
    workload::{Target, Workload},
};

/// From the sweeper's start until nothing is due any more.
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(1);
/// How long the keys of this drill live: the least that there is.
const TTL_MS: u64 = 1_000;
/// Lines of a batch.
const LINES: usize = 100;
/// The number of this drill's own client.
const CLIENT: u64 = 3_000_000;

pub(super) const DRILL: Drill = Drill {
    name: "sweepers",
    number: 18,
    about: "two sweepers, one killed, then none for --seconds while --count keys expire: same digest as a replay, caught up \
            in 60 s",
    engines: Need::Shared,
    long: Length::new(60, 20_000),
    short: Length::new(1, 500),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let options = Options { sweepers: 2, ..stage::options() };
    let mut deployment = Deployment::start(&options).await?;
    stage::until_shared_out(&deployment).await?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    workload.more(50).await?;
    let caller = Caller {
        recorder: context.recorder().clone(),
        address: deployment.address_of_api(0),
        client: CLIENT,
    };
    let count = usize::try_from(context.length().count)?;
    expiring(&context, &caller, "both", 0..count / 10).await?;
    swept(&deployment, count / 10).await?;

    deployment.kill(Kind::Sweeper, 0)?;
    context.fault("kill -9 of one of two", "sweeper-0");
    expiring(&context, &caller, "one", count / 10..count / 5).await?;
    swept(&deployment, count / 5).await?;

    deployment.kill(Kind::Sweeper, 1)?;
    context.fault("no sweeper at all", "sweeper-1");
    let dead = Instant::now();
    expiring(&context, &caller, "none", count / 5..count).await?;
    let all_due = async || Ok(due(&deployment)? >= (count - count / 5) as u64);
    deployment.until("all are due", all_due).await?;
    let rest = context.length().time.saturating_sub(dead.elapsed());
    if context.is_long() {
        tokio::time::sleep(rest).await;
    }
    let (due_then, dead) = (due(&deployment)?, dead.elapsed());
    let started = Instant::now();
    for sweeper in 0..2 {
        deployment.start_again(Kind::Sweeper, sweeper).await?;
    }
    swept(&deployment, count).await?;
    context.judge("caught up", started.elapsed(), CAUGHT_UP_WITHIN);
    context.figure(
        "backlog",
        format!("{due_then} rows due after {:.1} s without a sweeper", dead.as_secs_f64()),
    );
    workload.more(50).await?;
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

/// Puts keys that are due soon.
async fn expiring(
    context: &Context,
    caller: &Caller,
    name: &str,
    numbers: std::ops::Range<usize>,
) -> Result<()> {
    let put = |number: usize| {
        let (value, content_type) = (format!("{name}-{number}").into(), "text/plain".to_owned());
        let expiry = Some(Expiry::TtlMs(TTL_MS));
        Intent::new(format!("due-{number}"), Change::Put { value, content_type, expiry })
    };
    let all: Vec<Intent> = numbers.map(put).collect();
    for lines in all.chunks(LINES) {
        let told = caller.batch(lines).await;
        ensure!(told.iter().all(is_known), "a batch was not accepted: {:?}", told.first());
        context.operations(u64::try_from(lines.len())?, 0, 0);
    }
    Ok(())
}

/// Waits until so many of this drill's keys are tombstones.
async fn swept(deployment: &Deployment, wanted: usize) -> Result<()> {
    let sql = "SELECT count(*) FROM kv WHERE tombstone AND key LIKE convert_to('due-%', 'UTF8')";
    let swept = async || Ok(count(deployment, sql)? >= wanted as u64);
    deployment.until(&format!("{wanted} keys have expired"), swept).await
}

/// Rows that have expired and are no tombstones yet.
fn due(deployment: &Deployment) -> Result<u64> {
    let now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    count(deployment, &format!("SELECT count(*) FROM kv WHERE NOT tombstone AND expires_at <= {now}"))
}

/// Of both shards together.
fn count(deployment: &Deployment, sql: &str) -> Result<u64> {
    Ok(deployment.psql(0, 0, sql)?.parse::<u64>()? + deployment.psql(1, 0, sql)?.parse::<u64>()?)
}
