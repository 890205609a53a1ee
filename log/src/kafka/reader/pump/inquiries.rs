//! What the reader's thread asks others: is this a hole, and is there more to come?
//!
//! Invariant: an answer counts only for the era of the cursor that it was asked for.

use std::{
    mem,
    sync::{Arc, Mutex, atomic::Ordering},
    thread,
    time::Duration,
};

use millpond_schemas::{Offset, Received};
use rdkafka::error::KafkaError;

use super::{Pump, TICK, WATCHDOG, partition_of};
use crate::{
    Error,
    kafka::{
        ends::{Edge, Seen},
        reader::{State, cursor::Cursor},
        standing::Scan,
    },
};

/// What was found out elsewhere about a cursor of some era.
pub(super) struct Report {
    slot: usize,
    era: u64,
    found: Found,
}

enum Found {
    /// So many of the first holes are holes.
    Holes(usize),
    /// A record lies in one of them.
    Record,
    /// Nobody could look.
    Nothing,
    Ends(Result<Seen, Error>),
}

impl Pump {
    /// Has the standing reader look at holes.
    pub(super) fn look_at_holes(&mut self) {
        let mut state = self.shared.state();
        for slot in mem::take(&mut self.with_holes) {
            let Some(holes) = state.cursors[slot].holes_to_look_at() else { continue };
            let (Some(first), Some(last)) = (holes.first(), holes.last()) else { continue };
            let (from, to) = (Offset(first.start), Offset(last.end));
            let seen = Arc::<Mutex<bool>>::default();
            let (shown, inside) = (Arc::clone(&seen), holes.clone());
            let show = move |record: Received| {
                if inside.iter().any(|hole| hole.contains(&record.offset.0)) {
                    *shown.lock().expect("nothing panics while it holds a flag") = true;
                }
            };
            let tell = self.tell(slot, state.cursors[slot].era);
            let done = move |reached: Result<Offset, Error>| {
                let record = *seen.lock().expect("nothing panics while it holds a flag");
                tell(match reached {
                    _ if record => Found::Record,
                    Ok(reached) => Found::Holes(holes.iter().filter(|hole| hole.end <= reached.0).count()),
                    Err(_nobody_looked) => Found::Nothing,
                });
            };
            let partition = partition_of(slot);
            self.standing.scan(Scan { partition, from, to, show: Box::new(show), done: Box::new(done) });
        }
    }

    /// Brings a report to this thread.
    fn tell(&self, slot: usize, era: u64) -> impl FnOnce(Found) + Send + use<> {
        let (reports, me) = (Arc::clone(&self.reports), thread::current());
        move |found| {
            reports.lock().expect("nothing panics while it holds the reports").push(Report {
                slot,
                era,
                found,
            });
            me.unpark();
        }
    }

    pub(super) fn take_reports(&mut self) {
        let reports =
            mem::take(&mut *self.reports.lock().expect("nothing panics while it holds the reports"));
        let mut stuck = false;
        for Report { slot, era, found } in reports {
            self.probes -= usize::from(matches!(found, Found::Ends(_)));
            let now = self.clock.elapsed();
            let mut state = self.shared.state();
            if state.cursors[slot].era != era {
                continue;
            }
            match found {
                Found::Holes(0) | Found::Nothing => state.cursors[slot].unconfirmed(),
                Found::Holes(holes) => {
                    let passed = state.change(slot, |cursor| cursor.confirm(holes));
                    self.shared.holes.fetch_add(passed, Ordering::Relaxed);
                    self.with_holes.insert(slot);
                    drop(state);
                    self.shared.changes.send_modify(|count| *count += 1);
                }
                Found::Record => state.change(slot, Cursor::refute),
                Found::Ends(Ok(seen)) => stuck |= judge(&mut state, slot, seen, now),
                Found::Ends(Err(_unknown)) => {}
            }
        }
        if stuck {
            self.restart("nothing came for 15 s", KafkaError::Canceled);
        }
    }

    /// Looks after partitions at rest.
    pub(super) fn tick(&mut self) {
        self.pass_markers();
        let now = self.clock.elapsed();
        let mut state = self.shared.state();
        for slot in 0..state.cursors.len() {
            if state.cursors[slot].look_again() {
                self.with_holes.insert(slot);
            }
            let quiet = state.cursors[slot].quiet_for(now).is_some_and(|quiet| quiet >= TICK);
            if quiet && self.probes < state.cursors.len() {
                self.probes += 1;
                let tell = self.tell(slot, state.cursors[slot].era);
                let answer = Box::new(move |seen| tell(Found::Ends(seen)));
                self.ends.ask(partition_of(slot), Edge::Stable, answer);
            }
        }
    }
}

/// Whether a partition at rest is stalled. True when it is not, and yet nothing comes.
fn judge(state: &mut State, slot: usize, seen: Seen, now: Duration) -> bool {
    let cursor = &mut state.cursors[slot];
    let Some(quiet) = cursor.quiet_for(now) else { return false };
    let more = seen.edge > cursor.tail();
    cursor.stall((!more && seen.end > cursor.tail()).then_some(quiet));
    more && quiet >= WATCHDOG
}
