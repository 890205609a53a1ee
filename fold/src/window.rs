//! The duplicate window: ids that are not durable, seen lately in this partition.
//!
//! Invariant: whether an id counts as seen is judged from offset and record time, never from its presence here.

use std::collections::{VecDeque, hash_map::Entry};

use foldhash::HashMap;
use millpond_schemas::{
    IdHash, Mutant, Offset, Seen, UnixMillis,
    limits::{MEMORY_MS, WINDOW_OFFSETS},
};

/// Ids by hash, and in order of offset so that old ones can go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    by_hash: HashMap<IdHash, Seen>,
    by_offset: VecDeque<Seen>,
}

impl Window {
    /// The record that brought this id, if it still counts at `offset` and `time`.
    pub(crate) fn find(&self, hash: IdHash, offset: Offset, time: UnixMillis) -> Option<Seen> {
        if Mutant::NoWindow.is_picked() {
            return None;
        }
        self.by_hash.get(&hash).copied().filter(|seen| counts(seen, offset, time))
    }

    pub(crate) fn extend(&mut self, seen: impl IntoIterator<Item = Seen>) {
        for one in seen {
            self.by_hash
                .entry(one.hash)
                .and_modify(|known| {
                    if known.offset < one.offset {
                        *known = one;
                    }
                })
                .or_insert(one);
            self.by_offset.push_back(one);
        }
    }

    /// Drops what can never count again behind a watermark.
    pub(crate) fn forget(&mut self, applied: Offset) {
        while let Some(oldest) = self.by_offset.front().copied() {
            if applied.0 - oldest.offset.0 < WINDOW_OFFSETS {
                break;
            }
            self.by_offset.pop_front();
            if let Entry::Occupied(known) = self.by_hash.entry(oldest.hash)
                && known.get().offset == oldest.offset
            {
                known.remove();
            }
        }
    }
}

/// Within the last 65,536 offsets and 24 h of log time.
pub(crate) fn counts(seen: &Seen, offset: Offset, time: UnixMillis) -> bool {
    offset.0 - seen.offset.0 <= WINDOW_OFFSETS && time.ms_since(seen.time) < MEMORY_MS
}
