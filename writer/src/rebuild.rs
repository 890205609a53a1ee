//! Rebuilds partitions from the log into databases that do not serve: several at a time, resumable, to any place.
//!
//! The target's own watermarks are the only state: a rebuild that was killed goes on where they stand. Not here: holding
//! the target, and making it serve. Invariant: a copy that a writer has claimed is never touched.

mod progress;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use millpond_log::{Clock, Log};
use millpond_schemas::{
    DeadReason, Decoder, Keyring, Offset, PartitionId, Position, Topology, UnixMillis, Watermark,
};
use millpond_shard::Shard;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::progress::{Progress, Step};
use crate::{
    Halt,
    replay::{
        LastClaim, Reading, Start,
        lane::{Bounds, Lane},
        source::Until,
        state,
    },
    stop::Stop,
    tidy,
};

/// Before a rebuild that the world has interrupted goes on.
const AGAIN: Duration = Duration::from_secs(1);
/// Most records of a flush. More: fewer transactions; each holds as much in memory, three times over.
const FLUSH_RECORDS_MAX: usize = 20_000;
/// Most bytes of records in a flush.
const FLUSH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How far a rebuild goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Everything that was on the log when it began.
    End,
    /// Up to this offset, inclusive. Meant for one partition.
    Offset(Offset),
    /// Every record whose clamped time is at or before this moment.
    Time(UnixMillis),
}

/// What a rebuild reads.
#[derive(Clone)]
pub struct Rebuild {
    /// The mutations log.
    pub log: Log,
    /// For the log's id and generation, and what operators skipped. One state of it, throughout.
    pub topology: Arc<Topology>,
    /// To verify control records.
    pub keyring: Keyring,
    /// A record that was appended long after this clock's now halts, as it halts the writer.
    pub clock: Clock,
    /// How far.
    pub goal: Goal,
}

/// Why a rebuild of a partition ended before its goal.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// It cannot go on until somebody acts.
    #[error("partition {partition} halted, {}: {halt}", halt.name())]
    Halted {
        /// Which partition.
        partition: PartitionId,
        /// Why.
        halt: Halt,
    },
    /// A writer has claimed the copy: it serves, or has served.
    #[error(
        "the target's copy of partition {partition} is one that a writer has claimed (at offset {owner}): it serves, or \
         has served; name an empty database"
    )]
    Claimed {
        /// Which partition.
        partition: PartitionId,
        /// The writer's Claim.
        owner: Offset,
    },
    /// The copy has passed the goal, and a copy never goes back.
    #[error(
        "the target's copy of partition {partition} has applied up to {applied}, which is beyond what is wanted; name an \
         empty database"
    )]
    Beyond {
        /// Which partition.
        partition: PartitionId,
        /// Its watermark.
        applied: Position,
    },
    /// The log is not that long.
    #[error(
        "the log of partition {partition} ends before offset {end}: there is nothing at the wanted offset yet"
    )]
    NotThere {
        /// Which partition.
        partition: PartitionId,
        /// The log's end.
        end: Offset,
    },
    /// An operator has skipped a record after the copy had passed it.
    #[error(
        "the target's copy has applied the record {position}, which an operator has skipped since; name an empty database"
    )]
    SkippedSince {
        /// Which record.
        position: Position,
    },
    /// What the copy needs next is gone: only a snapshot has it.
    #[error(
        "log-trimmed: the log of partition {partition} starts at offset {start}, and the copy needs {wanted}: restore it \
         from a snapshot"
    )]
    Trimmed {
        /// Which partition.
        partition: PartitionId,
        /// The next offset that the copy needs.
        wanted: Offset,
        /// The first offset that can be read.
        start: Offset,
    },
    /// It was told to stop. Run again, it goes on.
    #[error("stopped; run it again to go on")]
    Stopped,
}

