//! One loop per shard: read the log, fold, apply in one transaction, publish outcomes.
//!
//! Not here: what records mean (fold), SQL (shard), who wants to own what (the topology says it).
//! Invariant: two writers of one copy do no harm; the later Claim wins and the other's transactions fail.

mod admit;
mod attempt;
mod backoff;
mod behind;
mod checks;
mod config;
mod copy;
mod digest;
mod fitting;
mod given;
mod halt;
mod hot;
mod letters;
mod metrics;
mod pace;
mod rebuild;
mod replay;
mod status;
mod stop;
mod tidy;
mod told;
mod verify;
mod worker;

use std::{collections::BTreeSet, sync::Arc};

use millpond_log::{Clock, Log, Outcomes, kafka::DeadLetters};
use millpond_schemas::{Keyring, PartitionId, Topology};
use millpond_shard::Router;
use millpond_trace::Tracer;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use config::{ClaimConfig, Config};
pub use digest::{CopyDigest, Edge, digest};
pub use halt::Halt;
pub use hot::{HotKey, Hottest};
pub use rebuild::{Goal, Progress, Rebuild, RebuildError, Step};
pub use replay::{Replay, ReplayError};
pub use status::{Lag, Phase, Status, Statuses, Totals};
pub use verify::{CannotTell, Difference, How, Progress as Verifying, Verdict, Verify};

use crate::{letters::Waiting, worker::Worker};

/// What a writer stands on.
pub struct Parts {
    /// Bounds, and what the Claims say.
    pub config: Config,
    /// The mutations log.
    pub log: Log,
    /// Where outcomes go.
    pub outcomes: Outcomes,
    /// Where dead letters are published beside the shard's rows. None: nowhere.
    pub dead_letters: Option<DeadLetters>,
    /// Which partitions this writer should try to own. A closed channel stays as it was.
    pub assigned: watch::Receiver<BTreeSet<PartitionId>>,
    /// Which shard holds which partition.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// By index in the topology; only their primaries are used.
    pub shards: Vec<Router>,
    /// For what runs ahead of it; results never depend on it.
    pub clock: Clock,
    /// To verify control records and sign Claims.
    pub keyring: Keyring,
    /// Where it tells how it stands.
    pub statuses: Statuses,
    /// For a span per flush that holds a traced mutation.
    pub tracer: Tracer,
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
        let waiting = Waiting::default();
        workers.spawn(letters::run(Arc::clone(&parts), shard, waiting.clone(), shutdown.clone()));
        let worker = Worker::new(Arc::clone(&parts), shard, waiting);
        workers.spawn(worker.run(shutdown.clone()));
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a writer never panics");
    }
}
