//! The log under running writers is no longer the one that was applied: its tail is gone, it was made anew, or its start
//! has passed the watermark. Every partition halts with the reason, and nothing is applied any more.
//!
//! Not for the checker: what the log has lost, no replay can find again.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    Context, Drill, Length, Need,
    stage::{options, owned, until_shared_out},
};
use crate::{
    deployment::{Deployment, Engines, Topics},
    history::{Intent, WriteResult},
    kafka::Broker,
    process::run as run_command,
    roles::Kind,
    workload::{Native, Options, Target, Workload},
};

/// From the moment when the log can be read again, or its writers were started, to the last partition's halt.
const HALTED_WITHIN: Duration = Duration::from_secs(5);
const DIVERGED: &str = "log-diverged";
const GAP: &str = "log-gap";

pub(super) const DRILL: Drill = Drill {
    name: "log-lost",
    number: 12,
    about: "log tail cut below the watermark, topic made anew, log start past the watermark: halts within 5 s, with the \
            reason; nothing is applied after",
    engines: Need::Shared,
    long: Length::new(3600, 8),
    short: Length::new(240, 4),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    for round in context.rounds() {
        match round % 4 {
            0 => tail_cut(&context).await?,
            1 => made_anew(&context).await?,
            2 => start_passed(&context).await?,
            _ => made_anew_and_filled(&context).await?,
        }
    }
    Ok(())
}

/// A broker comes back with the data of an hour ago, as after a restore.
async fn tail_cut(context: &Context) -> Result<()> {
    let mut broker = tokio::task::spawn_blocking(Broker::fresh).await??;
    let deployment = Deployment::start_on(Engines::shared()?.with_broker(&broker), &options()).await?;
    until_shared_out(&deployment).await?;
    work(context, &deployment, 100).await?;
    let (data, copy) = (broker.dir().join("data"), broker.dir().join("copy"));
    broker.stop()?;
    copied(&data, &copy)?;
    broker.start_again()?;
    work(context, &deployment, 200).await?;
    let before = deployment.dumps().await?;
    broker.stop()?;
    std::fs::remove_dir_all(&data)?;
    copied(&copy, &data)?;
    broker.start_again()?;
    let topics = deployment.topics()?;
    until_readable(&deployment, &topics).await?;
    context.fault("tail cut", "kafka");
    let lost = async |partition| -> Result<bool> {
        let (_, end) = topics.bounds(&deployment.topic(), partition)?;
        Ok(end <= deployment.applied(partition)?)
    };
    for partition in 0..deployment.partitions() {
        ensure!(lost(partition).await?, "partition {partition} has lost nothing that was applied");
    }
    halts(context, &deployment, ("tail cut: halted", DIVERGED)).await?;
    nothing_is_applied(&deployment).await?;
    ensure!(deployment.dumps().await? == before, "something was applied after the tail was cut");
    Ok(())
}

/// Somebody deletes the topic and makes it again.
async fn made_anew(context: &Context) -> Result<()> {
    let deployment = Deployment::start(&options()).await?;
    until_shared_out(&deployment).await?;
    work(context, &deployment, 200).await?;
    let before = deployment.dumps().await?;
    make_anew(&deployment).await?;
    context.fault("topic made anew", "kafka");
    halts(context, &deployment, ("made anew: halted", DIVERGED)).await?;
    nothing_is_applied(&deployment).await?;
    ensure!(deployment.dumps().await? == before, "something was applied after the topic was made anew");
    Ok(())
}

/// The same while no writer runs, and other records lie where those were that were applied: only their digests tell.
async fn made_anew_and_filled(context: &Context) -> Result<()> {
    let mut deployment = Deployment::start(&options()).await?;
    until_shared_out(&deployment).await?;
    work(context, &deployment, 100).await?;
    let before = deployment.dumps().await?;
    (0..2).try_for_each(|writer| deployment.kill(Kind::Writer, writer))?;
    make_anew(&deployment).await?;
    let kafka = (deployment.kafka().to_owned(), deployment.topic(), deployment.partitions());
    let native = Native::connect(&kafka)?;
    for key in deployment.keys("foreign-") {
        for number in 0..deployment.applied(deployment.partition(&key))? + 10 {
            let sent = native.send(&Intent::put(key.as_str(), format!("foreign-{number}")), true).await;
            ensure!(matches!(sent, WriteResult::Ok(_)), "a native producer is served: {sent:?}");
        }
    }
    context.fault("topic made anew and filled", "kafka");
    for _ in 0..2 {
        deployment.spawn(Kind::Writer)?;
    }
    halts(context, &deployment, ("filled anew: halted", DIVERGED)).await?;
    nothing_is_applied(&deployment).await?;
    ensure!(deployment.dumps().await? == before, "something of another log was applied");
    Ok(())
}

