//! One shard's writer: gathers what its partitions' logs have, folds, and applies it in one transaction.
//!
//! Invariant: memory advances, and outcomes are published, only after the commit is confirmed.

use std::{sync::Arc, time::Duration};

use millpond_fold::{Entry, Given, Needs, fold, needs};
use millpond_schemas::{Flush, PartitionId};
use millpond_shard::Error;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Halt, Parts,
    copy::Copy,
    fitting::fitting,
    given,
    stop::{Stop, in_words},
    tidy,
};

/// How often standing copies are checked against the log and waiting ones try again.
const TICK: Duration = Duration::from_secs(1);
/// How often what nobody asks for any more is deleted.
const TIDY_EVERY_TICKS: u64 = 60;
/// The fewest records that a slow shard gets per flush.
const RECORDS_MIN: usize = 64;
/// So many records do not wait for more.
const RECORDS_AT_ONCE: usize = 64;

/// One partition's entries on their way into a flush.
struct Batch {
    partition: PartitionId,
    entries: Vec<Entry>,
}

pub(crate) struct Worker {
    parts: Arc<Parts>,
    shard: usize,
    copies: Vec<Copy>,
    /// Most records of one partition in the next flush: adapts to the shard's speed.
    records_max: usize,
    /// Before this, a few records wait for more.
    next_flush: Instant,
    ticks: u64,
}

impl Worker {
    pub(crate) fn new(parts: Arc<Parts>, shard: usize, copies: Vec<Copy>) -> Self {
        let records_max = parts.config.flush_records_max;
        Self { parts, shard, copies, records_max, next_flush: Instant::now(), ticks: 0 }
    }

