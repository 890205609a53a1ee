//! Trims the log up to the floor.
//!
//! Not here: what the floor is ([`millpond_schemas::floor`]). A round asks every copy where it stands, and the log which
//! of its records are old; what does not answer keeps everything. Before anything is dropped the serving copies are
//! asked again, for what outlasts a power loss.
//! Invariant: nothing is dropped that a copy still needs, and nothing at all without an age; two that trim at once drop
//! no more than one.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use millpond_log::Bounds;
use millpond_schemas::{
    Offset, PartitionId, Topology, UnixMillis, Watermark,
    floor::{Holders, Mark, Replica, cutoff},
};
use millpond_shard::{Error, Shard};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    Parts, in_words,
    late::{Late, Noted},
};

/// How long a database may take to say where it stands.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Trims until `shutdown` is cancelled. Without an age it only tells where the log starts.
pub(crate) async fn run(parts: &Parts, shutdown: &CancellationToken) {
    let mut trimmer = Trimmer { parts, late: Late::new(parts.config.replica_late_max) };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(parts.config.trim_interval) => {}
        }
        // One that is dropped has trimmed or has not: nothing is half done.
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = trimmer.round() => parts.metrics.trim_round(),
        }
    }
}

/// Where the copies of one database stand.
type Marks = HashMap<PartitionId, Mark>;

/// One shard, as far as its nodes have answered.
struct Asked {
    partitions: Vec<PartitionId>,
    shard: Shard,
    primary: Option<Marks>,
    /// What its copies have applied, as it would outlast a power loss.
    last: HashMap<PartitionId, Watermark>,
    /// Somebody reads the logs from their beginning.
    is_held: bool,
    replicas: Vec<(Shard, Option<Marks>)>,
}

/// Who holds one partition's log.
struct Held {
    partition: PartitionId,
    primary: Option<Mark>,
    /// The first offsets that copies which are being made, or verified, may still read.
    making: &'static [Offset],
    replicas: Vec<Replica>,
}

/// All of it.
const WHOLE: &[Offset] = &[Offset(0)];

struct Trimmer<'a> {
    parts: &'a Parts,
    late: Late<Shard>,
}

