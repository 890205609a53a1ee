//! One shard's writer: gathers what its partitions' logs have, folds, and applies it in one transaction.
//!
//! Invariant: a copy that stands still is looked at every second, and nothing is applied meanwhile.

mod flush;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use millpond_schemas::{Decoder, PartitionId};
use millpond_shard::Shard;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Parts, checks,
    copy::{Batch, Copy},
    letters::Waiting,
    pace::Pace,
    stop::Stop,
    tidy,
};

/// How often standing copies are checked against the log and waiting ones try again.
const TICK: Duration = Duration::from_secs(1);
/// How often what nobody asks for any more is deleted.
const TIDY_EVERY_TICKS: u64 = 60;
/// A transaction holds as much as so many partitions may bring at most, and no more waits for it in memory: all of it is
/// there several times over. More: fewer, larger transactions while many partitions catch up.
const FULL_PARTITIONS_MAX: usize = 8;
/// So many records do not wait for more.
const RECORDS_AT_ONCE: usize = 64;

pub(crate) struct Worker {
    parts: Arc<Parts>,
    shard: usize,
    /// The shard's primary: the one that every copy here was last synced with.
    primary: Shard,
    copies: Vec<Copy>,
    letters: Waiting,
    /// Of the next flush.
    pace: Pace,
    /// Of the records of all partitions in one flush, about.
    bytes_max: usize,
    /// Before this, a few records wait for more.
    next_flush: Instant,
    /// Flushes of partitions, since the start.
    committed: u64,
    ticks: u64,
}

impl Worker {
    pub(crate) fn new(parts: Arc<Parts>, shard: usize, letters: Waiting) -> Self {
        let pace = Pace::new(&parts.config);
        let primary = parts.shards[shard].primary();
        let bytes_max = parts.config.flush_bytes_max.saturating_mul(FULL_PARTITIONS_MAX);
        Self {
            parts,
            shard,
            primary,
            copies: Vec::new(),
            letters,
            pace,
            bytes_max,
            next_flush: Instant::now(),
            committed: 0,
            ticks: 0,
        }
    }