async fn make_anew(deployment: &Deployment) -> Result<()> {
    let (topics, topic) = (deployment.topics()?, deployment.topic());
    let settings = topics.settings(&topic).await?;
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    topics.delete(&topic).await?;
    let made = async || Ok(topics.make(&topic, deployment.partitions(), &settings).await.is_ok());
    deployment.until("the topic can be made anew", made).await?;
    until_readable(deployment, &topics).await
}

/// Somebody deletes records that were not applied yet, while no writer runs.
async fn start_passed(context: &Context) -> Result<()> {
    let mut deployment = Deployment::start(&options()).await?;
    until_shared_out(&deployment).await?;
    work(context, &deployment, 200).await?;
    let before = deployment.dumps().await?;
    (0..2).try_for_each(|writer| deployment.kill(Kind::Writer, writer))?;
    let (topics, topic) = (deployment.topics()?, deployment.topic());
    for key in deployment.keys("lost-") {
        for _ in 0..3 {
            let put = deployment.api(0).put(&format!("/kv/{key}"), "lost").header("prefer", "respond-async");
            ensure!(put.send().await?.status == 202, "an api takes writes without writers");
        }
    }
    for partition in 0..deployment.partitions() {
        let (_, end) = topics.bounds(&topic, partition)?;
        topics.trim(&topic, partition, end - 1).await?;
    }
    // The killed ones are dead members until the group has noticed; two new ones have all partitions then.
    for _ in 0..2 {
        deployment.spawn(Kind::Writer)?;
    }
    context.fault("start passed the watermark", "kafka");
    halts(context, &deployment, ("start passed: halted", GAP)).await?;
    nothing_is_applied(&deployment).await?;
    ensure!(deployment.dumps().await? == before, "something was applied over the gap");
    Ok(())
}

/// So many operations of a workload, all applied.
async fn work(context: &Context, deployment: &Deployment, operations: u64) -> Result<()> {
    // Sweeps and expiries would go on in between.
    let options = Options { ttl: false, ..context.workload() };
    let workload = Workload::start(&Target::of(deployment), &options, context.recorder())?;
    workload.more(operations).await?;
    context.worked(&workload.stop().await?);
    for key in deployment.keys("every-") {
        let put = deployment.api(0).put(&format!("/kv/{key}"), "one").header("prefer", "wait=30");
        ensure!(put.send().await?.status == 200, "a write is applied");
    }
    deployment.drained().await
}

async fn until_readable(deployment: &Deployment, topics: &Topics) -> Result<()> {
    let topic = deployment.topic();
    let readable = async || {
        (0..deployment.partitions()).try_for_each(|partition| topics.bounds(&topic, partition).map(drop))?;
        Ok(true)
    };
    deployment.until("every partition can be read", readable).await
}

/// Waits until every partition says that it is halted for this reason.
async fn halts(context: &Context, deployment: &Deployment, (name, reason): (&str, &str)) -> Result<()> {
    let began = Instant::now();
    let halted = async || {
        let mut halted = Vec::new();
        for writer in 0..deployment.count(Kind::Writer) {
            let own = owned(deployment, writer).await.unwrap_or_default();
            halted.extend(own.into_iter().filter(|(_, state)| state.contains(reason)));
        }
        Ok(halted.len() == deployment.partitions() as usize)
    };
    deployment.until(&format!("every partition is halted: {reason}"), halted).await?;
    context.judge(name, began.elapsed(), HALTED_WITHIN);
    Ok(())
}

/// Whatever an api says to new writes, none is applied.
async fn nothing_is_applied(deployment: &Deployment) -> Result<()> {
    for api in 0..2 {
        for key in deployment.keys("after-") {
            let put = deployment.api(api).put(&format!("/kv/{key}"), "after").header("prefer", "wait=1");
            let answer = put.send().await?;
            ensure!(
                !matches!(answer.status.as_u16(), 200 | 201 | 204),
                "a halted partition applies: {answer:?}"
            );
        }
    }
    Ok(())
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    run_command(Command::new("cp").arg("-a").arg(from).arg(to))?;
    Ok(())
}
