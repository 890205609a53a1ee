//! What every process that serves has in common: signals, roles that must not end by themselves, probes.
//!
//! Not here: any role. Invariant: a role that ends or panics ends the process, with the reason.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use millpond_api::{Api, Check, Checks, Health, HotKey, HotKeys, Hottest, Shown};
use millpond_schemas::PartitionId;
use millpond_writer::{Phase, Statuses};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{decisions::Standing, open_files, tokens::Follower};

/// Tasks that serve, each with the name of what it is.
pub(crate) type Roles = JoinSet<Result<&'static str>>;

/// Listens; `setting` names what to change when another process does.
pub(crate) async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listen on {address}: another process may; choose another address with {setting}")
    })
}

/// Serves calls until `serving`.
pub(crate) fn spawn_front(fronts: &mut Roles, api: &Api, listener: TcpListener, serving: &CancellationToken) {
    open_files::raise(api.connections_max());
    let (api, stop) = (api.clone(), serving.clone());
    fronts.spawn(async move { api.serve(listener, stop).await.context("serve the api").map(|()| "api") });
}

/// Serves probes, metrics and the page for operators of a process with an api until `probing`.
pub(crate) fn spawn_probes(
    probes: &mut Roles,
    api: &Api,
    listener: TcpListener,
    (shown, probing): (Shown, &CancellationToken),
) {
    let (api, stop) = (api.clone(), probing.clone());
    probes.spawn(async move {
        let served = api.serve_ops(listener, shown, stop).await;
        served.context("serve operations").map(|()| "ops listener")
    });
}

/// Follows the file of tokens, if there is one, until `probing`. What it tells readiness.
pub(crate) fn spawn_tokens(
    roles: &mut Roles,
    tokens: Option<Follower>,
    probing: &CancellationToken,
) -> Option<Checks> {
    let tokens = tokens?;
    let checks = tokens.checks();
    roles.spawn(tokens.run(probing.clone()));
    Some(checks)
}

/// What tells it to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on a signal ends it in order.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Waits for one.
    pub(crate) async fn received(&mut self) -> Result<()> {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        Ok(())
    }
}

/// A role that ends by itself is an error.
pub(crate) async fn ended_early(roles: &mut Roles, fronts: &mut Roles, probes: &mut Roles) -> Result<()> {
    let ended = tokio::select! {
        Some(ended) = roles.join_next() => ended,
        Some(ended) = fronts.join_next() => ended,
        Some(ended) = probes.join_next() => ended,
    };
    let role = ended.context("a role panicked")??;
    bail!("the {role} ended by itself")
}

/// Waits until every listener has answered what it took.
pub(crate) async fn drained(mut listeners: Roles) -> Result<()> {
    while let Some(ended) = listeners.join_next().await {
        ended.context("a listener panicked")??;
    }
    Ok(())
}

/// Waits for every role that is left; one that was told to stop by force has nothing to say.
pub(crate) async fn joined(mut roles: Roles) -> Result<()> {
    while let Some(ended) = roles.join_next().await {
        match ended {
            Err(error) if error.is_cancelled() => {}
            ended => drop(ended.context("a role panicked")??),
        }
    }
    Ok(())
}

/// The keys that a writer has written most, for the ops listener.
pub(crate) fn hot_keys(statuses: Statuses) -> HotKeys {
    Arc::new(move || {
        let millpond_writer::Hottest { window, mutations, keys } = statuses.hottest();
        let key = |key: millpond_writer::HotKey| HotKey {
            hash: key.hash,
            tenant: key.tenant,
            partition: key.partition,
            count: key.count,
            error: key.error,
        };
        Hottest { window, mutations, keys: keys.into_iter().map(key).collect() }
    })
}

/// How a partition stands, by its writer in this process.
pub(crate) fn standing(statuses: &Statuses, partition: PartitionId) -> Option<Standing> {
    let standing = |status: &millpond_writer::Status| match &status.phase {
        Phase::Running => Standing::Running,
        Phase::Waiting(why) => Standing::Waiting(why.clone()),
        Phase::Halted(halt) => Standing::Halted { name: halt.name().to_owned(), why: halt.to_string() },
    };
    statuses.partitions().get(&partition).map(standing)
}

/// Partitions that stand still, for `/readyz?verbose`.
pub(crate) fn checks(statuses: Statuses) -> Checks {
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
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// One role has ended by itself before; the other stops when it is told, the follower only by force.
    #[tokio::test]
    async fn the_process_ends_whichever_role_ended_first() {
        let working = CancellationToken::new();
        let mut roles: Roles = JoinSet::new();
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
