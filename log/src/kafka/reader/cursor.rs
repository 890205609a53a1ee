//! One partition's place: what was fetched ahead, which holes are in it, and what a read may have of it.
//!
//! Pure state, no I/O. Invariant: `next <= confirmed <= tail`; below `confirmed` every offset from `next` on is a
//! record here or a confirmed hole.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, mem, ops::Range, time::Duration};

use millpond_schemas::{Offset, Received};
use tokio::sync::oneshot;

use super::News;
use crate::{Error, Read};

/// What a record costs besides its bytes.
const RECORD_BYTES: usize = 128;
/// Holes that lie within so many offsets are confirmed by one look.
const GROUP_OFFSETS: i64 = 5000;
/// After so many looks that contradict the reader in a row, the log has a gap.
const DOUBTS_MAX: u32 = 3;

/// What the thread has to do for a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody reads: nothing is assigned.
    #[default]
    Idle,
    /// To be assigned at the cursor's tail.
    Wanted,
    /// Assigned; nothing has come yet.
    Seeking,
    /// Assigned, and something has come.
    Flowing,
    /// So much lies here that no more is fetched; on at the tail when it is read.
    Parked,
}

/// What a read finds.
pub(super) enum Served {
    Read(Read),
    /// Something will come.
    Later(News),
    Failed(Error),
    /// The consumer cannot read there.
    Lost,
}

/// Whether the standing reader looks at the first holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Look {
    #[default]
    No,
    Looking,
    /// It could not: again, after a while.
    Failed,
}

/// A partition's place in the log.
#[derive(Default)]
pub(super) struct Cursor {
    pub(super) place: Place,
    next: i64,
    confirmed: i64,
    tail: i64,
    records: VecDeque<Received>,
    bytes: usize,
    holes: VecDeque<Range<i64>>,
    look: Look,
    /// What lay here when it was parked.
    parked_bytes: usize,
    doubts: u32,
    /// Since the place was taken, its end has been seen.
    caught_up: bool,
    /// What the next read must be told.
    failed: Option<Error>,
    lost: bool,
    waiting: Vec<oneshot::Sender<()>>,
    stalled: Option<Duration>,
    /// Rises with every new place: what was asked for an older one no longer counts.
    pub(super) era: u64,
    /// Since when nothing has come, on the log's clock.
    quiet_since: Option<Duration>,
}

impl Cursor {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn tail(&self) -> Offset {
        Offset(self.tail)
    }

    /// Whether a read waits here and nothing lies here for it.
    pub(super) fn is_starving(&self) -> bool {
        self.records.is_empty() && self.waiting.iter().any(|waiting| !waiting.is_closed())
    }

    /// Whether the consumer is assigned to it.
    pub(super) fn is_assigned(&self) -> bool {
        matches!(self.place, Place::Seeking | Place::Flowing)
    }

    pub(super) fn stalled_for(&self) -> Option<Duration> {
        self.stalled
    }

    /// What there is at `from`, up to about `bytes_max`.
    pub(super) fn serve(&mut self, from: Offset, bytes_max: usize, known_end: Offset) -> Served {
        if let Some(error) = self.failed.take() {
            return Served::Failed(error);
        }
        if self.place == Place::Idle || self.next != from.0 {
            self.seek(from);
        } else if mem::take(&mut self.lost) {
            self.drop_all();
            return Served::Lost;
        }
        let records = self.take(bytes_max);
        let next = match records.last() {
            Some(last) if self.has_ready() => last.offset.0 + 1,
            _ => self.confirmed,
        };
        if self.place == Place::Parked && self.bytes <= self.parked_bytes / 2 {
            self.place = Place::Wanted;
        }
        if next > self.next {
            self.next = next;
            return Served::Read(Read { records, next: Offset(next) });
        }
        if self.caught_up && self.holes.is_empty() && self.tail == self.next && self.next >= known_end.0 {
            return Served::Read(Read { records: Vec::new(), next: from });
        }
        let (tell, news) = oneshot::channel();
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.waiting.push(tell);
        Served::Later(news)
    }

    fn has_ready(&self) -> bool {
        self.records.front().is_some_and(|record| record.offset.0 < self.confirmed)
    }

    fn take(&mut self, bytes_max: usize) -> Vec<Received> {
        let mut given = Vec::new();
        let mut bytes = 0;
        while let Some(record) = self.records.front().filter(|record| record.offset.0 < self.confirmed) {
            bytes += record.raw.len();
            if bytes > bytes_max && !given.is_empty() {
                break;
            }
            self.bytes -= cost(record);
            given.extend(self.records.pop_front());
        }
        given
    }

    fn seek(&mut self, from: Offset) {
        self.drop_all();
        self.place = Place::Wanted;
        (self.next, self.confirmed, self.tail) = (from.0, from.0, from.0);
    }

