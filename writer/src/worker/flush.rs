//! One flush: read what the fold needs, fold, apply in one transaction, publish.
//!
//! Invariant: memory advances, and outcomes are published, only after the commit is confirmed.

use std::sync::Arc;

use millpond_fold::{Given, Needs, fold, needs};
use millpond_schemas::{Flush, Mutant, PartitionId, Position};
use millpond_shard::Error;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    time::Instant,
};

use super::Worker;
use crate::{
    Halt,
    attempt::{Attempt, Stage},
    copy::{Batch, Copy},
    fitting::fitting,
    given,
    stop::{Stop, in_words},
};

impl Worker {
    /// One transaction of all batches; where that fails for what one of them holds, each goes alone. A shard that does not
    /// answer may have been held up by any of them: when it answers again each goes alone, until it is committed.
    pub(super) async fn flush(&mut self, batches: Vec<Batch>) {
        let (mut alone, together): (Vec<_>, Vec<_>) =
            batches.into_iter().partition(|batch| self.copy(batch.partition).apart);
        if let Err((batches, error)) = self.try_flush(together).await {
            if matches!(error, Error::Unavailable { .. }) || batches.len() == 1 {
                self.failed(batches, &error);
            } else {
                alone.splice(..0, batches);
            }
        }
        // Those first that do not keep the others waiting.
        alone.sort_by_key(|batch| self.copy(batch.partition).held_up);
        let mut alone = alone.into_iter();
        while let Some(batch) = alone.next() {
            let Err((batch, error)) = self.try_flush(vec![batch]).await else { continue };
            self.failed(batch, &error);
            if matches!(error, Error::Unavailable { .. }) {
                // Without it, the others go on at once.
                alone.by_ref().for_each(|batch| self.copy(batch.partition).put_back(batch.entries));
            }
        }
    }

    /// Reads, folds and applies. Gives the batches back with an error.
    async fn try_flush(&mut self, mut batches: Vec<Batch>) -> Result<(), (Vec<Batch>, Error)> {
        if batches.is_empty() {
            return Ok(());
        }
        let mut attempt = Attempt::begin(&self.parts, self.shard, &batches);
        let givens = match self.read(&batches).await {
            Ok(givens) => givens,
            Err(error) => return Err((batches, attempt.failed(error))),
        };
        attempt.passed(Stage::Read);
        let flushes = self.fold(&mut batches, givens);
        attempt.passed(Stage::Fold);
        match self.apply(flushes, &mut attempt).await {
            Ok(()) => attempt.committed(&self.parts.statuses, &batches),
            Err(error) => return Err((batches, attempt.failed(error))),
        }
        for batch in batches {
            self.copy(batch.partition).put_back(batch.entries);
        }
        Ok(())
    }

    async fn read(&mut self, batches: &[Batch]) -> Result<Vec<Given>, Error> {
        let needed: Vec<(PartitionId, Needs)> = batches.iter().map(|batch| self.needs(batch)).collect();
        given::read(&self.primary, &needed, self.parts.config.claim.value_bytes_max).await
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
        let generation = self.parts.config.claim.generation;
        let mut flushes = Vec::with_capacity(batches.len());
        for (batch, given) in batches.iter_mut().zip(givens) {
            let copy = self.copy(batch.partition);
            let fitting = fitting(&batch.entries, &given, value_bytes_max);
            copy.put_back(batch.split_off(fitting.records));
            let Some(live) = copy.live() else { continue };
            let folded = apart(fitting.heavy, || fold(&live.state, &batch.entries, &given));
            match folded {
                Ok(mut flush) => {
                    flush.next.owner = live.claim;
                    if batch.entries.last().is_none_or(|last| flush.next.applied == last.offset) {
                        flush.pass_over(batch.to);
                    }
                    flushes.push(flush);
                }
                Err(halt) => {
                    let offset = batch.entries.first().map_or(batch.to, |entry| entry.offset);
                    let position = Position { generation, partition: batch.partition, offset };
                    copy.stop(Halt::of_fold(position, halt).into());
                }
            }
        }
        flushes
    }

    async fn apply(&mut self, flushes: Vec<Flush>, attempt: &mut Attempt) -> Result<(), Error> {
        if flushes.is_empty() {
            return Ok(());
        }
        if Mutant::PublishBeforeCommit.is_picked() {
            flushes.iter().cloned().for_each(|flush| self.publish(flush));
        }
        let began = Instant::now();
        let applied = self.primary.apply(flushes.clone()).await?;
        let took = began.elapsed();
        attempt.applied(applied.commit);
        self.pace.took(took, &self.parts.config);
        self.parts.statuses.count(|totals| {
            totals.flushes += 1;
            totals.flush_time += took;
        });
        for flush in flushes {
            let partition = flush.next.partition;
            if applied.fenced.contains(&partition) {
                attempt.left_out(partition);
                self.parts.statuses.count(|totals| totals.fenced += 1);
                self.copy(partition).stop(Stop::Deposed("another writer has moved the watermark"));
            } else {
                attempt.took(&flush);
                self.committed(&flush);
                self.publish(flush);
            }
        }
        attempt.passed(Stage::Publish);
        Ok(())
    }

    fn committed(&mut self, flush: &Flush) {
        let partition = flush.next.partition;
        self.parts.statuses.count(|totals| {
            totals.records += (flush.next.applied.0 - flush.previous.applied.0).unsigned_abs();
            totals.rows += flush.rows.len() as u64;
            totals.expired += flush.outcomes.expired.len() as u64;
            totals.purged += flush.purged.len() as u64;
        });
        self.parts.statuses.count_exceptions(&flush.outcomes.exceptions);
        for letter in &flush.dead_letters {
            let (offset, reason) = (letter.offset.0, letter.refusal.reason.code());
            tracing::warn!(partition = partition.0, offset, reason, "dead letter: {}", letter.refusal.detail);
            self.parts.statuses.count_dead_letter(letter.refusal.reason);
        }
        if !flush.dead_letters.is_empty() {
            self.letters.add(partition);
        }
        let records_max = self.parts.config.flush_records_max;
        self.committed += 1;
        let copy = self.copy(partition);
        copy.finished(records_max);
        copy.live().expect("it folded this flush").state.advance(flush);
    }

    fn publish(&self, flush: Flush) {
        for piece in flush.outcomes.split() {
            self.parts.outcomes.publish(Arc::new(piece));
        }
    }

    /// Nothing is known to be written. A refused value is searched by halves; the rest starts from the watermark.
    fn failed(&mut self, batches: Vec<Batch>, error: &Error) {
        if matches!(error, Error::Unavailable { .. }) {
            self.pace.failed();
            let (own, committed) = (batches.len() == 1, self.committed);
            for batch in &batches {
                self.copy(batch.partition).unfinished(own, committed);
            }
        }
        let generation = self.parts.config.claim.generation;
        for batch in batches {
            let copy = self.copy(batch.partition);
            match error {
                Error::Refused { .. } => copy.bisect(batch, generation, &in_words(error)),
                Error::RowAhead { .. }
                | Error::Fenced { .. }
                | Error::Unavailable { .. }
                | Error::Corrupt { .. }
                | Error::Schema { .. } => {
                    copy.stop(Stop::from(error));
                    if Mutant::TransientDeadLetter.is_picked() {
                        copy.skip_first(&batch.entries);
                    }
                }
            }
        }
    }
}

/// Lets other tasks have this thread meanwhile, where the work takes long and the runtime has another one.
fn apart<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let threads = Handle::current().runtime_flavor();
    if long && threads == RuntimeFlavor::MultiThread { tokio::task::block_in_place(work) } else { work() }
}
