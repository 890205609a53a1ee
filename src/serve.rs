//! Serves everything in one process: wires log, shards, writer, sweeper and api together, and takes them down in order.
//!
//! Not here: any logic of a role. Invariant: a call that was taken is answered before its writer stops, and what the
//! log took is durable before the process ends.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use millpond_api::{Api, Check, Checks, Health};
use millpond_writer::{Phase, Statuses};
use prometheus_client::{metrics::info::Info, registry::Registry};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{embedded::Embedded, greeting, settings::Settings};

/// Runs until it is told to stop, or a role ends.
pub async fn run(settings: Settings) -> Result<()> {
    let listener = bind(settings.listen, "listen").await?;
    let ops_listener = bind(settings.ops_listen, "ops_listen").await?;
    let addresses = (listener.local_addr()?, ops_listener.local_addr()?);
    let options = settings.embedded();
    let (embedded, follower) = Embedded::open(&options).await.context("open the data directory")?;

    let statuses = Statuses::default();
    let mut registry = Registry::default();
    registry.register(
        "millpond_build",
        "This build",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
    );
    registry.register_collector(Box::new(statuses.clone()));
    let api = Api::start(settings.api_config(), embedded.api(), &mut registry);

    let (serving, working) = (CancellationToken::new(), CancellationToken::new());
    let mut roles: JoinSet<Result<&'static str>> = JoinSet::new();
    spawn_workers(&mut roles, &settings, &embedded, &statuses, &working);
    let following =
        roles.spawn(async move { Err(anyhow!(follower.run().await).context("follow the control topic")) });
    let mut fronts: JoinSet<Result<&'static str>> = JoinSet::new();
    spawn_fronts(&mut fronts, &api, (listener, ops_listener), checks(statuses), (registry, &serving));

    greeting::print(addresses, &embedded, &options.data_dir)?;
    let ended = until_stopped(&mut roles, &mut fronts).await;

    tracing::info!("draining: no new calls are taken");
    serving.cancel();
    while let Some(front) = fronts.join_next().await {
        front.context("a listener panicked")??;
    }
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

fn spawn_fronts(
    fronts: &mut JoinSet<Result<&'static str>>,
    api: &Api,
    (listener, ops_listener): (TcpListener, TcpListener),
    checks: Checks,
    (registry, serving): (Registry, &CancellationToken),
) {
    let (for_calls, stop) = (api.clone(), serving.clone());
    fronts
        .spawn(async move { for_calls.serve(listener, stop).await.context("serve the api").map(|()| "api") });
    let (for_ops, stop) = (api.clone(), serving.clone());
    let registry = Arc::new(registry);
    fronts.spawn(async move {
        for_ops
            .serve_ops(ops_listener, vec![checks], registry, stop)
            .await
            .context("serve operations")
            .map(|()| "ops")
    });
}

/// Waits for SIGTERM or SIGINT; a role that ends by itself is an error.
async fn until_stopped(
    roles: &mut JoinSet<Result<&'static str>>,
    fronts: &mut JoinSet<Result<&'static str>>,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let ended = tokio::select! {
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        Some(ended) = roles.join_next() => ended,
        Some(ended) = fronts.join_next() => ended,
    };
    let role = ended.context("a role panicked")??;
    bail!("the {role} ended by itself")
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
        let ended = until_stopped(&mut roles, &mut JoinSet::new()).await;
        assert!(ended.unwrap_err().to_string().contains("panicked"));
        working.cancel();
        following.abort();
        let joined = tokio::time::timeout(std::time::Duration::from_mins(1), joined(roles)).await;
        joined.expect("nobody is waited for in vain").unwrap();
    }
}
