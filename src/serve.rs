//! Serves everything in one process: wires log, shards, writer, sweeper and api together, and takes them down in order.
//!
//! Not here: any logic of a role. Invariant: a call that was taken is answered before its writer stops, and what the
//! log took is durable before the process ends.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use millpond_api::{Api, Check, Checks, Health};
use millpond_log::{Heard, Subscription};
use millpond_schemas::PartitionId;
use millpond_writer::{Phase, Statuses};
use prometheus_client::{metrics::info::Info, registry::Registry};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{embedded::Embedded, greeting, settings::Settings};

/// Longest that the greeting waits for writers: one partition that stands still does not keep it back.
const GREETING_WAIT: Duration = Duration::from_secs(2);

/// Runs until it is told to stop, or a role ends.
pub async fn run(settings: Settings) -> Result<()> {
    // From here on a signal ends it in order.
    let mut signals = Signals::listen()?;
    let listener = bind(settings.listen, "listen").await?;
    let ops_listener = bind(settings.ops_listen, "ops_listen").await?;
    let addresses = (listener.local_addr()?, ops_listener.local_addr()?);
    let options = settings.embedded();
    let (embedded, follower) = Embedded::open(&options).await.context("open the data directory")?;

    let first = embedded.outcomes.subscribe();
    let statuses = Statuses::default();
    let mut registry = Registry::default();
    registry.register(
        "millpond_build",
        "This build",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
    );
    registry.register_collector(Box::new(statuses.clone()));
    let api = Api::start(settings.api_config(), embedded.api(), &mut registry);

    let token = CancellationToken::new;
    let (serving, probing, working) = (token(), token(), token());
    let mut roles: JoinSet<Result<&'static str>> = JoinSet::new();
    spawn_workers(&mut roles, &settings, &embedded, &statuses, &working);
    let following =
        roles.spawn(async move { Err(anyhow!(follower.run().await).context("follow the control topic")) });
    let mut fronts: JoinSet<Result<&'static str>> = JoinSet::new();
    let mut probes: JoinSet<Result<&'static str>> = JoinSet::new();
    spawn_front(&mut fronts, &api, listener, &serving);
    spawn_probes(&mut probes, &api, ops_listener, (checks(statuses), registry, &probing));

    let ended = tokio::select! {
        ended = signals.received() => ended,
        ended = ended_early(&mut roles, &mut fronts, &mut probes) => ended,
        error = greet(addresses, &embedded, &options.data_dir, first) => Err(error),
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
    tracing::info!("stopped");
    ended
}

async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listen on {address}: another process may; choose another address with {setting}")
    })
}

fn spawn_workers(
    roles: &mut JoinSet<Result<&'static str>>,
    settings: &Settings,
    embedded: &Embedded,
    statuses: &Statuses,
    working: &CancellationToken,
) {
    let writer = embedded.writer(settings.writer_config(), statuses.clone());
    let sweeper = embedded.sweeper(settings.sweeper_config());
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

fn spawn_front(
    fronts: &mut JoinSet<Result<&'static str>>,
    api: &Api,
    listener: TcpListener,
    serving: &CancellationToken,
) {
    let (api, stop) = (api.clone(), serving.clone());
    fronts.spawn(async move { api.serve(listener, stop).await.context("serve the api").map(|()| "api") });
}

fn spawn_probes(
    probes: &mut JoinSet<Result<&'static str>>,
    api: &Api,
    listener: TcpListener,
    (checks, registry, probing): (Checks, Registry, &CancellationToken),
) {
    let (api, stop) = (api.clone(), probing.clone());
    let registry = Arc::new(registry);
    probes.spawn(async move {
        let served = api.serve_ops(listener, vec![checks], registry, stop).await;
        served.context("serve operations").map(|()| "ops listener")
    });
}

/// Prints the greeting once every partition has a writer, so that the lines in it work at once; then waits for ever.
async fn greet(
    addresses: (SocketAddr, SocketAddr),
    embedded: &Embedded,
    data_dir: &Path,
    first: Subscription,
) -> anyhow::Error {
    let partitions = embedded.log.partitions();
    if timeout(GREETING_WAIT, heard_from_all(first, partitions)).await.is_err() {
        tracing::warn!("a partition has no writer yet; /readyz?verbose on the ops listener says why");
    }
    match greeting::print(addresses, embedded, data_dir) {
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

/// What tells it to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    async fn received(&mut self) -> Result<()> {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        Ok(())
    }
}

/// A role that ends by itself is an error.
async fn ended_early(
    roles: &mut JoinSet<Result<&'static str>>,
    fronts: &mut JoinSet<Result<&'static str>>,
    probes: &mut JoinSet<Result<&'static str>>,
) -> Result<()> {
    let ended = tokio::select! {
        Some(ended) = roles.join_next() => ended,
        Some(ended) = fronts.join_next() => ended,
        Some(ended) = probes.join_next() => ended,
    };
    let role = ended.context("a role panicked")??;
    bail!("the {role} ended by itself")
}

async fn drained(mut listeners: JoinSet<Result<&'static str>>) -> Result<()> {
    while let Some(ended) = listeners.join_next().await {
        ended.context("a listener panicked")??;
    }
    Ok(())
}

/// Waits for every role that is left; one that was told to stop by force has nothing to say.
async fn joined(mut roles: JoinSet<Result<&'static str>>) -> Result<()> {
    while let Some(ended) = roles.join_next().await {
        match ended {
            Err(error) if error.is_cancelled() => {}
            ended => drop(ended.context("a role panicked")??),
        }
    }
    Ok(())
}

/// Partitions that stand still, for `/readyz?verbose`.
fn checks(statuses: Statuses) -> Checks {
    Arc::new(move || {
        let check = |(partition, status): (&_, &millpond_writer::Status)| {
            let (health, detail) = match &status.phase {
                Phase::Running => (Health::Ok, String::new()),
                Phase::Waiting(why) => (Health::Degraded, format!("waits: {why}")),
                Phase::Halted(halt) => (Health::Degraded, format!("halted, {}: {halt}", halt.name())),
            };
            Check { name: format!("partition {partition}"), health, detail }
        };
        statuses.partitions().iter().map(check).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One role has ended by itself before; the other stops when it is told, the follower only by force.
    #[tokio::test]
    async fn the_process_ends_whichever_role_ended_first() {
        let working = CancellationToken::new();
        let mut roles: JoinSet<Result<&'static str>> = JoinSet::new();
        roles.spawn(async { panic!("on purpose") });
        let following = roles.spawn(std::future::pending());
        let stop = working.clone();
        roles.spawn(async move {
            stop.cancelled().await;
            Ok("sweeper")
        });
        let ended = ended_early(&mut roles, &mut JoinSet::new(), &mut JoinSet::new()).await;
        assert!(ended.unwrap_err().to_string().contains("panicked"));
        working.cancel();
        following.abort();
        let joined = timeout(Duration::from_mins(1), joined(roles)).await;
        joined.expect("nobody is waited for in vain").unwrap();
    }
}
