//! What an api knows of one partition: how far it is applied, who waits for what, and what was written lately.
//!
//! Pure: no lock, no clock, no I/O. Invariant: a waiter for an outcome is resolved only inside a range that was
//! received or read; a waiter for a watermark only at or above its offset.

use std::{collections::BTreeMap, sync::Arc};

use millpond_schemas::{Offset, Outcome, OutcomeRange, UnixMillis, limits::VALUE_BYTES_MAX};
use tokio::sync::oneshot;

use crate::{
    kept::Kept,
    recent::{Reached, RecentWrites},
};

/// A waiter's place: its offset, and which one at that offset.
pub(crate) type Place = (Offset, u64);

/// What became of an offset, as its waiter is told: small, for there may be many of them, nearly all plainly applied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told(Option<Box<Outcome>>);

impl From<Outcome> for Told {
    fn from(outcome: Outcome) -> Self {
        Self((!outcome.is_plain()).then(|| Box::new(outcome)))
    }
}

impl From<Told> for Outcome {
    fn from(told: Told) -> Self {
        told.0.map_or(Self::Applied(None), |outcome| *outcome)
    }
}

/// Who is to be woken, once no lock is held.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    outcomes: Vec<(oneshot::Sender<Told>, Told)>,
    applied: Vec<oneshot::Sender<()>>,
    /// Waiters at or below the watermark whose outcome was in no range: it has to be read from the shard.
    pub(crate) stranded: bool,
}

impl Woken {
    /// Wakes them. One that has gone away is passed over.
    pub(crate) fn wake(self) {
        for (waiter, outcome) in self.outcomes {
            let _gone = waiter.send(outcome);
        }
        for waiter in self.applied {
            let _gone = waiter.send(());
        }
    }
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Highest offset known to be committed on the primary.
    committed: Offset,
    /// Whether that was heard or read at all since this api started.
    is_known: bool,
    /// Time of the record at `committed`.
    committed_time: UnixMillis,
    /// Highest offset that every replica is known to have; [`Offset::MAX`] where there are none.
    everywhere: Offset,
    /// The next offset that may be issued, as far as this api knows. Invariant: above `committed`.
    end: Offset,
    /// When the first record that is not applied was appended; none: all are applied.
    behind_since: Option<UnixMillis>,
    /// Longest value by the Claim in force.
    value_bytes_max: usize,
    kept: Kept,
    kept_bytes_max: usize,
    recent: RecentWrites,
    outcomes: BTreeMap<Place, oneshot::Sender<Told>>,
    applied: BTreeMap<Place, oneshot::Sender<()>>,
    next: u64,
    has_let_go: bool,
}

impl Partition {
    pub(crate) fn new(kept_bytes_max: usize) -> Self {
        Self {
            committed: Offset::NONE,
            is_known: false,
            committed_time: UnixMillis::EPOCH,
            everywhere: Offset::MAX,
            end: Offset(0),
            behind_since: None,
            value_bytes_max: VALUE_BYTES_MAX,
            kept: Kept::default(),
            kept_bytes_max,
            recent: RecentWrites::new(),
            outcomes: BTreeMap::new(),
            applied: BTreeMap::new(),
            next: 0,
            has_let_go: false,
        }
    }

    /// The log has a write of this key.
    pub(crate) fn acked(&mut self, key_hash: u64, offset: Offset, time: UnixMillis) {
        self.end = self.end.max(offset.next());
        if offset > self.committed.min(self.everywhere) {
            self.recent.wrote(key_hash, offset, time);
        }
        if offset > self.committed {
            self.behind_since.get_or_insert(time);
        }
    }

    /// Every replica has come so far.
    pub(crate) fn replicated(&mut self, everywhere: Offset) {
        self.everywhere = everywhere;
        self.forget_writes();
    }

    fn forget_writes(&mut self) {
        let committed = self.committed;
        let everywhere = self.everywhere.min(committed);
        self.recent.reached(Reached { everywhere, committed, time: self.committed_time });
    }

    /// A range was received: its transaction is committed.
    pub(crate) fn heard(&mut self, range: &Arc<OutcomeRange>) -> Woken {
        let mut woken = self.settle(range.from, range.to, |offset| range.of(offset));
        self.kept.keep(Arc::clone(range), self.kept_bytes_max);
        self.commit(range.to, range.time, &mut woken);
        woken
    }

    /// A shard's watermark was read.
    pub(crate) fn read_watermark(&mut self, applied: Offset, time: UnixMillis) -> Woken {
        let mut woken = Woken::default();
        self.commit(applied, time, &mut woken);
        woken
    }

    /// Kept outcomes of `from..=to` were read, with the watermark that they were read at.
    pub(crate) fn read_outcomes(&mut self, from: Offset, to: Offset, ranges: &[OutcomeRange]) -> Woken {
        self.settle(from, to, |offset| {
            Some(ranges.iter().find_map(|range| range.of(offset)).unwrap_or(Outcome::Applied(None)))
        })
    }

