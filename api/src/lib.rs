//! HTTP in, mutations out, rows read.
//!
//! An [`Api`] checks calls, sends mutations to the log, waits for outcomes where that is asked, and reads rows from
//! the shards. Not here: applying anything, and deciding in advance what only the log's order decides.
//! Invariant: *refused* and *not-accepted* are said only of what is certainly not on the log.

mod accept;
mod answer;
mod batch;
mod body;
mod call;
mod conditions;
mod config;
mod connection;
mod consistency;
mod duration;
mod expiry;
mod fields;
mod follower;
mod front;
mod headers;
mod kept;
mod key_path;
mod lag;
mod meta;
mod metrics;
mod mutations;
mod ops;
mod partition;
mod partition_metrics;
mod partitions;
mod patch;
mod prefer;
mod problem;
mod query;
mod read;
mod recent;
mod routes;
mod server;
mod settle;
mod state;
mod submit;
mod taken;
mod time;
mod timed;
mod ttl;
mod version;
mod write;

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use millpond_log::{Clock, Log, Outcomes};
use millpond_schemas::Topology;
use millpond_shard::Shard;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use ops::{Check, Checks, Health};

use crate::{
    body::Budget,
    front::Front,
    metrics::Metrics,
    ops::Ops,
    partition_metrics::PartitionMetrics,
    partitions::Partitions,
    server::Serving,
    state::{App, State},
    timed::Timeouts,
};

/// Most connections of the ops listener.
const OPS_CONNECTIONS_MAX: usize = 256;

/// What an api works with.
#[derive(Debug)]
pub struct Parts {
    /// Where mutations go. Its number of partitions is the api's.
    pub log: Log,
    /// Where outcomes come from.
    pub outcomes: Outcomes,
    /// Which shard serves what.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// The shards, by their index in the topology.
    pub shards: Vec<Shard>,
    /// Tells what time it is.
    pub clock: Clock,
}

/// Why an api stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener cannot be used: the configuration's fault.
    #[error("the listener cannot be served")]
    Listener(#[source] io::Error),
    /// A background task panicked: end the process.
    #[error("a background task of the api panicked")]
    Panicked,
}

/// A running api. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Api {
    app: App,
    stop: CancellationToken,
    /// Cancelled when the follower panicked.
    panicked: CancellationToken,
    supervisor: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Api {
    /// Starts following outcomes, and registers metrics. Nothing is served yet.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: Config, parts: Parts, registry: &mut Registry) -> Self {
        let metrics = Metrics::register(registry);
        let kept_bytes_max = config.outcomes_bytes_max;
        let app = Arc::new(State {
            partitions: Partitions::new(parts.log.partitions(), kept_bytes_max, metrics.waiters.clone()),
            bodies: Budget::new(config.bodies_bytes_max),
            config,
            log: parts.log,
            topology: parts.topology,
            shards: parts.shards,
            clock: parts.clock,
            metrics,
            draining: CancellationToken::new(),
            diverged: AtomicBool::new(false),
        });
        registry.register_collector(Box::new(PartitionMetrics(Arc::clone(&app.partitions))));
        let (stop, panicked) = (CancellationToken::new(), CancellationToken::new());
        let following = follower::follow(Arc::clone(&app), parts.outcomes.subscribe(), stop.clone());
        let supervisor = tokio::spawn(supervise(tokio::spawn(following), panicked.clone()));
        Self { app, stop, panicked, supervisor: Arc::new(Mutex::new(Some(supervisor))) }
    }

    /// Serves the api until `shutdown`; then takes no more calls, and waits for those that are open.
    ///
    /// # Errors
    /// [`Error::Panicked`]: end the process.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
        let config = &self.app.config;
        let serving = self.serving(config.connections_max, self.app.metrics.connections.clone());
        let front = Front::new(routes::api(Arc::clone(&self.app)), Some(self.app.metrics.clone()));
        let drain = async {
            shutdown.cancelled().await;
            self.app.draining.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // In this order: it is not ready from the moment on at which it takes no more connections.
            biased;
            () = drain => unreachable!("it never ends"),
            () = self.panicked.cancelled() => Err(Error::Panicked),
            () = server::serve(listener, front, serving, shutdown.clone()) => Ok(()),
        }
    }

    /// Serves probes, metrics and, on loopback, `/admin`, until `shutdown`.
    ///
    /// # Errors
    /// [`Error::Listener`]: its address cannot be told. [`Error::Panicked`]: end the process.
    pub async fn serve_ops(
        &self,
        listener: TcpListener,
        checks: Vec<Checks>,
        registry: Arc<Registry>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let admin = listener.local_addr().map_err(Error::Listener)?.ip().is_loopback();
        let ops = Ops { app: Arc::clone(&self.app), checks, registry };
        let front = Front::new(ops::routes(ops, admin), None);
        let serving = self.serving(OPS_CONNECTIONS_MAX, Gauge::default());
        tokio::select! {
            () = server::serve(listener, front, serving, shutdown) => Ok(()),
            () = self.panicked.cancelled() => Err(Error::Panicked),
        }
    }

    /// Stops following outcomes. To be called when nothing is served any more.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Some(supervisor) = self.supervisor.lock().await.take() {
            let _ended = supervisor.await;
        }
    }

    fn serving(&self, connections_max: usize, connections: Gauge) -> Serving {
        let config = &self.app.config;
        Serving {
            connections_max,
            timeouts: Timeouts {
                head: config.head_timeout,
                idle: config.idle_timeout,
                send: config.send_timeout,
            },
            drain: config.drain_timeout,
            connections,
        }
    }
}

async fn supervise(task: JoinHandle<()>, panicked: CancellationToken) {
    if let Err(error) = task.await {
        tracing::error!(%error, "the follower of outcomes ended");
        panicked.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_the_background_is_told() {
        let panicked = CancellationToken::new();
        supervise(tokio::spawn(async { panic!("on purpose") }), panicked.clone()).await;
        assert!(panicked.is_cancelled());
        let orderly = CancellationToken::new();
        supervise(tokio::spawn(async {}), orderly.clone()).await;
        assert!(!orderly.is_cancelled());
    }
}
