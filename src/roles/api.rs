//! The role `api`: HTTP in front of a deployment.
//!
//! Not here: what calls mean. Invariant: a call that was taken is answered before the log and the shards are closed.

use anyhow::{Context, Result};
use millpond_api::{Api, Shown};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::follow;
use crate::{
    deployment::Deployment,
    mac_key,
    observed::Observed,
    settings::Settings,
    supervise::{self, Roles, Signals, bind, drained, ended_early, joined, spawn_front, spawn_probes},
    tokens,
};

/// Runs until it is told to stop.
pub async fn run(settings: Settings) -> Result<()> {
    let mut signals = Signals::listen()?;
    let tokens = tokens::open(&settings)?;
    let listener = bind(settings.listen, "listen").await?;
    let ops_listener = bind(settings.ops_listen, "ops_listen").await?;
    let (deployment, background) = Deployment::connect(&settings, "api").await?;
    // Later than the topology: where neither is there, it is `init` that is missing.
    let keyring = Deployment::keyring(&settings)?;
    let outcomes = deployment.cluster.outcomes().await.context("open the topic of outcomes")?;
    let mut observed = Observed::begin("api")?;
    let parts = millpond_api::Parts {
        log: deployment.log.clone(),
        outcomes: outcomes.subscribe().await.context("follow outcomes")?,
        topology: deployment.topology.clone(),
        shards: deployment.shards.clone(),
        clock: deployment.clock.clone(),
        tracer: observed.tracer.clone(),
        cursor_key: mac_key::cursors(&keyring),
        tokens: tokens.as_ref().map(tokens::Follower::tokens),
    };
    let api = Api::start(settings.api_config(), parts, &mut observed.registry);
    observed.engines(&deployment.log, &deployment.shards);
    let Observed { registry, exporting, .. } = observed;
    let token = CancellationToken::new;
    let (serving, probing) = (token(), token());
    let (mut roles, mut fronts, mut probes): (Roles, Roles, Roles) =
        (JoinSet::new(), JoinSet::new(), JoinSet::new());
    let following = follow(&mut roles, background);
    tracing::info!(listen = %listener.local_addr()?, ops = %ops_listener.local_addr()?, "ready");
    spawn_front(&mut fronts, &api, listener, &serving);
    let checks = supervise::spawn_tokens(&mut roles, tokens, &probing).into_iter().collect();
    spawn_probes(&mut probes, &api, ops_listener, (Shown::new("api", checks, registry), &probing));
    let ended = tokio::select! {
        ended = signals.received() => ended,
        ended = ended_early(&mut roles, &mut fronts, &mut probes) => ended,
    };
    tracing::info!("draining: no new calls are taken");
    serving.cancel();
    drained(fronts).await?;
    probing.cancel();
    drained(probes).await?;
    api.stop().await;
    following.abort();
    joined(roles).await?;
    deployment.close().await;
    exporting.end().await;
    tracing::info!("stopped");
    ended
}
