//! I5 and I6: reads are not older than their tokens, and what a session sees never goes back.
//!
//! Invariant: a session's events are in the order in which they happened; it has at most one call under way.

use std::collections::HashMap;

use millpond_schemas::{Offset, PartitionId, Position};

use super::{
    reads::{Strong, state_of},
    verdict::{Found, Invariant},
};
use crate::history::{Consistency, Door, Op, Read, WriteResult};

/// The highest offset that a session has seen, by session and partition.
type Highest = HashMap<(u64, PartitionId), Offset>;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    highest: Highest,
    strong: Strong,
}

impl Sessions {
    pub(super) fn op(&mut self, line: usize, op: &Op, found: &mut Found) {
        let WriteResult::Ok(told) = &op.result else { return };
        let Some(position) = told.position.as_deref().and_then(|text| text.parse::<Position>().ok()) else {
            return;
        };
        if !told.duplicate {
            self.strong.ack(op.end_us, position);
        }
        let Some(session) = op.session else { return };
        let highest = self.highest.entry((session, position.partition)).or_insert(Offset::NONE);
        // The lines of a batch are under way together, and a repeat tells of the past.
        if position.offset <= *highest && !told.duplicate && op.door != Door::Batch {
            found.add(Invariant::I6, line, || {
                format!("session {session} had seen {highest}, and its write got {position}")
            });
        }
        *highest = (*highest).max(position.offset);
    }

    pub(super) fn read(&mut self, line: usize, read: &Read, found: &mut Found) {
        let Some((partition, offset)) = read.seen.position().and_then(state_of) else { return };
        self.strong.read(line, read);
        let tokens = read.min_position.iter().flat_map(|list| list.split(','));
        let tokens = tokens.filter_map(|text| state_of(text.trim()));
        let wanted = tokens.filter(|(of, _)| *of == partition).map(|(_, offset)| offset).max();
        if wanted.is_some_and(|wanted| offset < wanted) {
            found.add(Invariant::I5, line, || {
                format!("the state is {offset} of partition {partition}, older than {wanted:?}")
            });
        }
        let Some(session) = read.session.filter(|_| read.consistency != Consistency::Eventual) else {
            return;
        };
        let highest = self.highest.entry((session, partition)).or_insert(Offset::NONE);
        if offset < *highest {
            found.add(Invariant::I6, line, || {
                format!("session {session} had seen {highest} of partition {partition}, and now {offset}")
            });
        }
        *highest = (*highest).max(offset);
    }

    pub(super) fn end(self, found: &mut Found) {
        self.strong.end(found);
    }
}