    /// Runs until the token is cancelled; a transaction under way is finished first.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.parts.log.changes();
        let mut next_tick = Instant::now();
        while !shutdown.is_cancelled() {
            if next_tick <= Instant::now() {
                self.tick().await;
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
                () = sleep_until(next_tick) => {}
            }
        }
    }

    fn report(&self) {
        for copy in &self.copies {
            self.parts.statuses.set(copy.partition, copy.status());
        }
    }

    /// Once a second: waiting copies try again, running ones are compared with the log.
    async fn tick(&mut self) {
        self.ticks += 1;
        let parts = Arc::clone(&self.parts);
        for copy in &mut self.copies {
            if copy.may_go_on() {
                copy.resync(&parts).await;
            } else if let Some(live) = copy.live() {
                let checked = crate::checks::against_log(&parts.log, live.state.watermark()).await;
                if let Err(stop) = checked {
                    copy.stop(stop);
                }
            }
            if copy.is_running() && (copy.untidy || self.ticks.is_multiple_of(TIDY_EVERY_TICKS)) {
                copy.untidy = tidy::tidy(&parts.shards[self.shard], copy.partition).await;
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
        let mut batches = Vec::new();
        for copy in &mut self.copies {
            match copy.take(&parts, self.records_max) {
                Ok(entries) if entries.is_empty() => {}
                Ok(entries) => batches.push(Batch { partition: copy.partition, entries }),
                Err(stop) => copy.stop(stop),
            }
        }
        if batches.is_empty() {
            return false;
        }
        self.flush(batches).await;
        true
    }

    /// One transaction of all batches; where that fails for what one of them holds, each goes alone.
    async fn flush(&mut self, batches: Vec<Batch>) {
        let Err((batches, error)) = self.try_flush(batches).await else { return };
        if matches!(error, Error::Unavailable { .. }) || batches.len() == 1 {
            return self.failed(batches, &error);
        }
        for batch in batches {
            if let Err((batch, error)) = self.try_flush(vec![batch]).await {
                self.failed(batch, &error);
            }
        }
    }

    /// Reads, folds and applies. Gives the batches back with an error.
    async fn try_flush(&mut self, mut batches: Vec<Batch>) -> Result<(), (Vec<Batch>, Error)> {
        let givens = match self.read(&batches).await {
            Ok(givens) => givens,
            Err(error) => return Err((batches, error)),
        };
        let flushes = self.fold(&mut batches, givens);
        match self.apply(flushes).await {
            Ok(()) => {}
            Err(error) => return Err((batches, error)),
        }
        for batch in batches {
            self.copy(batch.partition).put_back(batch.entries);
        }
        Ok(())
    }

    /// Reads what the logs have beyond what waits already. How many records wait then.
    async fn gather(&mut self) -> usize {
        let mut waiting = 0;
        for copy in &mut self.copies {
            copy.gather(&self.parts, self.records_max).await;
            waiting += copy.waiting();
        }
        waiting
    }

    async fn read(&mut self, batches: &[Batch]) -> Result<Vec<Given>, Error> {
        let needed: Vec<(PartitionId, Needs)> = batches.iter().map(|batch| self.needs(batch)).collect();
        given::read(&self.parts.shards[self.shard], &needed, self.parts.config.claim.value_bytes_max).await
    }

    fn needs(&mut self, batch: &Batch) -> (PartitionId, Needs) {
        let live = self.copy(batch.partition).live();
        (batch.partition, live.map(|live| needs(&live.state, &batch.entries)).unwrap_or_default())
    }

    fn copy(&mut self, partition: PartitionId) -> &mut Copy {
        self.copies
            .iter_mut()
            .find(|copy| copy.partition == partition)
            .expect("a batch is of one of the copies")
    }

    fn fold(&mut self, batches: &mut [Batch], givens: Vec<Given>) -> Vec<Flush> {
        let value_bytes_max = usize::try_from(self.parts.config.claim.value_bytes_max).unwrap_or(usize::MAX);
        let mut flushes = Vec::with_capacity(batches.len());
        for (batch, given) in batches.iter_mut().zip(givens) {
            let copy = self.copy(batch.partition);
            let fitting = fitting(&batch.entries, &given, value_bytes_max);
            copy.put_back(batch.entries.split_off(fitting.records));
            let Some(live) = copy.live() else { continue };
            let folded = apart(fitting.heavy, || fold(&live.state, &batch.entries, &given));
            match folded {
                Ok(mut flush) => {
                    flush.next.owner = live.claim;
                    flushes.push(flush);
                }
                Err(halt) => copy.stop(Halt::from(halt).into()),
            }
        }
        flushes
    }

    async fn apply(&mut self, flushes: Vec<Flush>) -> Result<(), Error> {
        if flushes.is_empty() {
            return Ok(());
        }
        let shard = self.parts.shards[self.shard].clone();
        let began = Instant::now();
        let applied = shard.apply(flushes.clone()).await?;
        let took = began.elapsed();
        self.adapt(took);
        self.parts.statuses.count(|totals| {
            totals.flushes += 1;
            totals.flush_time += took;
        });
        for flush in flushes {
            let partition = flush.next.partition;
            if applied.fenced.contains(&partition) {
                self.parts.statuses.count(|totals| totals.fenced += 1);
                self.copy(partition).stop(Stop::Deposed("another writer has moved the watermark"));
            } else {
                self.committed(&flush);
                self.publish(flush);
            }
        }
        Ok(())
    }

    fn committed(&mut self, flush: &Flush) {
        let partition = flush.next.partition;
        self.parts.statuses.count(|totals| {
            totals.records += (flush.next.applied.0 - flush.previous.applied.0).unsigned_abs();
            totals.rows += flush.rows.len() as u64;
            totals.dead_letters += flush.dead_letters.len() as u64;
            totals.expired += flush.outcomes.expired.len() as u64;
            totals.purged += flush.purged.len() as u64;
        });
        for letter in &flush.dead_letters {
            let (offset, reason) = (letter.offset.0, letter.refusal.reason.code());
            tracing::warn!(partition = partition.0, offset, reason, "dead letter: {}", letter.refusal.detail);
        }
        let records_max = self.parts.config.flush_records_max;
        let copy = self.copy(partition);
        copy.records_max = records_max;
        copy.live().expect("it folded this flush").state.advance(flush);
    }

    fn publish(&self, flush: Flush) {
        for piece in flush.outcomes.split() {
            self.parts.outcomes.publish(Arc::new(piece));
        }
    }

    /// Nothing is known to be written. A refused value is searched by halves; the rest starts from the watermark.
    fn failed(&mut self, batches: Vec<Batch>, error: &Error) {
        for batch in batches {
            let copy = self.copy(batch.partition);
            match error {
                Error::Refused { .. } => bisect(copy, batch, &in_words(error)),
                Error::RowAhead { .. }
                | Error::Fenced { .. }
                | Error::Unavailable { .. }
                | Error::Corrupt { .. }
                | Error::Schema { .. } => copy.stop(Stop::from(error)),
            }
        }
    }

    /// Keeps transactions about as long as wanted.
    fn adapt(&mut self, took: Duration) {
        let most = self.parts.config.flush_records_max;
        self.records_max = if took > self.parts.config.flush_time_max {
            (self.records_max / 2).max(RECORDS_MIN.min(most))
        } else {
            (self.records_max + self.records_max / 8 + 1).min(most)
        };
    }
}

/// Lets other tasks have this thread meanwhile, where the work takes long and the runtime has another one.
fn apart<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let threads = Handle::current().runtime_flavor();
    if long && threads == RuntimeFlavor::MultiThread { tokio::task::block_in_place(work) } else { work() }
}

/// Half as many records next time; one that is refused alone halts.
fn bisect(copy: &mut Copy, batch: Batch, words: &str) {
    if batch.entries.len() > 1 {
        copy.records_max = batch.entries.len() / 2;
        copy.put_back(batch.entries);
    } else if let Some(entry) = batch.entries.first() {
        copy.stop(Halt::RecordRefused { offset: entry.offset, detail: words.to_owned() }.into());
    }
}
