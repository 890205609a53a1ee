//! One loop per shard: read the log, fold, apply in one transaction, publish outcomes.
//!
//! Not here: what records mean (fold), SQL (shard), who wants to own what (the topology says it).
//! Invariant: two writers of one copy do no harm; the later Claim wins and the other's transactions fail.

mod checks;
mod config;
mod copy;
mod fitting;
mod given;
mod halt;
mod metrics;
mod replay;
mod status;
mod stop;
mod tidy;
mod worker;

use std::sync::Arc;

use millpond_log::{Clock, Log, Outcomes};
use millpond_schemas::{Decoder, Keyring, PartitionId, Topology};
use millpond_shard::Shard;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use config::{ClaimConfig, Config};
pub use halt::Halt;
pub use replay::{Replay, ReplayError};
pub use status::{Phase, Status, Statuses, Totals};

use crate::{copy::Copy, worker::Worker};

/// What a writer stands on.
pub struct Parts {
    /// Bounds, and what the Claims say.
    pub config: Config,
    /// The mutations log.
    pub log: Log,
    /// Where outcomes go.
    pub outcomes: Outcomes,
    /// Which shard holds which partition.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// By index in the topology.
    pub shards: Vec<Shard>,
    /// For what runs ahead of it; results never depend on it.
    pub clock: Clock,
    /// To verify control records and sign Claims.
    pub keyring: Keyring,
    /// Where it tells how it stands.
    pub statuses: Statuses,
}

impl Parts {
    /// An id that no other control record has.
    #[expect(clippy::unused_self, reason = "a seam for a seeded source of randomness")]
    pub(crate) fn random_id(&self) -> [u8; 16] {
        rand::random()
    }
}

/// Runs a writer for every shard of the topology until `shutdown` is cancelled.
///
/// # Panics
/// When a shard's writer panics: our bug, and nothing may go on behind it.
pub async fn run(parts: Parts, shutdown: CancellationToken) {
    let parts = Arc::new(parts);
    let mut workers = JoinSet::new();
    for shard in 0..parts.shards.len() {
        let worker = Worker::new(Arc::clone(&parts), shard, copies(&parts, shard));
        workers.spawn(worker.run(shutdown.clone()));
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a writer never panics");
    }
}

fn copies(parts: &Parts, shard: usize) -> Vec<Copy> {
    let topology = parts.topology.borrow().clone();
    let decoder = |partition: PartitionId| Decoder {
        log_id: topology.log_id,
        partition,
        partitions: topology.partitions(),
        keyring: parts.keyring.clone(),
    };
    let records_max = parts.config.flush_records_max;
    topology
        .partitions_of(shard)
        .map(|partition| Copy::new(partition, shard, decoder(partition), records_max))
        .collect()
}