    fn settle(&mut self, from: Offset, to: Offset, of: impl Fn(Offset) -> Option<Outcome>) -> Woken {
        let mut woken = Woken::default();
        if from <= to {
            let inside = self.outcomes.extract_if((from, 0)..=(to, u64::MAX), |_, _| true);
            woken.outcomes = inside
                .filter_map(|((offset, _), waiter)| of(offset).map(|outcome| (waiter, outcome.into())))
                .collect();
        }
        woken
    }

    fn commit(&mut self, to: Offset, time: UnixMillis, woken: &mut Woken) {
        self.is_known = true;
        if to > self.committed {
            self.committed = to;
            self.committed_time = time;
            self.end = self.end.max(to.next());
            self.forget_writes();
            self.behind_since =
                self.behind_since.filter(|_| to.next() < self.end).map(|since| since.max(time));
            let reached = self.applied.extract_if(..=(to, u64::MAX), |_, _| true);
            woken.applied.extend(reached.map(|(_, waiter)| waiter));
        }
        woken.stranded = self.stranded().is_some();
    }

    /// First and last offset of the waiters whose outcome exists and was not received.
    pub(crate) fn stranded(&self) -> Option<(Offset, Offset)> {
        let mut below = self.outcomes.range(..=(self.committed, u64::MAX)).map(|((offset, _), _)| *offset);
        let first = below.next()?;
        Some((first, below.next_back().unwrap_or(first)))
    }

    /// What became of an offset, if that was heard lately.
    pub(crate) fn outcome(&self, offset: Offset) -> Option<Outcome> {
        self.kept.outcome(offset)
    }

    /// Waits for what becomes of an offset.
    pub(crate) fn wait_outcome(&mut self, offset: Offset) -> (Place, oneshot::Receiver<Told>) {
        let (sender, receiver) = oneshot::channel();
        let place = self.place(offset);
        self.outcomes.insert(place, sender);
        (place, receiver)
    }

    /// Waits until an offset is applied.
    pub(crate) fn wait_applied(&mut self, offset: Offset) -> (Place, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let place = self.place(offset);
        self.applied.insert(place, sender);
        (place, receiver)
    }

    fn place(&mut self, offset: Offset) -> Place {
        self.next += 1;
        (offset, self.next)
    }

    /// Those that wait for an outcome, to be dropped outside the lock: nobody waits for one from now on.
    pub(crate) fn let_go(&mut self) -> impl Sized + use<> {
        self.has_let_go = true;
        std::mem::take(&mut self.outcomes)
    }

    /// Whether nobody is to wait for an outcome any more.
    pub(crate) fn has_let_go(&self) -> bool {
        self.has_let_go
    }

    /// Gives up waiting.
    pub(crate) fn leave(&mut self, place: Place) {
        self.outcomes.remove(&place);
        self.applied.remove(&place);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.outcomes.len() + self.applied.len()
    }

    /// Highest offset known to be committed.
    pub(crate) fn committed(&self) -> Offset {
        self.committed
    }

    /// As [`Partition::committed`]; none: nothing was heard or read yet, which says nothing about what is applied.
    pub(crate) fn known(&self) -> Option<Offset> {
        self.is_known.then_some(self.committed)
    }

    /// Time of the record at `committed`.
    pub(crate) fn committed_time(&self) -> UnixMillis {
        self.committed_time
    }

    /// The next offset that may be issued, as far as is known here.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// The log was asked for its end.
    pub(crate) fn end_is(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// The offset that shows this key's latest write through this api.
    pub(crate) fn wanted(&self, key_hash: u64) -> Offset {
        self.recent.wanted(key_hash)
    }

    /// The offset that shows every write through this api that some node may lack.
    pub(crate) fn wanted_of_any(&self) -> Offset {
        self.recent.wanted_of_any()
    }

    /// By how much, in ms, a state is behind the known end of the log; 0 when it has reached it.
    pub(crate) fn staleness_ms(&self, applied: Offset, applied_time: UnixMillis, now: UnixMillis) -> u64 {
        if applied.next() >= self.end {
            return 0;
        }
        let since = match self.behind_since {
            Some(since) if applied >= self.committed => since.max(applied_time),
            Some(_) | None => applied_time,
        };
        now.ms_since(since).max(1)
    }

    /// Longest value by the Claim in force.
    pub(crate) fn value_bytes_max(&self) -> usize {
        self.value_bytes_max
    }

    /// A Claim is in force.
    pub(crate) fn claimed(&mut self, value_bytes_max: usize) {
        self.value_bytes_max = value_bytes_max;
    }
}

#[cfg(test)]
mod tests;
