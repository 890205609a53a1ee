//! HTTP in, mutations out, rows read.
//!
//! An [`Api`] checks calls, sends mutations to the log, waits for outcomes where that is asked, and reads rows from
//! the shards. Not here: applying anything, and deciding in advance what only the log's order decides.
//! Invariant: *refused* and *not-accepted* are said only of what is certainly not on the log.

mod accept;
mod admin;
mod answer;
mod answered;
mod answering;
mod auth;
mod backlog;
mod batch;
mod body;
mod call;
mod calling;
mod checked;
mod clocks;
mod conditions;
mod config;
mod connection;
mod consistency;
mod dead_letters;
mod duration;
mod expiry;
mod fields;
mod fixed;
mod follower;
mod frames;
mod front;
mod headers;
mod kept;
mod key_path;
mod lag;
mod meta;
mod metrics;
mod mutations;
mod openapi;
mod ops;
mod partition;
mod partition_metrics;
mod partitions;
mod patch;
mod phase;
mod prefer;
mod problem;
mod queries;
mod query;
mod read;
mod recent;
mod refreshes;
mod request_id;
mod routes;
mod server;
mod settle;
mod state;
mod submit;
mod taken;
mod time;
mod timed;
mod tokens;
mod traceparent;
mod ttl;
mod version;
mod write;

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use millpond_log::{Clock, Log, Subscription};
use millpond_schemas::Topology;
use millpond_shard::Router;
use millpond_trace::Tracer;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use admin::{
    decisions::{Asked, Decide, Undecided},
    findings::remedies::{Remedy, of_code as remedy_of},
    hot::{HotKey, HotKeys, Hottest},
};
pub use batch::cost::read_batch;
pub use config::Config;
pub use ops::{Check, Checks, Health, Shown};
pub use queries::CursorKey;
pub use time::{parse as parse_time, rfc3339 as show_time};
pub use tokens::{Scope, Tenants, Token, TokenHash, Tokens};

/// The trace that a call belongs to.
pub mod trace {
    pub use crate::traceparent::{Parent, TRACEPARENT, TRACESTATE};
}

use crate::{
    auth::{Admission, Auth},
    backlog::{Backlog, BacklogMetrics},
    body::Budget,
    clocks::Clocks,
    front::Front,
    metrics::Metrics,
    ops::Ops,
    partition_metrics::PartitionMetrics,
    partitions::Partitions,
    phase::Timeouts,
    queries::Pages,
    refreshes::Refreshes,
    server::Serving,
    settle::DRAIN_WAIT,
    state::{App, State},
};

/// Most connections of the ops listener.
const OPS_CONNECTIONS_MAX: usize = 256;

/// What an api works with.
#[derive(Debug)]
pub struct Parts {
    /// Where mutations go. Its number of partitions is the api's.
    pub log: Log,
    /// Outcomes from here on. Taken before any shard is read.
    pub outcomes: Subscription,
    /// Which shard serves what.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// The shards, by their index in the topology.
    pub shards: Vec<Router>,
    /// Tells what time it is.
    pub clock: Clock,
    /// For a span per call.
    pub tracer: Tracer,
    /// Seals the cursors of queries: the same in every api of a deployment.
    pub cursor_key: CursorKey,
    /// Who may call; each change counts at once. None: everybody, as any tenant.
    pub tokens: Option<watch::Receiver<Arc<Tokens>>>,
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
        let auth = |tokens| Arc::new(Auth::new(tokens, parts.clock.clone(), metrics.clone()));
        let auth = parts.tokens.map(auth);
        let partitions = parts.log.partitions();
        let app = Arc::new(State {
            partitions: Partitions::new(partitions, kept_bytes_max, metrics.waiters.clone()),
            bodies: Budget::new(config.bodies_bytes_max),
            pages: Pages::new(config.bodies_bytes_max / 2),
            answers: Pages::new(config.bodies_bytes_max),
            config,
            log: parts.log,
            topology: parts.topology,
            refreshes: Refreshes::new(parts.shards.len()),
            shards: parts.shards,
            clocks: Clocks::new(partitions),
            clock: parts.clock,
            tracer: parts.tracer,
            cursor_key: parts.cursor_key,
            auth,
            metrics,
            draining: CancellationToken::new(),
            diverged: AtomicBool::new(false),
            backlog: Backlog::default(),
        });
        app.note_replicas();
        registry.register_collector(Box::new(PartitionMetrics(Arc::clone(&app.partitions))));
        registry.register_collector(Box::new(BacklogMetrics(Arc::clone(&app))));
        let (stop, panicked) = (CancellationToken::new(), CancellationToken::new());
        let watching = backlog::watch(Arc::clone(&app), stop.clone());
        let following = follower::follow(Arc::clone(&app), parts.outcomes, stop.clone());
        let following = async {
            tokio::join!(following, watching);
        };
        let supervisor = tokio::spawn(supervise(tokio::spawn(following), panicked.clone()));
        Self { app, stop, panicked, supervisor: Arc::new(Mutex::new(Some(supervisor))) }
    }

    /// Serves the api until `shutdown`; then takes no more calls, and waits for those that are open.
    ///
    /// # Errors
    /// [`Error::Panicked`]: end the process.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
        let config = &self.app.config;
        let serving = serving(config, config.connections_max, self.app.metrics.connections.clone());
        let front = Front::of_api(&self.app);
        let drain = async {
            shutdown.cancelled().await;
            self.app.draining.cancel();
            sleep(DRAIN_WAIT).await;
            self.app.partitions.let_go();
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

    /// Serves probes, metrics, the page for operators and, on loopback or for a token with the scope admin, `/admin`,
    /// until `shutdown`.
    ///
    /// # Errors
    /// [`Error::Listener`]: its address cannot be told. [`Error::Panicked`]: end the process.
    pub async fn serve_ops(
        &self,
        listener: TcpListener,
        shown: Shown,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let loopback = listener.local_addr().map_err(Error::Listener)?.ip().is_loopback();
        let admission = Admission { loopback, auth: self.app.auth.clone() };
        let ops = Ops { app: Some(Arc::clone(&self.app)), shown };
        let front = Front::new(ops::routes(ops, &admission));
        let serving = serving(&self.app.config, OPS_CONNECTIONS_MAX, Gauge::default());
        tokio::select! {
            () = server::serve(listener, front, serving, shutdown) => Ok(()),
            () = self.panicked.cancelled() => Err(Error::Panicked),
        }
    }

    /// Most connections that it serves at once.
    pub fn connections_max(&self) -> usize {
        self.app.config.connections_max
    }

    /// Stops following outcomes. To be called when nothing is served any more.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Some(supervisor) = self.supervisor.lock().await.take() {
            let _ended = supervisor.await;
        }
    }
}

/// Serves probes, metrics, the page for operators and, on loopback, `/admin/overview` of a process without an api, until
/// `shutdown`.
pub async fn serve_ops_alone(listener: TcpListener, shown: Shown, shutdown: CancellationToken) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let admission = Admission { loopback, auth: None };
    let front = Front::new(ops::routes(Ops { app: None, shown }, &admission));
    let serving = serving(&Config::default(), OPS_CONNECTIONS_MAX, Gauge::default());
    server::serve(listener, front, serving, shutdown).await;
}

fn serving(config: &Config, connections_max: usize, connections: Gauge) -> Serving {
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
