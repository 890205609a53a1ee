//! One role in a process of its own, on a deployment: api, writer, sweeper.
//!
//! Not here: any logic of a role. Invariant: a process that is told to stop finishes what it has taken, then leaves.

mod api;
mod reach;
mod sweeper;
mod writer;

pub use api::run as api;
pub use sweeper::run as sweeper;
pub use writer::run as writer;

use anyhow::{Result, anyhow};
use millpond_api::{Checks, HotKeys, Shown};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    deployment::{Background, Deployment},
    observed::Observed,
    settings::Settings,
    supervise::{Roles, Signals, bind, drained, ended_early, joined},
};

/// Consumer groups that share out partitions.
const WRITERS: &str = "writers";
const SWEEPERS: &str = "sweepers";

/// A role that works in the background: everything but the api.
struct Worker {
    role: &'static str,
    signals: Signals,
    ops_listener: TcpListener,
    deployment: Deployment,
    following: AbortHandle,
    working: CancellationToken,
    roles: Roles,
    observed: Observed,
    hot: Option<HotKeys>,
}

impl Worker {
    /// Connects, and follows the topology.
    async fn start(settings: &Settings, role: &'static str) -> Result<Self> {
        let signals = Signals::listen()?;
        let ops_listener = bind(settings.ops_listen, "ops_listen").await?;
        let (deployment, background) = Deployment::connect(settings, role).await?;
        let mut roles: Roles = JoinSet::new();
        let following = follow(&mut roles, background);
        let working = CancellationToken::new();
        let mut observed = Observed::begin(role)?;
        observed.engines(&deployment.log, &deployment.shards);
        Ok(Self { role, signals, ops_listener, deployment, following, working, roles, observed, hot: None })
    }

    /// Serves probes until it is told to stop, then ends the roles and closes everything.
    async fn run(mut self, checks: Vec<Checks>) -> Result<()> {
        let probing = CancellationToken::new();
        let (mut fronts, mut probes): (Roles, Roles) = (JoinSet::new(), JoinSet::new());
        let Observed { registry, exporting, .. } = self.observed;
        let shown = Shown { hot: self.hot, ..Shown::new(self.role, checks, registry) };
        let stop = probing.clone();
        tracing::info!(ops = %self.ops_listener.local_addr()?, "ready");
        probes.spawn(async move {
            millpond_api::serve_ops_alone(self.ops_listener, shown, stop).await;
            Ok("ops listener")
        });
        let ended = tokio::select! {
            ended = self.signals.received() => ended,
            ended = ended_early(&mut self.roles, &mut fronts, &mut probes) => ended,
        };
        tracing::info!("stopping");
        self.working.cancel();
        // The follower of the control topic has no end of its own.
        self.following.abort();
        joined(self.roles).await?;
        probing.cancel();
        drained(probes).await?;
        self.deployment.close().await;
        exporting.end().await;
        tracing::info!("stopped");
        ended
    }
}

fn follow(roles: &mut Roles, background: Background) -> AbortHandle {
    roles.spawn(async move { Err(anyhow!(background.run().await).context("follow the control topic")) })
}
