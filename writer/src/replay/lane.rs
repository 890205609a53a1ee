//! One partition's replay: while a flush is being committed the next one is read and, where it needs no row, folded.
//!
//! Invariant: a flush is sent only after the one before it was committed. Memory runs one flush ahead of the shard, and
//! is thrown away with the first error: a replay always begins at the watermark.

use std::collections::VecDeque;

use millpond_fold::{Entry, Given, Needs, State, cut, fold, needs};
use millpond_schemas::{Flush, Offset, PartitionId, Position, limits::VALUE_BYTES_MAX};
use millpond_shard::{Applied, Error, Shard};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::source::{Chunk, End};
use crate::{Halt, fitting::fitting, given, stop::Stop};

/// Flushes from one housekeeping to the next.
const TIDY_EVERY: u32 = 16;
/// Rows of each memory that one deletes at most: more than so many flushes bring.
const TIDY_ROWS_MAX: u32 = 100_000;

/// How large flushes are, and what becomes of what is old. Changes nothing that anybody asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
    /// Whether outcomes, ids and operations that are too old to be asked for are deleted on the way.
    pub(crate) tidies: bool,
}

/// One partition under way.
pub(crate) struct Lane {
    pub(crate) shard: Shard,
    pub(crate) state: State,
    pub(crate) bounds: Bounds,
    /// A cancelled one ends after the transaction that is under way.
    pub(crate) stop: CancellationToken,
    waiting: VecDeque<Entry>,
    /// What waits and the holes behind it reach so far.
    to: Offset,
    end: Option<End>,
    sending: JoinSet<Result<Applied, Error>>,
    /// What is being sent: its records, and where it ends.
    sent: Option<(u64, Offset)>,
    flushes: u32,
}

impl Lane {
    pub(crate) fn new(shard: Shard, state: State, bounds: Bounds, stop: CancellationToken) -> Self {
        let to = state.watermark().applied;
        Self {
            shard,
            state,
            bounds,
            stop,
            waiting: VecDeque::new(),
            to,
            end: None,
            sending: JoinSet::new(),
            sent: None,
            flushes: 0,
        }
    }

    /// Applies what comes until nothing does any more. `told` hears of every commit: its records, and the watermark.
    ///
    /// Ends early, and without an error, when it is stopped.
    pub(crate) async fn run(
        &mut self,
        mut chunks: mpsc::Receiver<Chunk>,
        mut told: impl FnMut(u64, Offset),
    ) -> Result<(), Stop> {
        while !self.stop.is_cancelled() {
            self.fill(&mut chunks).await;
            if self.waiting.is_empty() && self.to == self.state.watermark().applied {
                if self.end.is_some() {
                    break;
                }
                continue;
            }
            self.step(&mut told).await?;
        }
        self.settle(&mut told).await?;
        match self.end.take() {
            Some(End::Stop(stop)) if self.waiting.is_empty() => Err(stop),
            _ => Ok(()),
        }
    }

    /// Takes what was read ahead; waits for it only when nothing else is there to do.
    async fn fill(&mut self, chunks: &mut mpsc::Receiver<Chunk>) {
        while self.end.is_none() && self.waiting.len() < self.bounds.records_max {
            let idle = self.waiting.is_empty() && self.to == self.state.watermark().applied;
            let chunk = if idle {
                tokio::select! {
                    chunk = chunks.recv() => chunk,
                    () = self.stop.cancelled() => return,
                }
            } else {
                match chunks.try_recv() {
                    Ok(chunk) => Some(chunk),
                    Err(mpsc::error::TryRecvError::Empty) => return,
                    Err(mpsc::error::TryRecvError::Disconnected) => None,
                }
            };
            let Some(chunk) = chunk else {
                self.end = Some(End::Stop(Stop::Wait("the log is read no more".to_owned())));
                return;
            };
            self.waiting.extend(chunk.entries);
            self.to = chunk.to;
            self.end = chunk.end;
        }
    }

    async fn step(&mut self, told: &mut impl FnMut(u64, Offset)) -> Result<(), Stop> {
        let mut entries = self.take();
        let partition = self.state.watermark().partition;
        let needed = needs(&self.state, &entries);
        let value_bytes_max =
            self.state.claim().map_or(VALUE_BYTES_MAX as u64, |claim| claim.value_bytes_max);
        let given = if needed == Needs::default() {
            Given::default()
        } else {
            // It may have been written by the flush that is being sent.
            self.settle(told).await?;
            let read = given::read(&self.shard, &[(partition, needed)], value_bytes_max).await?;
            read.into_iter().next().unwrap_or_default()
        };
        let fitting = fitting(&entries, &given, usize::try_from(value_bytes_max).unwrap_or(usize::MAX));
        self.put_back(entries.split_off(fitting.records));
        let mut flush = match fold(&self.state, &entries, &given) {
            Ok(flush) => flush,
            Err(halt) => {
                self.settle(told).await?;
                return Err(Halt::of_fold(self.position(entries.first()), halt).into());
            }
        };
        let applied = flush.next.applied;
        let records = entries.iter().filter(|entry| entry.offset <= applied).count();
        self.put_back(entries.split_off(records));
        if self.waiting.is_empty() {
            flush.pass_over(self.to);
        }
        self.settle(told).await?;
        self.send(flush, records as u64, partition).await
    }

    /// Sends a flush, without waiting for its commit.
    async fn send(&mut self, flush: Flush, records: u64, partition: PartitionId) -> Result<(), Stop> {
        self.flushes += 1;
        if self.bounds.tidies && self.flushes.is_multiple_of(TIDY_EVERY) {
            self.shard.prune(partition, TIDY_ROWS_MAX).await?;
        }
        self.state.advance(&flush);
        self.sent = Some((records, flush.next.applied));
        let shard = self.shard.clone();
        self.sending.spawn(async move { shard.apply(vec![flush]).await });
        Ok(())
    }

    /// Waits until what was sent is committed.
    async fn settle(&mut self, told: &mut impl FnMut(u64, Offset)) -> Result<(), Stop> {
        let Some(applied) = self.sending.join_next().await else { return Ok(()) };
        let applied = applied.expect("an apply never panics")?;
        if !applied.fenced.is_empty() {
            return Err(Stop::Deposed("another writer has moved the watermark"));
        }
        if let Some((records, offset)) = self.sent.take() {
            told(records, offset);
        }
        Ok(())
    }

    /// The next entries that may be folded together; none where only holes wait.
    fn take(&mut self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.waiting.len().min(self.bounds.records_max));
        let mut bytes = 0;
        while entries.len() < self.bounds.records_max
            && let Some(entry) = self.waiting.pop_front()
        {
            bytes += entry.raw.len();
            if bytes > self.bounds.bytes_max && !entries.is_empty() {
                self.waiting.push_front(entry);
                break;
            }
            entries.push(entry);
        }
        self.put_back(entries.split_off(cut(&entries)));
        entries
    }

    fn put_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.waiting.push_front(entry);
        }
    }

    fn position(&self, first: Option<&Entry>) -> Position {
        let watermark = self.state.watermark();
        Position {
            generation: watermark.generation,
            partition: watermark.partition,
            offset: first.map_or_else(|| watermark.applied.next(), |entry| entry.offset),
        }
    }
}
