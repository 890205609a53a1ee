//! I1 to I3: what was acked is on the log as it was sent, what was refused is not, and what is unknown is there once at
//! most; and outcomes that were told are those of the oracle.
//!
//! Invariant: each ack has a record of its own.

use std::collections::{HashMap, HashSet};

use millpond_schemas::Position;

use super::{
    claims::Claims,
    oracle::{Oracle, Place, Says},
    told,
    verdict::{Found, Invariant},
};
use crate::history::{Door, Look, Op, Told, WriteResult};

pub(super) struct Writes<'a> {
    oracle: &'a Oracle,
    claims: Claims,
    /// Positions that were told as a write's own.
    acked: HashSet<Position>,
    /// How often a position was told as that of the first one.
    repeated: HashMap<Position, (u64, usize)>,
}

impl<'a> Writes<'a> {
    pub(super) fn new(oracle: &'a Oracle) -> Self {
        let (acked, repeated) = (HashSet::new(), HashMap::new());
        Self { oracle, claims: Claims::new(oracle), acked, repeated }
    }

    pub(super) fn op(&mut self, line: usize, op: &Op, found: &mut Found) {
        self.claims.op(line, op);
        match &op.result {
            WriteResult::Failed { .. } => found.counts.failed += 1,
            WriteResult::Unknown { .. } => found.counts.unknown += 1,
            WriteResult::Ok(told) => {
                found.counts.ok += 1;
                self.acked(line, op, told, found);
            }
        }
    }

    fn acked(&mut self, line: usize, op: &Op, told: &Told, found: &mut Found) {
        let Some(text) = &told.position else { return };
        let Ok(position) = text.parse::<Position>() else {
            found.add(Invariant::I1, line, || format!("{text} is no position"));
            return;
        };
        let Some(place) = self.oracle.place(position) else {
            let halted = self
                .oracle
                .of(position.partition)
                .is_none_or(|p| !p.is_whole || p.halted.is_some_and(|halted| halted <= position.offset));
            if !halted {
                found.add(Invariant::I1, line, || {
                    format!("acked at {position}, and the log has no record there")
                });
            }
            return;
        };
        if told.duplicate {
            self.repeated.entry(position).or_insert((0, line)).0 += 1;
        } else if !self.acked.insert(position) {
            found.add(Invariant::I1, line, || format!("another write was acked at {position} too"));
        }
        // With a repeat under another request, the first one's record is not what was sent.
        if let Some(differs) = differs(op, place, position, self.oracle) {
            found.add(Invariant::I1, line, || {
                format!("the record at {position} is not what was sent: {differs}")
            });
            return;
        }
        told::outcome(self.oracle, line, position, told, found);
    }

    pub(super) fn look(&mut self, line: usize, look: &Look, found: &mut Found) {
        found.counts.looks += 1;
        let position = look.told.position.as_deref().unwrap_or_default().parse::<Position>();
        let Ok(position) = position else { return };
        if self.oracle.place(position).is_some() {
            told::outcome(self.oracle, line, position, &look.told, found);
        }
    }

    pub(super) fn end(self, found: &mut Found) {
        for (position, (told, line)) in self.repeated {
            let repeats = self.oracle.of(position.partition).and_then(|p| p.repeats.get(&position.offset));
            let repeats = repeats.copied().unwrap_or(0);
            if repeats < told {
                found.add(Invariant::I3, line, || {
                    format!("{told} writes were told that they repeat {position}; {repeats} on the log do")
                });
            }
        }
        self.claims.end(found);
    }
}

/// How a record differs from what was sent; none: it does not.
fn differs(op: &Op, place: &Place, position: Position, oracle: &Oracle) -> Option<String> {
    if let Some(poison) = op.intent.poison() {
        return (poison.digest() != place.digest).then(|| "it has other bytes".to_owned());
    }
    let Some(sent) = op.intent.mutation() else { return Some("nothing could have been sent".to_owned()) };
    let Says::Mutation(there) = &place.says else { return Some("it is no mutation".to_owned()) };
    if oracle.partition_of(&sent.key) != position.partition {
        return Some(format!("the key belongs to partition {}", oracle.partition_of(&sent.key)));
    }
    if there.key != sent.key {
        return Some(format!("its key is \"{}\"", there.key.bytes().escape_ascii()));
    }
    if there.fingerprint() != sent.fingerprint() {
        return Some(format!("it is {:?} under {:?}", there.op, there.conditions));
    }
    let random_id = sent.id.is_none() && op.door != Door::Kafka;
    let is_same_id = if random_id { there.id.is_some_and(|id| !id.durable) } else { there.id == sent.id };
    (!is_same_id).then(|| format!("its id is {:?}, not {:?}", there.id, sent.id))
}
