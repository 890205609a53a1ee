//! What is due becomes Sweep and Purge records; what no copy needs any more is trimmed off the log. Deletes no row itself.
//!
//! Not here: expiry, which the fold judges by the record's own time.
//! Invariant: any number of sweepers, none, or one with a wrong clock change nothing about the state at an offset.

mod late;
mod metrics;
mod trim;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use millpond_log::{Append, Clock, Log};
use millpond_schemas::{
    Control, ControlOp, Keyring, LogId, Offset, PartitionId, RecordKey, Topology, UnixMillis, Version,
    limits::{PURGE_GRACE_MS, SWEEP_ROWS_MAX},
};
use millpond_shard::{Due, Router, Shard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use metrics::Metrics;

/// How the sweeper paces itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// How often each partition is asked for what is due. Longer: tombstones come later; reads never show what has
    /// expired anyway. Default 1 s.
    pub interval: Duration,
    /// The same while there is more to do. Default 100 ms.
    pub interval_busy: Duration,
    /// Most rows per Sweep or Purge, up to [`SWEEP_ROWS_MAX`]. More: longer flushes. Default 900.
    pub rows_max: u32,
    /// How old a tombstone is before a Purge is asked for; the Claim in force decides. Default 7 days.
    pub purge_grace: Duration,
    /// How old a record is before it may be trimmed, at least 24 hours. None: nothing is trimmed; the default.
    pub trim_after: Option<Duration>,
    /// How often the log is trimmed. Longer: it is trimmed in larger steps. Default 30 s.
    pub trim_interval: Duration,
    /// How long a replica may be late, or silent, before the log is no longer kept for it. Longer: one that is broken keeps
    /// the log longer; shorter: one that is late can be promoted no longer. Default 1 h.
    pub replica_late_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            interval_busy: Duration::from_millis(100),
            rows_max: SWEEP_ROWS_MAX,
            purge_grace: Duration::from_millis(PURGE_GRACE_MS),
            trim_after: None,
            trim_interval: Duration::from_secs(30),
            replica_late_max: Duration::from_hours(1),
        }
    }
}

/// What a sweeper stands on.
pub struct Parts {
    /// Its pace.
    pub config: Config,
    /// The mutations log.
    pub log: Log,
    /// Which partitions to sweep. Two that sweep the same one do the work twice, and no harm.
    pub assigned: watch::Receiver<BTreeSet<PartitionId>>,
    /// Which shard holds which partition.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// By index in the topology. Only their primaries are swept; of replicas it is asked how far they are.
    pub shards: Vec<Router>,
    /// For what may be due.
    pub clock: Clock,
    /// To sign control records.
    pub keyring: Keyring,
    /// What it counts.
    pub metrics: Metrics,
}