impl Rebuild {
    /// Rebuilds `partitions` into `shards`, each a handle on the same database: as many partitions at a time as there
    /// are handles. Answers the watermarks, by partition.
    ///
    /// What the world interrupts is tried again until it works; [`Progress`] says so.
    /// # Errors
    /// [`RebuildError`] of the first partition that has one; the others stop after their transaction.
    pub async fn run(
        &self,
        shards: Vec<Shard>,
        partitions: &[PartitionId],
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Vec<Watermark>, RebuildError> {
        let waiting: Arc<Mutex<VecDeque<PartitionId>>> =
            Arc::new(Mutex::new(partitions.iter().copied().collect()));
        let stop = stop.child_token();
        self.expect(shards.first(), partitions, progress).await;
        let mut jobs = JoinSet::new();
        for shard in shards {
            let (rebuild, progress) = (self.clone(), progress.clone());
            let (waiting, stop) = (Arc::clone(&waiting), stop.clone());
            jobs.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(partition) = next else { return Ok(done) };
                    done.push(rebuild.partition(&shard, partition, &progress, &stop).await?);
                }
            });
        }
        let (mut done, mut failed) = (Vec::new(), None);
        while let Some(job) = jobs.join_next().await {
            match job.expect("a rebuild never panics") {
                Ok(watermarks) => done.extend(watermarks),
                // The others are stopped by the first.
                Err(error) => {
                    failed.get_or_insert(error);
                    stop.cancel();
                }
            }
        }
        done.sort_by_key(|watermark: &Watermark| watermark.partition);
        failed.map_or(Ok(done), Err)
    }

    /// Tells how much there is to do in all. What does not answer is told later, when its turn has come.
    async fn expect(&self, shard: Option<&Shard>, partitions: &[PartitionId], progress: &Progress) {
        let Some(shard) = shard else { return };
        let marks = shard.watermarks(partitions.to_vec()).await.unwrap_or_default();
        for partition in partitions {
            let mark = marks.iter().find(|mark| mark.partition == *partition);
            if let Ok(bounds) = self.log.bounds(*partition).await {
                let applied = mark.map_or(Offset::NONE, |mark| mark.applied);
                progress.begin(*partition, applied, bounds.end.previous());
            }
        }
    }

    /// One partition, however often it is interrupted.
    async fn partition(
        &self,
        shard: &Shard,
        partition: PartitionId,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Watermark, RebuildError> {
        loop {
            let why = match self.attempt(shard, partition, progress, stop).await {
                Ok(_) | Err(Failed::Stop(_)) if stop.is_cancelled() => return Err(RebuildError::Stopped),
                Ok(watermark) => {
                    progress.done(partition);
                    return Ok(watermark);
                }
                Err(Failed::For(error)) => return Err(error),
                Err(Failed::Stop(Stop::Halt(halt))) => return Err(self.halted(partition, halt).await),
                Err(Failed::Stop(Stop::Wait(why))) => why,
                Err(Failed::Stop(Stop::Deposed(how))) => how.to_owned(),
            };
            progress.waits(partition, why);
            tokio::select! {
                () = stop.cancelled() => return Err(RebuildError::Stopped),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// A gap at the log's start is no fault of the log's.
    async fn halted(&self, partition: PartitionId, halt: Halt) -> RebuildError {
        if let Halt::LogGap { wanted, .. } = halt
            && let Ok(bounds) = self.log.bounds(partition).await
            && bounds.start > wanted
        {
            return RebuildError::Trimmed { partition, wanted, start: bounds.start };
        }
        RebuildError::Halted { partition, halt }
    }

    async fn attempt(
        &self,
        shard: &Shard,
        partition: PartitionId,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Watermark, Failed> {
        let decoder = self.decoder(partition);
        let start = Start { log: &self.log, decoder: &decoder, topology: &self.topology };
        let watermark = start.watermark(shard).await?;
        let until = self.until(shard, &watermark).await?;
        progress.begin(partition, watermark.applied, until.offset);
        let bounds = Bounds { records_max: FLUSH_RECORDS_MAX, bytes_max: FLUSH_BYTES_MAX, tidies: true };
        let lane = Lane::new(shard.clone(), state(shard, watermark).await?, bounds, stop.clone());
        let reading = Reading { clock: Some(self.clock.clone()), waits: true, claims: LastClaim::default() };
        let told = |records, applied| progress.applied(partition, records, applied);
        let watermark = start.run(lane, until, reading, told).await?;
        while !stop.is_cancelled() && tidy::tidy(shard, partition).await {}
        Ok(watermark)
    }

    /// Where a copy's rebuild stops, if it may begin at all.
    async fn until(&self, shard: &Shard, watermark: &Watermark) -> Result<Until, Failed> {
        let partition = watermark.partition;
        if watermark.owner > Offset::NONE {
            return Err(RebuildError::Claimed { partition, owner: watermark.owner }.into());
        }
        self.skips(shard, watermark).await?;
        let end = self.log.bounds(partition).await.map_err(Stop::from)?.end;
        let (until, beyond) = match self.goal {
            Goal::End => (Until { offset: end.previous(), time: None }, false),
            Goal::Offset(offset) if offset >= end => {
                return Err(RebuildError::NotThere { partition, end }.into());
            }
            Goal::Offset(offset) => (Until { offset, time: None }, watermark.applied > offset),
            Goal::Time(time) => (Until { offset: end.previous(), time: Some(time) }, watermark.time > time),
        };
        if beyond {
            return Err(RebuildError::Beyond { partition, applied: watermark.position() }.into());
        }
        Ok(until)
    }

    /// What was skipped must have been skipped here, too.
    async fn skips(&self, shard: &Shard, watermark: &Watermark) -> Result<(), Failed> {
        let passed = self.topology.skips.iter().filter(|skip| {
            skip.generation == watermark.generation
                && skip.partition == watermark.partition
                && skip.offset <= watermark.applied
        });
        for position in passed {
            let letters = shard.dead_letters(position.partition, position.offset, 1).await;
            let letters = letters.map_err(Stop::from)?;
            let skipped = letters.first().is_some_and(|letter| {
                letter.offset == position.offset && letter.refusal.reason == DeadReason::Skipped
            });
            if !skipped {
                return Err(RebuildError::SkippedSince { position: *position }.into());
            }
        }
        Ok(())
    }

    fn decoder(&self, partition: PartitionId) -> Decoder {
        Decoder {
            log_id: self.topology.log_id,
            partition,
            partitions: self.topology.partitions(),
            keyring: self.keyring.clone(),
        }
    }
}

/// Why an attempt ended.
enum Failed {
    /// For good.
    For(RebuildError),
    /// As the log or the shard says.
    Stop(Stop),
}

impl From<RebuildError> for Failed {
    fn from(error: RebuildError) -> Self {
        Self::For(error)
    }
}

impl From<Stop> for Failed {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}