    /// Drops what was fetched ahead.
    pub(super) fn drop_all(&mut self) {
        self.place = Place::Idle;
        self.records = VecDeque::new();
        self.holes.clear();
        (self.look, self.caught_up, self.lost) = (Look::No, false, false);
        (self.stalled, self.quiet_since) = (None, None);
        self.era += 1;
        self.bytes = 0;
    }

    /// The log is in doubt: the next read is told so, once.
    pub(super) fn doubt(&mut self, error: &Error) {
        if self.era > 0 {
            self.failed = Some(error.clone());
        }
        self.drop_all();
        self.tell();
    }

    /// The consumer cannot read at the tail.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.tell();
    }

    /// The end was at `at`, where the cursor stands.
    pub(super) fn caught_up(&mut self, at: Offset) {
        self.caught_up |= self.is_assigned() && self.next == at.0 && self.tail == at.0;
    }

    /// The consumer has seen the end.
    pub(super) fn ended(&mut self) {
        self.caught_up = true;
        self.place = Place::Flowing;
        self.tell();
    }

    /// Takes a record. Whether it is news.
    pub(super) fn push(&mut self, record: Received) -> bool {
        let offset = record.offset.0;
        if offset < self.tail || !self.is_assigned() {
            return false;
        }
        self.place = Place::Flowing;
        (self.stalled, self.quiet_since) = (None, None);
        self.reach(offset);
        self.bytes += cost(&record);
        self.records.push_back(record);
        self.tail = offset + 1;
        self.confirm_to_first_hole();
        true
    }

    /// The consumer stands at `position`: what lies below it and did not come is a hole, once confirmed.
    pub(super) fn reach(&mut self, position: i64) {
        if position > self.tail {
            self.holes.push_back(self.tail..position);
            self.tail = position;
        }
    }

    fn confirm_to_first_hole(&mut self) {
        self.confirmed = self.holes.front().map_or(self.tail, |hole| hole.start);
    }

    /// The next holes to look at together, when nobody looks yet.
    pub(super) fn holes_to_look_at(&mut self) -> Option<Vec<Range<i64>>> {
        let first = self.holes.front().filter(|_| self.look == Look::No)?;
        let mut end = first.end;
        let mut group = Vec::new();
        for hole in &self.holes {
            if hole.start > end + GROUP_OFFSETS {
                break;
            }
            end = hole.end;
            group.push(hole.clone());
        }
        self.look = Look::Looking;
        Some(group)
    }

    /// Nothing lies in these holes. How many offsets were passed over.
    pub(super) fn confirm(&mut self, holes: usize) -> u64 {
        let passed = self.holes.drain(..holes).map(|hole| hole.end.abs_diff(hole.start)).sum();
        self.look = Look::No;
        self.doubts = 0;
        self.confirm_to_first_hole();
        self.tell();
        passed
    }

    /// Nobody could look at the first holes.
    pub(super) fn unconfirmed(&mut self) {
        self.look = Look::Failed;
    }

    /// Holes that nobody could look at may be looked at again. Whether there are any.
    pub(super) fn look_again(&mut self) -> bool {
        if self.look == Look::Failed {
            self.look = Look::No;
        }
        self.look == Look::No && !self.holes.is_empty()
    }

    /// A record lies in a hole: this reader has missed it. Its place is sought anew; in the end there is a gap.
    pub(super) fn refute(&mut self) {
        let Some(hole) = self.holes.front().cloned() else { return };
        self.doubts += 1;
        self.drop_all();
        self.failed = Some(if self.doubts >= DOUBTS_MAX {
            Error::Gap { wanted: Offset(hole.start), found: Offset(hole.end) }
        } else {
            Error::Unavailable { reason: "a hole in it could not be confirmed", source: None }
        });
        self.tell();
    }

    /// Keeps about `bytes_max` and drops the rest, to be fetched again.
    pub(super) fn park(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.records.len() > 1 {
            let Some(last) = self.records.pop_back() else { break };
            self.bytes -= cost(&last);
        }
        self.tail = self.records.back().map_or(self.next, |last| last.offset.0 + 1);
        while self.holes.back().is_some_and(|hole| hole.end > self.tail) {
            self.holes.pop_back();
        }
        self.era += 1;
        self.look = Look::No;
        self.caught_up = false;
        self.place = Place::Parked;
        self.parked_bytes = self.bytes;
        self.confirm_to_first_hole();
    }

    /// Whether an open transaction holds it up, and for how long it has.
    pub(super) fn stall(&mut self, stalled: Option<Duration>) {
        self.stalled = stalled;
    }

    /// For how long nothing has come, if it is assigned.
    pub(super) fn quiet_for(&mut self, now: Duration) -> Option<Duration> {
        let since = *self.quiet_since.get_or_insert(now);
        self.is_assigned().then(|| now.saturating_sub(since))
    }

    /// Tells whoever waits to look again.
    pub(super) fn tell(&mut self) {
        for waiting in self.waiting.drain(..) {
            let _gone = waiting.send(());
        }
    }
}

fn cost(record: &Received) -> usize {
    record.raw.len() + RECORD_BYTES
}