/// Why one partition could not be swept this time; the next round tries again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read what is due")]
    Shard(#[from] millpond_shard::Error),
    #[error("cannot append a control record")]
    Log(#[from] millpond_log::Error),
}

/// Most rounds that a partition rests after asking in vain.
const REST_ROUNDS_MAX: u32 = 64;

/// What was last asked of one partition.
#[derive(Debug)]
struct Asked {
    /// The last control record.
    offset: Offset,
    /// The first row that was due then.
    first: Option<(RecordKey, Version)>,
    /// How often in a row that row was still there afterwards: by the records' time it is not due.
    in_vain: u32,
    /// Rounds to let pass.
    rest: u32,
}

/// Sweeps and trims until `shutdown` is cancelled.
pub async fn run(parts: Parts, shutdown: CancellationToken) {
    // What waits for a replica that is silent holds up no sweep.
    tokio::join!(sweep(&parts, &shutdown), trim::run(&parts, &shutdown));
}

async fn sweep(parts: &Parts, shutdown: &CancellationToken) {
    let partitions = parts.topology.borrow().partitions();
    let new = || Asked { offset: Offset::NONE, first: None, in_vain: 0, rest: 0 };
    let mut asked: Vec<Asked> = (0..partitions).map(|_| new()).collect();
    loop {
        let mut busy = false;
        let assigned = parts.assigned.borrow().clone();
        let mine = (0..partitions).map(PartitionId).zip(&mut asked);
        for (partition, asked) in mine.filter(|(partition, _)| assigned.contains(partition)) {
            match parts.round(partition, asked).await {
                Ok(more) => busy |= more,
                Err(error) => {
                    parts.metrics.failed();
                    tracing::warn!(partition = partition.0, "not swept: {}", in_words(&error));
                }
            }
        }
        parts.metrics.round();
        let pause = if busy { parts.config.interval_busy } else { parts.config.interval };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Parts {
    /// Asks once for what is due in a partition. Whether there was anything, or the last request still waits.
    async fn round(&self, partition: PartitionId, asked: &mut Asked) -> Result<bool, Error> {
        if asked.rest > 0 {
            asked.rest -= 1;
            return Ok(false);
        }
        let (log_id, shard) = {
            let topology = self.topology.borrow();
            (
                topology.log_id,
                topology.shard_of(partition).and_then(|index| self.shards.get(index)).map(Router::primary),
            )
        };
        let Some(shard) = shard else { return Ok(false) };
        let Some(watermark) = shard.watermark(partition).await? else { return Ok(false) };
        if watermark.sealed {
            return Ok(false);
        }
        if watermark.applied < asked.offset {
            return Ok(true);
        }
        let (ops, first) = self.due(partition, &shard).await?;
        if ops.is_empty() {
            return Ok(false);
        }
        if asked.first == first {
            // This clock is ahead of the log's: what it calls due is not, yet.
            asked.in_vain += 1;
            self.metrics.in_vain();
            asked.rest = REST_ROUNDS_MAX.min(1 << asked.in_vain.min(16));
        } else {
            asked.in_vain = 0;
        }
        asked.first = first;
        asked.offset = self.append(partition, log_id, ops).await?;
        Ok(asked.in_vain == 0)
    }

    /// What to ask for, and the first row that is due.
    async fn due(
        &self,
        partition: PartitionId,
        shard: &Shard,
    ) -> Result<(Vec<ControlOp>, Option<(RecordKey, Version)>), Error> {
        let now = self.clock.now();
        let grace_ms = i64::try_from(self.config.purge_grace.as_millis()).unwrap_or(i64::MAX);
        let old = UnixMillis(now.0.saturating_sub(grace_ms));
        let rows_max = self.config.rows_max.clamp(1, SWEEP_ROWS_MAX);
        let rows = shard.due(partition, Due::Rows, now, 1).await?;
        let tombstones = shard.due(partition, Due::Tombstones, old, 1).await?;
        let first = rows.first().or(tombstones.first()).map(|row| (row.key.clone(), row.version));
        let sweep = (!rows.is_empty()).then_some(ControlOp::Sweep { rows_max });
        let purge = (!tombstones.is_empty()).then_some(ControlOp::Purge { rows_max });
        Ok((sweep.into_iter().chain(purge).collect(), first))
    }

    async fn append(
        &self,
        partition: PartitionId,
        log_id: LogId,
        ops: Vec<ControlOp>,
    ) -> Result<Offset, Error> {
        let end_seen = self.log.bounds(partition).await?.end;
        let record = |op: ControlOp| {
            let mac_key_id = self.keyring.current();
            let control = Control { id: rand::random(), log_id, partition, end_seen, mac_key_id, op };
            let raw = control.encode(&self.keyring).expect("a ring holds its current key");
            Append { partition, raw }
        };
        let sweeps = ops.iter().filter(|op| matches!(op, ControlOp::Sweep { .. })).count();
        let purges = ops.len() - sweeps;
        let acks = self.log.append(ops.into_iter().map(record).collect()).await?;
        self.metrics.appended(sweeps, purges);
        Ok(acks.last().map_or(Offset::NONE, |ack| ack.offset))
    }
}

/// An error with its causes, on one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