    /// Runs until the token is cancelled; a transaction under way is finished first.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.parts.log.changes();
        let (mut assigned, mut topology) = (self.parts.assigned.clone(), self.parts.topology.clone());
        let mut next_tick = Instant::now();
        self.reassign();
        while !shutdown.is_cancelled() {
            let new_topology = is_new(&mut topology);
            if new_topology {
                self.copies.iter_mut().for_each(Copy::topology_changed);
            }
            if is_new(&mut assigned) | new_topology {
                self.reassign();
                next_tick = Instant::now();
            }
            if self.follow_primary() {
                next_tick = Instant::now();
            }
            if next_tick <= Instant::now() {
                // Dropped halfway it leaves nothing undone: nobody goes on here.
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = self.tick() => {}
                }
                next_tick = Instant::now() + TICK;
            }
            changes.mark_unchanged();
            let worked = self.step().await;
            self.report();
            if worked {
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                () = renewed(&assigned) => {}
                () = renewed(&topology) => {}
                () = sleep_until(next_tick) => {}
            }
        }
    }

    /// Goes over to the shard's new primary, if there is one.
    fn follow_primary(&mut self) -> bool {
        let primary = self.parts.shards[self.shard].primary();
        if primary.is(&self.primary) {
            return false;
        }
        self.primary = primary;
        self.copies.iter_mut().for_each(Copy::begin_anew);
        true
    }

    /// Takes up the partitions that this writer should own on this shard, and lets go of the others.
    fn reassign(&mut self) {
        let parts = Arc::clone(&self.parts);
        let topology = parts.topology.borrow().clone();
        let assigned = parts.assigned.borrow().clone();
        let wanted: BTreeSet<PartitionId> =
            topology.partitions_of(self.shard).filter(|partition| assigned.contains(partition)).collect();
        self.copies.retain(|copy| {
            let keep = wanted.contains(&copy.partition);
            if !keep {
                tracing::info!(partition = copy.partition.0, "let go");
                parts.log.rest(copy.partition);
                parts.statuses.remove(copy.partition, self.shard);
            }
            keep
        });
        for partition in wanted {
            if !self.copies.iter().any(|copy| copy.partition == partition) {
                let decoder = Decoder {
                    log_id: topology.log_id,
                    partition,
                    partitions: topology.partitions(),
                    keyring: parts.keyring.clone(),
                };
                self.copies.push(Copy::new(partition, self.shard, decoder, parts.config.flush_records_max));
            }
        }
    }

    fn report(&self) {
        for copy in &self.copies {
            self.parts.statuses.set(copy.partition, copy.status());
        }
    }

    /// Once a second: waiting copies try again, running ones are compared with the log. All together, as each waits for
    /// brokers, and nothing is applied meanwhile.
    async fn tick(&mut self) {
        self.ticks += 1;
        let parts = Arc::clone(&self.parts);
        if let Err(error) = self.primary.check_place() {
            self.copies
                .iter_mut()
                .filter(|copy| copy.is_running())
                .for_each(|copy| copy.stop(Stop::from(&error)));
        }
        join_all(self.copies.iter_mut().map(|copy| look(copy, &parts, &self.primary, &self.letters))).await;
        for copy in &mut self.copies {
            if copy.is_running() && (copy.untidy || self.ticks.is_multiple_of(TIDY_EVERY_TICKS)) {
                copy.untidy = tidy::tidy(&self.primary, copy.partition).await;
            }
        }
    }

    /// One flush of whatever has arrived. Whether there was anything.
    async fn step(&mut self) -> bool {
        let parts = Arc::clone(&self.parts);
        let waiting = self.gather().await;
        if (1..RECORDS_AT_ONCE).contains(&waiting) && self.next_flush > Instant::now() {
            sleep_until(self.next_flush).await;
            self.gather().await;
        }
        self.next_flush = Instant::now() + parts.config.flush_interval.min(TICK);
        let mut batches: Vec<Batch> = Vec::new();
        let mut bytes = 0;
        for copy in &mut self.copies {
            if bytes >= self.bytes_max {
                break;
            }
            match copy.take(&parts, self.pace.records_max()) {
                Ok(batch) => {
                    bytes += batch.as_ref().map_or(0, Batch::bytes);
                    batches.extend(batch);
                }
                Err(stop) => copy.stop(stop),
            }
        }
        if bytes >= self.bytes_max {
            // Those who were left out come first soon.
            self.copies.rotate_left(batches.len());
        }
        if batches.is_empty() {
            return false;
        }
        self.flush(batches).await;
        true
    }

    /// Reads what the logs have beyond what waits already, while there is room. How many records wait then.
    async fn gather(&mut self) -> usize {
        let (mut waiting, mut bytes) = (0, 0);
        for copy in &mut self.copies {
            if bytes < self.bytes_max {
                copy.gather(&self.parts, self.pace.records_max()).await;
            }
            let (records, of_copy) = copy.waiting();
            waiting += records;
            bytes += of_copy;
        }
        waiting
    }
}

/// Whether a copy may go on: one that waits tries again, one that runs is compared with the log.
async fn look(copy: &mut Copy, parts: &Parts, primary: &Shard, letters: &Waiting) {
    if copy.may_go_on() {
        copy.resync(parts, primary).await;
        // Whatever the last owner left.
        letters.add(copy.partition);
    } else if let Some(live) = copy.live() {
        let checked = checks::against_log(&parts.log, live.state.watermark()).await;
        match checked {
            Ok(bounds) => return copy.look_behind(bounds.end, parts.clock.now()),
            Err(stop) => copy.stop(stop),
        }
    }
    if let Ok(bounds) = parts.log.bounds(copy.partition).await {
        copy.look_behind(bounds.end, parts.clock.now());
    }
}

/// Whether there is a value that was not looked at.
fn is_new<T>(watched: &mut watch::Receiver<T>) -> bool {
    let new = watched.has_changed().unwrap_or(false);
    if new {
        watched.mark_unchanged();
    }
    new
}

/// Waits for a new value, without looking at it; for ever when none can come.
async fn renewed<T>(watched: &watch::Receiver<T>) {
    if watched.clone().changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