impl Trimmer<'_> {
    async fn round(&mut self) {
        let parts = self.parts;
        let topology = parts.topology.borrow().clone();
        let mut asked = join_all(self.shards(&topology).map(|shard| shard.ask(&topology))).await;
        let starts = self.starts(&asked).await;
        let Some(age) = parts.config.trim_after else {
            parts.metrics.starts(&starts);
            return;
        };
        let mut held = self.held(&asked);
        let ages = self.ages(&held, age).await;
        let floors = self.floors(&held, &ages);
        parts.metrics.floors(&floors, &starts);
        if self.to_trim(&floors, &starts).is_none() {
            return;
        }
        join_all(asked.iter_mut().map(|shard| shard.ask_durable(&topology))).await;
        let shard_of = |partition| asked.iter().find(|shard| shard.partitions.contains(&partition));
        let last = |held: &Held| shard_of(held.partition).and_then(|shard| shard.last.get(&held.partition));
        let of_the_log = join_all(held.iter().map(|held| self.is_of_the_log(last(held)))).await;
        for (held, is_of_the_log) in held.iter_mut().zip(of_the_log) {
            let shard = shard_of(held.partition);
            let primary = shard.and_then(|shard| mark(shard.primary.as_ref(), held.partition));
            held.primary = primary.filter(|_| is_of_the_log);
            held.making = shard.map_or(WHOLE, Asked::making);
        }
        // What was asked may not be what serves now: another primary needs what this one does not.
        if parts.topology.borrow().epoch != topology.epoch {
            return;
        }
        let Some(floors) = self.to_trim(&self.floors(&held, &ages), &starts) else { return };
        if let Err(error) = parts.log.trim(&floors).await {
            parts.metrics.trim_failed();
            tracing::warn!("not trimmed: {}", in_words(&error));
        }
        let now = self.starts(&asked).await;
        let records =
            now.iter().map(|(partition, start)| start.0 - starts.get(partition).map_or(start.0, |s| s.0));
        let records = records.sum::<i64>().unsigned_abs();
        if records > 0 {
            tracing::info!(records, "the log was trimmed");
        }
        parts.metrics.trimmed(records);
        parts.metrics.starts(&now);
    }

    /// Whether the log holds the record that a copy has applied last. One that the log has parted from halts, and can
    /// only be made anew: from the log's beginning.
    async fn is_of_the_log(&self, copy: Option<&Watermark>) -> bool {
        let Some(copy) = copy else { return false };
        if copy.digest_offset == Offset::NONE {
            return true;
        }
        let record = self.parts.log.record(copy.partition, copy.digest_offset).await;
        let is_there = matches!(&record, Ok(Some(record)) if record.raw.digest() == copy.digest);
        if !is_there {
            let (partition, offset) = (copy.partition.0, copy.digest_offset.0);
            tracing::warn!(
                partition,
                offset,
                "not trimmed: the last record of its copy is not found on the log"
            );
        }
        is_there
    }

    /// The shards with assigned partitions, not asked yet.
    fn shards(&self, topology: &Topology) -> impl Iterator<Item = Asked> {
        let assigned = self.parts.assigned.borrow().clone();
        let asked = self.parts.shards.iter().enumerate().map(move |(index, router)| Asked {
            partitions: topology
                .partitions_of(index)
                .filter(|partition| assigned.contains(partition))
                .collect(),
            shard: router.primary(),
            primary: None,
            last: HashMap::new(),
            is_held: false,
            replicas: router.replicas().into_iter().map(|replica| (replica, None)).collect(),
        });
        asked.filter(|asked| !asked.partitions.is_empty()).collect::<Vec<_>>().into_iter()
    }

    /// Where the assigned partitions start, as far as the log says so.
    async fn starts(&self, asked: &[Asked]) -> HashMap<PartitionId, Offset> {
        let partitions = asked.iter().flat_map(|shard| &shard.partitions);
        let starts = partitions.map(async |partition| {
            let Bounds { start, .. } = self.parts.log.bounds(*partition).await.ok()?;
            Some((*partition, start))
        });
        join_all(starts).await.into_iter().flatten().collect()
    }

    /// Who holds each assigned partition. Tells of replicas that come to be left behind.
    fn held(&mut self, asked: &[Asked]) -> Vec<Held> {
        let now = self.parts.clock.elapsed();
        let mut held = Vec::new();
        for shard in asked {
            let late: Vec<Duration> = shard
                .replicas
                .iter()
                .map(|(replica, marks)| {
                    let keeps_up = shard.keeps_up(marks.as_ref(), self.parts.config.replica_late_max);
                    let noted = self.late.note(replica.clone(), |other| other.is(replica), (now, keeps_up));
                    tell(noted, &shard.partitions);
                    noted.late_for
                })
                .collect();
            held.extend(shard.partitions.iter().map(|partition| {
                Held {
                    partition: *partition,
                    primary: mark(shard.primary.as_ref(), *partition),
                    making: shard.making(),
                    replicas: shard
                        .replicas
                        .iter()
                        .zip(&late)
                        .map(|((_, marks), late_for)| Replica {
                            mark: mark(marks.as_ref(), *partition),
                            late_for: *late_for,
                        })
                        .collect(),
                }
            }));
        }
        let left_behind = self.late.end_round();
        self.parts.metrics.left_behind(left_behind, self.late.left);
        held
    }

    /// For each partition an offset below which all is old enough; none where the log does not tell.
    async fn ages(&self, held: &[Held], age: Duration) -> Vec<Option<Offset>> {
        let now = self.parts.clock.now();
        let mut times = vec![UnixMillis::EPOCH; self.parts.log.partitions() as usize];
        for Held { partition, primary, .. } in held {
            if let (Some(time), Some(primary)) = (times.get_mut(partition.0 as usize), primary) {
                *time = cutoff(primary.time, now, age);
            }
        }
        self.parts.log.older(&times).await
    }

    /// Up to where each partition may be trimmed, where all that it depends on is known.
    fn floors(&self, held: &[Held], ages: &[Option<Offset>]) -> HashMap<PartitionId, Offset> {
        let late_max = self.parts.config.replica_late_max;
        let floor = |held: &Held| {
            let holders =
                Holders { primary: held.primary, replicas: &held.replicas, making: held.making, late_max };
            let old = ages.get(held.partition.0 as usize).copied().flatten()?;
            Some((held.partition, holders.floor()?.min(old)))
        };
        held.iter().filter_map(floor).collect()
    }

    /// What the log is told: a floor for every partition, 0 where it is not known. None: there is nothing to drop.
    fn to_trim(
        &self,
        floors: &HashMap<PartitionId, Offset>,
        starts: &HashMap<PartitionId, Offset>,
    ) -> Option<Vec<Offset>> {
        let above =
            |(partition, floor): (&PartitionId, &Offset)| starts.get(partition).is_some_and(|s| floor > s);
        if !floors.iter().any(above) {
            return None;
        }
        let of = |at| floors.get(&PartitionId(at)).copied().unwrap_or(Offset(0));
        let floors = (0..self.parts.log.partitions()).map(of).collect::<Vec<_>>();
        self.parts.log.could_trim(&floors).then_some(floors)
    }
}

