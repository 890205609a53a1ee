//! What every call needs: the log, the shards, what is known of the partitions, and the configuration.
//!
//! Invariant: nothing in here changes after the start but through its own short lock or atomic.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use millpond_log::{Clock, Log};
use millpond_schemas::{Generation, Offset, OutcomeRange, PartitionId, RecordKey, Topology, UnixMillis};
use millpond_shard::{Error, Outcomes, Router, Snapshot, Want};
use millpond_trace::Tracer;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    auth::Auth,
    backlog::Backlog,
    body::Budget,
    calling,
    clocks::Clocks,
    metrics::Metrics,
    partitions::Partitions,
    problem::{Code, Problem},
    queries::{CursorKey, Pages},
    refreshes::Refreshes,
};

/// Shared by every handler.
pub(crate) type App = Arc<State>;

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) log: Log,
    pub(crate) topology: watch::Receiver<Arc<Topology>>,
    pub(crate) shards: Vec<Router>,
    /// Which of them were read since outcomes are heard without a hole.
    pub(crate) refreshes: Refreshes,
    pub(crate) clock: Clock,
    pub(crate) clocks: Clocks,
    pub(crate) tracer: Tracer,
    /// None: everybody may call, as any tenant.
    pub(crate) auth: Option<Arc<Auth>>,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) metrics: Metrics,
    pub(crate) bodies: Budget,
    /// What queries hold of what they answer.
    pub(crate) pages: Pages,
    /// What values hold that are being sent.
    pub(crate) answers: Pages,
    /// Seals the cursors of queries.
    pub(crate) cursor_key: CursorKey,
    /// The api takes no new connections; what waits should end soon.
    pub(crate) draining: CancellationToken,
    /// An ack did not rise: the log is another one, or lost its tail.
    pub(crate) diverged: AtomicBool,
    /// What shards have yet to apply.
    pub(crate) backlog: Backlog,
}

impl State {
    /// The generation that is written to.
    pub(crate) fn generation(&self) -> Generation {
        self.topology.borrow().generation
    }

    /// Where a key belongs.
    pub(crate) fn partition_of(&self, key: &RecordKey) -> PartitionId {
        key.partition(self.partitions.count())
    }

    /// The api's wall clock.
    pub(crate) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Longest value that this partition takes.
    pub(crate) fn value_bytes_max(&self, partition: PartitionId) -> usize {
        self.config.value_bytes_max.min(self.partitions.of(partition).value_bytes_max())
    }

    /// Longest value that every partition takes.
    pub(crate) fn value_bytes_max_of_all(&self) -> usize {
        let least = self.partitions.ids().map(|partition| self.value_bytes_max(partition)).min();
        least.unwrap_or(self.config.value_bytes_max)
    }

    /// Whether the log is known to be another one.
    pub(crate) fn has_diverged(&self) -> bool {
        self.diverged.load(Ordering::Relaxed) || self.log.is_remade()
    }

    /// The shard that serves a partition.
    pub(crate) fn shard_of(&self, partition: PartitionId) -> Result<&Router, Problem> {
        let index = self.topology.borrow().shard_of(partition);
        index.and_then(|index| self.shards.get(index)).ok_or_else(unavailable)
    }

    /// Tells each partition whether replicas may be behind what the primary has.
    pub(crate) fn note_replicas(&self) {
        for partition in self.partitions.ids() {
            if let Ok(shard) = self.shard_of(partition) {
                self.partitions.of(partition).replicated(shard.everywhere(partition));
            }
        }
    }

    /// Reads one key, from a node that has applied `at_least`, or else from the freshest. What it was read at is
    /// remembered.
    pub(crate) async fn read_key(
        &self,
        partition: PartitionId,
        key: &RecordKey,
        at_least: Offset,
    ) -> Result<Snapshot, Problem> {
        let want = Want { at_least, deadline: Instant::now() + self.config.shard_deadline };
        let read = self.shard_of(partition)?.read(partition, vec![key.clone()], want).await;
        let snapshot = read.map_err(|error| of_shard(&error))?;
        let freshness = &snapshot.freshness;
        self.partitions.read_watermark(partition, freshness.applied.offset, freshness.time);
        Ok(snapshot)
    }

    /// Reads the kept outcomes of `from..=to` from the primary: a replica may not have them yet.
    pub(crate) async fn read_outcomes(
        &self,
        partition: PartitionId,
        (from, to): (Offset, Offset),
        deadline: Duration,
    ) -> Result<Outcomes, Problem> {
        let primary = self.shard_of(partition)?.primary();
        self.metrics.outcome_reads.inc();
        let outcomes = within(deadline, primary.outcomes(partition, from, to)).await?;
        let freshness = &outcomes.freshness;
        self.partitions.read_watermark(partition, freshness.applied.offset, freshness.time);
        let covered = to.min(freshness.applied.offset);
        self.partitions.read_outcomes(partition, (from, covered), &outcomes.ranges);
        Ok(outcomes)
    }
}

/// What became of an offset, from what a shard keeps. None: it is not applied yet.
pub(crate) fn kept_outcome(outcomes: &Outcomes, offset: Offset) -> Option<millpond_schemas::Outcome> {
    if offset > outcomes.freshness.applied.offset {
        return None;
    }
    let of = |range: &OutcomeRange| range.of(offset);
    Some(outcomes.ranges.iter().find_map(of).unwrap_or(millpond_schemas::Outcome::Applied(None)))
}

fn unavailable() -> Problem {
    Problem::new(Code::ShardUnavailable, "")
}

/// Waits for a shard, but not longer. A shard finishes by itself what it began.
async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Problem> {
    match timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(of_shard(&error)),
        Err(_late) => Err(unavailable()),
    }
}

/// What a call is told of a shard's error, which is logged.
pub(crate) fn of_shard(error: &Error) -> Problem {
    match error {
        Error::Unavailable { .. } | Error::Fenced { .. } => {
            tracing::debug!(
                request_id = calling::request_id(),
                error = error as &dyn std::error::Error,
                "a shard does not answer"
            );
            unavailable()
        }
        Error::Corrupt { .. } | Error::Schema { .. } | Error::Refused { .. } | Error::RowAhead { .. } => {
            tracing::error!(
                request_id = calling::request_id(),
                error = error as &dyn std::error::Error,
                "a shard cannot be read"
            );
            Problem::new(Code::Internal, "the shard cannot be read")
        }
    }
}
