//! The two memories of ids, as plain lists and maps.
//!
//! Invariant: whether an id is remembered is judged from offset and time; nothing is ever forgotten here.

use millpond_schemas::{
    IdHash, Mutation, Offset, Operation, Outcome, Position, Rejected, Rejection, Seen, UnixMillis, limits,
};

use super::{Here, Model};

impl Model {
    /// What becomes of a mutation whose id is remembered.
    pub(super) fn remembered(&self, mutation: &Mutation, here: &Here) -> Option<Outcome> {
        let id = mutation.id?;
        let hash = id.hash(&mutation.key);
        if !id.durable {
            return self.in_window(hash, here).map(|of| Outcome::Duplicate { of, original: None });
        }
        let first = self.operations.get(&hash).filter(|first| within_memory(first.time, here.time))?;
        if first.fingerprint != mutation.fingerprint() {
            // Names no version, or a blind mutation would have to read its row.
            let rejection = Rejection::IdempotencyConflict;
            return Some(Outcome::Rejected(Rejected { rejection, current: None }));
        }
        Some(Outcome::Duplicate { of: first.position, original: Some(Box::new(first.outcome.clone())) })
    }

    /// The record that brought this id into the window, if it still reaches back that far.
    pub(super) fn in_window(&self, hash: IdHash, here: &Here) -> Option<Position> {
        let reaches = |offset: Offset| here.position.offset.0 - offset.0 <= limits::WINDOW_OFFSETS;
        // An id enters again only when its last time is out of reach, and then all before are.
        self.newest
            .get(&hash)
            .filter(|seen| reaches(seen.offset) && within_memory(seen.time, here.time))
            .map(|seen| Position { offset: seen.offset, ..here.position })
    }

    /// An id enters the window.
    pub(super) fn see(&mut self, hash: IdHash, here: &Here) {
        let seen = Seen { offset: here.position.offset, time: here.time, hash };
        self.seen.push(seen);
        self.newest.insert(hash, seen);
    }

    /// Remembers a mutation that was judged on its merits.
    pub(super) fn remember(&mut self, mutation: &Mutation, here: &Here, outcome: &Outcome) {
        let Some(id) = mutation.id else { return };
        let hash = id.hash(&mutation.key);
        if id.durable {
            let operation = Operation {
                hash,
                position: here.position,
                time: here.time,
                fingerprint: mutation.fingerprint(),
                outcome: outcome.clone(),
            };
            self.operations.insert(hash, operation);
        } else {
            self.see(hash, here);
        }
    }
}

fn within_memory(then: UnixMillis, now: UnixMillis) -> bool {
    i128::from(now.0) - i128::from(then.0) < i128::from(limits::MEMORY_MS)
}