fn mark(marks: Option<&Marks>, partition: PartitionId) -> Option<Mark> {
    marks?.get(&partition).copied()
}

fn tell(noted: Noted, partitions: &[PartitionId]) {
    let partitions: Vec<u32> = partitions.iter().map(|partition| partition.0).collect();
    let late_for = noted.late_for;
    match noted.changed {
        Some(true) => tracing::warn!(
            ?partitions,
            ?late_for,
            "a replica is late for too long: the log is no longer kept for it, so it must not be promoted"
        ),
        Some(false) => tracing::info!(?partitions, "a replica keeps up again: the log is kept for it"),
        None => {}
    }
}

impl Asked {
    /// Asks every node.
    async fn ask(mut self, topology: &Topology) -> Self {
        let partitions = &self.partitions;
        let asked = async |shard: &Shard| {
            let watermarks = timeout(ANSWER_MAX, shard.read_watermarks(partitions.clone())).await;
            of_this_log(watermarks.ok()?, topology)
        };
        let replicas = join_all(self.replicas.iter().map(|(shard, _)| asked(shard)));
        let (primary, replicas) = futures_util::future::join(asked(&self.shard), replicas).await;
        self.primary = primary;
        self.ask_who_reads().await;
        for ((_, marks), asked) in self.replicas.iter_mut().zip(replicas) {
            *marks = asked;
        }
        self
    }

    /// Asks the primary for what would outlast a power loss, in place of what it said before.
    async fn ask_durable(&mut self, topology: &Topology) {
        let watermarks = timeout(ANSWER_MAX, self.shard.checkpoint()).await;
        let last = watermarks.as_ref().ok().and_then(|watermarks| watermarks.as_ref().ok());
        self.last = last.into_iter().flatten().map(|last| (last.partition, last.clone())).collect();
        self.primary = watermarks.ok().and_then(|watermarks| of_this_log(watermarks, topology));
        self.ask_who_reads().await;
    }

    /// A database that does not say who reads keeps everything.
    async fn ask_who_reads(&mut self) {
        match timeout(ANSWER_MAX, self.shard.is_log_held()).await {
            Ok(Ok(is_held)) => self.is_held = is_held,
            Ok(Err(_)) | Err(_) => self.primary = None,
        }
    }

    fn making(&self) -> &'static [Offset] {
        if self.is_held { WHOLE } else { &[] }
    }

    /// Whether a replica that stands here is about as far as the primary in every partition.
    fn keeps_up(&self, replica: Option<&Marks>, behind_max: Duration) -> bool {
        self.partitions.iter().all(|partition| {
            let (primary, replica) = (mark(self.primary.as_ref(), *partition), mark(replica, *partition));
            // A primary that does not answer goes nowhere that a replica would have to follow.
            replica
                .is_some_and(|replica| primary.is_none_or(|primary| replica.behind(&primary) <= behind_max))
        })
    }
}

/// Where copies stand; none of another log counts.
fn of_this_log(watermarks: Result<Vec<Watermark>, Error>, topology: &Topology) -> Option<Marks> {
    let watermarks = watermarks
        .inspect_err(|error| tracing::debug!("a copy does not say where it stands: {}", in_words(error)))
        .ok()?;
    let ours = |watermark: &&Watermark| {
        watermark.log_id == topology.log_id && watermark.generation == topology.generation
    };
    Some(watermarks.iter().filter(ours).map(|watermark| (watermark.partition, watermark.into())).collect())
}
