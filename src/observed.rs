//! What a process tells of itself: metrics of everything that is in it, and spans.
//!
//! Not here: log lines, and what the metrics mean. Invariant: spans are exported to the end of whatever makes them.

use std::env;

use anyhow::{Context, Result};
use millpond_log::Log;
use millpond_shard::{Router, Sizes};
use millpond_trace::{Settings, Tracer};
use prometheus_client::{metrics::info::Info, registry::Registry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{process_metrics::ProcessMetrics, supervise::Roles};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything that is told.
pub(crate) struct Observed {
    /// What `/metrics` tells.
    pub(crate) registry: Registry,
    /// Makes spans.
    pub(crate) tracer: Tracer,
    /// Takes them away.
    pub(crate) exporting: Exporting,
}

/// The exporter of spans, where there is one.
pub(crate) struct Exporting {
    task: JoinSet<()>,
    stop: CancellationToken,
}

impl Observed {
    /// With what every process tells. `role`: what this one does.
    ///
    /// # Errors
    /// A variable of OpenTelemetry asks for what cannot be done.
    pub(crate) fn begin(role: &str) -> Result<Self> {
        let mut registry = Registry::default();
        let info = vec![("version", VERSION.to_owned()), ("role", role.to_owned())];
        registry.register("millpond_build", "This build, and what it does here", Info::new(info));
        registry.register_collector(Box::new(ProcessMetrics));
        let (mut task, stop) = (JoinSet::new(), CancellationToken::new());
        let settings = Settings::read(role, VERSION, |name| env::var(name).ok());
        let tracer = match settings.context("read the settings of OpenTelemetry")? {
            None => Tracer::default(),
            Some(settings) => {
                tracing::info!(endpoint = %settings.endpoint(), "spans are exported");
                let (tracer, exporter) = Tracer::start(settings);
                task.spawn(exporter.run(stop.clone()));
                tracer
            }
        };
        registry.register_collector(Box::new(tracer.clone()));
        Ok(Self { registry, tracer, exporting: Exporting { task, stop } })
    }

    /// What goes to the log, and to and from the shards.
    pub(crate) fn engines(&mut self, log: &Log, shards: &[Router]) {
        millpond_log::register(&mut self.registry, log.clone());
        millpond_shard::register(&mut self.registry, shards.to_vec());
    }

    /// How large the shards are: asked now and then, as one of the roles, until `working` is cancelled.
    pub(crate) fn sizes(&mut self, roles: &mut Roles, shards: &[Router], working: &CancellationToken) {
        let sizes = Sizes::default();
        self.registry.register_collector(Box::new(sizes.clone()));
        let (shards, stop) = (shards.to_vec(), working.clone());
        roles.spawn(async move {
            sizes.sample(shards, stop).await;
            Ok("sampler of sizes")
        });
    }
}

impl Exporting {
    /// Exports what has ended, for a bounded time. To be called last.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.task.join_next().await {
            ended.expect("an exporter never panics");
        }
    }
}
