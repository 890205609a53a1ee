//! The role `sweeper`: sweeps the partitions that its group gives it.
//!
//! Not here: sweeping.

use anyhow::{Context, Result};

use super::{SWEEPERS, Worker};
use crate::{deployment::Deployment, settings::Settings};

/// Runs until it is told to stop.
pub async fn run(settings: Settings) -> Result<()> {
    let mut worker = Worker::start(&settings, "sweeper").await?;
    // Later than the topology: where neither is there, it is `init` that is missing.
    let keyring = Deployment::keyring(&settings)?;
    let deployment = &worker.deployment;
    let generation = deployment.topology.borrow().generation;
    let membership = deployment.cluster.membership(SWEEPERS, generation);
    let metrics = millpond_sweeper::Metrics::default();
    let parts = millpond_sweeper::Parts {
        config: settings.sweeper_config(),
        log: deployment.log.clone(),
        assigned: membership.assigned(),
        topology: deployment.topology.clone(),
        shards: deployment.shards.clone(),
        clock: deployment.clock.clone(),
        keyring,
        metrics: metrics.clone(),
    };
    worker.observed.registry.register_collector(Box::new(metrics));
    let stop = worker.working.clone();
    worker.roles.spawn(async move {
        millpond_sweeper::run(parts, stop).await;
        membership.leave().await.context("leave the group of sweepers")?;
        Ok("sweeper")
    });
    worker.run(Vec::new()).await
}
