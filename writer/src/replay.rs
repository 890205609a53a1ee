//! Replays a partition's log into a copy that does not serve: no Claim, no outcomes, the same fold and apply.
//!
//! Invariant: the copy ends as the serving one was at the same offset, whatever the size of the flushes. Nothing is ever
//! appended.

pub(crate) mod lane;
pub(crate) mod source;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use millpond_fold::{Entry, State};
use millpond_log::{Clock, Log};
use millpond_schemas::{
    Control, ControlOp, Decoder, Offset, Record, Topology, UnixMillis, Watermark, limits::WINDOW_OFFSETS,
};
use millpond_shard::Shard;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    lane::{Bounds, Lane},
    source::{Source, Until},
};
use crate::{Halt, checks, stop::Stop};

/// Most bytes of records in a flush.
const FLUSH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a replay reads, and how far it goes.
pub struct Replay<'a> {
    /// The mutations log.
    pub log: &'a Log,
    /// Names the log and the partition.
    pub decoder: Decoder,
    /// For the generation, and what operators skipped.
    pub topology: &'a Topology,
    /// The last offset to apply, at most the log's last.
    pub to: Offset,
    /// Most records per flush. Changes nothing but the speed.
    pub flush_records_max: usize,
}

/// A replay stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot go on until somebody acts.
    #[error("replay halted: {0}")]
    Halted(Halt),
    /// The log or the shard did not answer; going on later is safe.
    #[error("replay interrupted: {0}")]
    Interrupted(String),
}

impl From<Stop> for ReplayError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Halt(halt) => Self::Halted(halt),
            Stop::Wait(why) => Self::Interrupted(why),
            Stop::Deposed(how) => Self::Interrupted(how.to_owned()),
        }
    }
}

impl Replay<'_> {
    /// Keeps everything that was ever remembered, however old. Applies the log to `shard` from the copy's watermark (or from nothing) to the wanted offset, or to where there is
    /// nothing more to read.
    ///
    /// # Errors
    /// [`ReplayError::Interrupted`]: call again. [`ReplayError::Halted`]: do not.
    pub async fn run(&self, shard: &Shard) -> Result<Watermark, ReplayError> {
        let topology = Arc::new(self.topology.clone());
        let start = Start { log: self.log, decoder: &self.decoder, topology: &topology };
        let watermark = start.watermark(shard).await?;
        let until = Until { offset: self.to, time: None };
        let bounds =
            Bounds { records_max: self.flush_records_max, bytes_max: FLUSH_BYTES_MAX, tidies: false };
        let lane = Lane::new(shard.clone(), state(shard, watermark).await?, bounds, CancellationToken::new());
        let reading = Reading { clock: None, waits: false, claims: LastClaim::default() };
        Ok(start.run(lane, until, reading, |_, _| {}).await?)
    }
}

/// How the log is read.
pub(crate) struct Reading {
    /// None: time that runs ahead is taken as it comes.
    pub(crate) clock: Option<Clock>,
    /// Whether records that are not there yet are waited for.
    pub(crate) waits: bool,
    /// Told of every Claim.
    pub(crate) claims: LastClaim,
}

/// The offset of the last Claim that was read. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LastClaim(Arc<AtomicI64>);

impl Default for LastClaim {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(Offset::NONE.0)))
    }
}

impl LastClaim {
    /// [`Offset::NONE`] before the first.
    pub(crate) fn offset(&self) -> Offset {
        Offset(self.0.load(Ordering::Relaxed))
    }

    /// Of an entry that follows those before.
    pub(crate) fn look(&self, entry: &Entry) {
        if is_claim(entry) {
            self.0.store(entry.offset.0, Ordering::Relaxed);
        }
    }
}

/// Whether it is one, whatever became of it.
pub(crate) fn is_claim(entry: &Entry) -> bool {
    matches!(&entry.decoded, Ok(Record::Control(Control { op: ControlOp::Claim(_), .. })))
}

/// What a replay of one partition begins with.
pub(crate) struct Start<'a> {
    pub(crate) log: &'a Log,
    pub(crate) decoder: &'a Decoder,
    pub(crate) topology: &'a Arc<Topology>,
}

impl Start<'_> {
    /// The watermark of the copy, which is made where there is none. It is one of this log.
    pub(crate) async fn watermark(&self, shard: &Shard) -> Result<Watermark, Stop> {
        let partition = self.decoder.partition;
        let empty = Watermark::empty(partition, self.topology.generation, self.decoder.log_id);
        let watermark = match shard.watermark(partition).await? {
            Some(watermark) => watermark,
            None => {
                shard.create_copy(empty.clone()).await?;
                empty
            }
        };
        checks::log_id(&watermark, self.decoder.log_id)?;
        checks::against_log(self.log, &watermark).await?;
        Ok(watermark)
    }

    /// Reads and applies up to `until`. `told` hears of every commit: its records, and the watermark. Ends early, without
    /// an error, when the lane is stopped.
    pub(crate) async fn run(
        &self,
        mut lane: Lane,
        until: Until,
        reading: Reading,
        told: impl FnMut(u64, Offset),
    ) -> Result<Watermark, Stop> {
        let source = Source {
            log: self.log.clone(),
            decoder: self.decoder.clone(),
            topology: Arc::clone(self.topology),
            until,
            clock: reading.clock,
            waits: reading.waits,
            claims: reading.claims,
            next: lane.state.watermark().applied.next(),
            time: lane.state.watermark().time,
        };
        let (chunks, reader) = source.start();
        let mut reading = JoinSet::new();
        reading.spawn(reader);
        let ran = lane.run(chunks, told).await;
        // It ends by itself, now that nobody listens.
        while let Some(ended) = reading.join_next().await {
            ended.expect("a reader never panics");
        }
        ran?;
        Ok(lane.state.watermark().clone())
    }
}

/// What the fold carries on from a copy's watermark.
pub(crate) async fn state(shard: &Shard, watermark: Watermark) -> Result<State, Stop> {
    let after = Offset(watermark.applied.0 - WINDOW_OFFSETS - 1);
    let seen = shard.seen(watermark.partition, after, UnixMillis::EPOCH).await?;
    State::new(watermark, seen).map_err(|invalid| Halt::ShardRefused { detail: invalid.to_string() }.into())
}
