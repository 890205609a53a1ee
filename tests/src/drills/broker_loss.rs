//! Of three brokers one is killed or stands still, again and again, and comes back: leaders move.
//!
//! Only one at a time: with two of three gone nothing is acked, as it must be. The one that leads is hit.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::RngExt;

use super::{
    Context, Drill, Length, Need,
    stage::{options, until_shared_out},
};
use crate::{
    deployment::{Deployment, Engines, Topics},
    kafka::Brokers,
    workload::{Options, Target, Workload},
};

pub(super) const DRILL: Drill = Drill {
    name: "broker-loss",
    number: 10,
    about: "one of three brokers killed or paused, leaders move: nothing lost, nothing doubled",
    engines: Need::Shared,
    long: Length::new(120, 1000),
    short: Length::new(60, 2),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let mut brokers = tokio::task::spawn_blocking(Brokers::fresh).await??;
    let engines = Engines::shared()?.with_brokers(&brokers);
    let deployment = Deployment::start_on(engines, &options()).await?;
    until_shared_out(&deployment).await?;
    let options = Options { seed: context.seed(), ..Options::default() };
    let workload = Workload::start(&Target::of(&deployment), &options, context.recorder())?;
    workload.more(50).await?;
    let topics = deployment.topics()?;
    let mut random = context.random(1);
    let mut slowest = Duration::ZERO;
    for round in context.rounds() {
        let partition = random.random_range(0..deployment.partitions());
        let victim = topics.leader(&deployment.topic(), partition)?;
        let hit = Instant::now();
        if round % 2 == 0 {
            context.fault("kill -9 of a leader", &format!("broker-{victim}"));
            brokers.node(victim)?.kill()?;
        } else {
            context.fault("SIGSTOP of a leader", &format!("broker-{victim}"));
            brokers.node(victim)?.pause()?;
        }
        until_led_by_others(&deployment, &topics, victim).await?;
        slowest = slowest.max(hit.elapsed());
        workload.more(100).await?;
        if round % 2 == 0 {
            tokio::task::block_in_place(|| brokers.node(victim)?.start_again())?;
        } else {
            brokers.node(victim)?.resume()?;
        }
        until_in_sync(&deployment, &topics, brokers.ids().count()).await?;
        workload.more(50).await?;
    }
    context.figure("leaders moved", format!("within {:.1} s at most", slowest.as_secs_f64()));
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

async fn until_led_by_others(deployment: &Deployment, topics: &Topics, victim: i32) -> Result<()> {
    let moved = async || {
        let leaders = topics.leaders(&deployment.topic())?;
        Ok(leaders.iter().all(|leader| *leader >= 0 && *leader != victim))
    };
    deployment.until(&format!("broker {victim} leads nothing any more"), moved).await
}

async fn until_in_sync(deployment: &Deployment, topics: &Topics, brokers: usize) -> Result<()> {
    let in_sync = async || Ok(topics.in_sync(&deployment.topic())?.iter().all(|count| *count == brokers));
    deployment.until("every broker is in sync again", in_sync).await.context("after a fault")
}
