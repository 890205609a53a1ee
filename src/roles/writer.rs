//! The role `writer`: applies the partitions that its group gives it, and publishes dead letters. Out of reach of every
//! shard it leaves them to others.
//!
//! Not here: applying. Invariant: told to stop, it leaves its group only after its last transaction has ended.

use anyhow::{Context, Result};
use millpond_writer::Statuses;

use super::{
    WRITERS, Worker,
    reach::{self, Reach},
};
use crate::{
    deployment::Deployment,
    settings::Settings,
    stalls,
    supervise::{checks, hot_keys},
};

/// Runs until it is told to stop.
pub async fn run(settings: Settings) -> Result<()> {
    let mut worker = Worker::start(&settings, "writer").await?;
    // Later than the topology: where neither is there, it is `init` that is missing.
    let keyring = Deployment::keyring(&settings)?;
    let deployment = &worker.deployment;
    let generation = deployment.topology.borrow().generation;
    let outcomes = deployment.cluster.outcomes().await.context("open the topic of outcomes")?;
    let dead_letters =
        deployment.cluster.dead_letters(generation).await.context("open the topic of dead letters")?;
    let membership = deployment.cluster.membership(WRITERS, generation);
    let statuses = Statuses::default();
    let parts = millpond_writer::Parts {
        config: settings.writer_config(),
        log: deployment.log.clone(),
        outcomes: outcomes.clone(),
        dead_letters: Some(dead_letters.clone()),
        assigned: membership.assigned(),
        topology: deployment.topology.clone(),
        shards: deployment.shards.clone(),
        clock: deployment.clock.clone(),
        keyring,
        statuses: statuses.clone(),
        tracer: worker.observed.tracer.clone(),
    };
    worker.observed.registry.register_collector(Box::new(statuses.clone()));
    let held_up = stalls::checks(deployment.log.clone());
    worker.observed.sizes(&mut worker.roles, &deployment.shards, &worker.working);
    let reaching = Reach {
        shards: deployment.shards.clone(),
        statuses: statuses.clone(),
        topology: deployment.topology.clone(),
    };
    let aside = reach::checks(&membership);
    let stop = worker.working.clone();
    worker.roles.spawn(async move {
        tokio::select! {
            () = millpond_writer::run(parts, stop) => {}
            () = reach::follow(&membership, reaching) => {}
        }
        membership.leave().await.context("leave the group of writers")?;
        dead_letters.close().await;
        Ok("writer")
    });
    worker.hot = Some(hot_keys(statuses.clone()));
    worker.run(vec![checks(statuses), held_up, aside]).await
}
