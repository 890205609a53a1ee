//! Serves everything in one process: wires log, shards, writer, sweeper and api together, and takes them down in order.
//!
//! Not here: any logic of a role. Invariant: a call that was taken is answered before its writer stops, and what the
//! log took is durable before the process ends.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use millpond_api::{Api, Shown};
use millpond_log::{Heard, Subscription};
use millpond_schemas::{PartitionId, Tenant};
use millpond_writer::Statuses;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    deciding,
    embedded::Embedded,
    greeting,
    observed::Observed,
    settings::Settings,
    supervise::{
        self, Roles, Signals, bind, checks, drained, ended_early, hot_keys, joined, spawn_front, spawn_probes,
    },
    tokens,
};

/// Longest that the greeting waits for writers: one partition that stands still does not keep it back.
const GREETING_WAIT: Duration = Duration::from_secs(2);

/// Runs until it is told to stop, or a role ends.
pub async fn run(settings: Settings) -> Result<()> {
    // From here on a signal ends it in order.
    let mut signals = Signals::listen()?;
    let tokens = tokens::open(&settings)?;
    let listener = bind(settings.listen, "listen").await?;
    let ops_listener = bind(settings.ops_listen, "ops_listen").await?;
    let addresses = (listener.local_addr()?, ops_listener.local_addr()?);
    let options = settings.embedded();
    let (embedded, follower) = Embedded::open(&options).await.context("open the data directory")?;

    let first = embedded.outcomes.subscribe().await?;
    let statuses = Statuses::default();
    let mut observed = Observed::begin("all")?;
    let mut parts = embedded.api().await?;
    parts.tokens = tokens.as_ref().map(tokens::Follower::tokens);
    let tenant = parts.tokens.as_ref().map(|tokens| greeting::tenant(&tokens.borrow()));
    parts.tracer = observed.tracer.clone();
    let api = Api::start(settings.api_config(), parts, &mut observed.registry);

    let token = CancellationToken::new;
    let (serving, probing, working) = (token(), token(), token());
    let mut roles: Roles = JoinSet::new();
    spawn_workers(&mut roles, &settings, (&embedded, &statuses), (&mut observed, &working));
    let Observed { registry, exporting, .. } = observed;
    let following =
        roles.spawn(async move { Err(anyhow!(follower.run().await).context("follow the control topic")) });
    let mut fronts: Roles = JoinSet::new();
    let mut probes: Roles = JoinSet::new();
    let hot = hot_keys(statuses.clone());
    let decide = deciding::decide(&embedded, &statuses);
    let mut checks = vec![checks(statuses)];
    checks.extend(supervise::spawn_tokens(&mut roles, tokens, &probing));
    spawn_front(&mut fronts, &api, listener, &serving);
    let shown = Shown::new("all", checks, registry).writing(hot).deciding(decide);
    spawn_probes(&mut probes, &api, ops_listener, (shown, &probing));

    let ended = tokio::select! {
        ended = signals.received() => ended,
        ended = ended_early(&mut roles, &mut fronts, &mut probes) => ended,
        error = greet(addresses, &embedded, &options.data_dir, (first, tenant)) => Err(error),
    };

    tracing::info!("draining: no new calls are taken");
    serving.cancel();
    drained(fronts).await?;
    // Until here probes say that it is not ready.
    probing.cancel();
    drained(probes).await?;
    api.stop().await;
    working.cancel();
    // The follower of the control topic has no end of its own.
    following.abort();
    joined(roles).await?;
    embedded.close().await;
    exporting.end().await;
    tracing::info!("stopped");
    ended
}

fn spawn_workers(
    roles: &mut Roles,
    settings: &Settings,
    (embedded, statuses): (&Embedded, &Statuses),
    (observed, working): (&mut Observed, &CancellationToken),
) {
    let mut writer = embedded.writer(settings.writer_config(), statuses.clone());
    writer.tracer = observed.tracer.clone();
    let sweeper = embedded.sweeper(settings.sweeper_config());
    observed.engines(&embedded.log, &embedded.shards);
    observed.registry.register_collector(Box::new(statuses.clone()));
    observed.registry.register_collector(Box::new(sweeper.metrics.clone()));
    observed.sizes(roles, &embedded.shards, working);
    let stop = working.clone();
    roles.spawn(async move {
        millpond_writer::run(writer, stop).await;
        Ok("writer")
    });
    let stop = working.clone();
    roles.spawn(async move {
        millpond_sweeper::run(sweeper, stop).await;
        Ok("sweeper")
    });
}

/// Prints the greeting once every partition has a writer, so that the lines in it work at once; then waits for ever.
async fn greet(
    addresses: (SocketAddr, SocketAddr),
    embedded: &Embedded,
    data_dir: &Path,
    (first, tenant): (Subscription, Option<Tenant>),
) -> anyhow::Error {
    let partitions = embedded.log.partitions();
    if timeout(GREETING_WAIT, heard_from_all(first, partitions)).await.is_err() {
        tracing::warn!("a partition has no writer yet; /readyz?verbose on the ops listener says why");
    }
    match greeting::print(addresses, embedded, data_dir, tenant) {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

/// A writer's first act on a partition is to apply its Claim.
async fn heard_from_all(mut outcomes: Subscription, partitions: u32) {
    let mut silent: BTreeSet<PartitionId> = (0..partitions).map(PartitionId).collect();
    while !silent.is_empty() {
        match outcomes.next().await {
            Some(Heard::Range(range)) => drop(silent.remove(&range.partition)),
            // So much was applied that all are at work.
            Some(Heard::Missed(_)) | None => return,
        }
    }
}
