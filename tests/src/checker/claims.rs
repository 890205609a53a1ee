//! How many records of a content there are, against how many of it were sent, and how that ended.
//!
//! Not positions: those are compared one by one. Invariant: what is one request, retried or not, is one group.

use std::collections::{HashMap, HashSet};

use millpond_schemas::{Digest, Mutation};

use super::{
    oracle::Oracle,
    verdict::{Found, Invariant},
};
use crate::history::{Door, Intent, Op, WriteResult};

/// A content: key, operation, conditions, and the durable id where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group([u8; 16], [u8; 16]);

impl Group {
    pub(super) fn of(mutation: &Mutation) -> Self {
        let id = mutation.id.filter(|id| id.durable).map_or([0; 16], |id| id.bytes);
        Self(mutation.fingerprint().0, id)
    }

    pub(super) fn poison(digest: Digest) -> Self {
        Self(digest.0, [0xff; 16])
    }

    /// None: it could not have been encoded, so no record can be it.
    pub(super) fn of_intent(intent: &Intent) -> Option<Self> {
        let poison = || Some(Self::poison(intent.poison()?.digest()));
        intent.mutation().map(|mutation| Self::of(&mutation)).or_else(poison)
    }
}

/// What is known of one group.
#[derive(Debug, Default)]
struct Claim {
    records: u64,
    /// Of them, those that the duplicate window has found: a log may hold one write twice.
    repeats: u64,
    key: u64,
    /// Acked, repeats that were told as such included.
    acked: u64,
    unknown: u64,
    refused: u64,
    /// Whether attempts were not told one by one. They have one id, so the oracle lets one of them take effect.
    hidden: bool,
    /// An operation of it.
    line: Option<usize>,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Claims {
    groups: HashMap<Group, Claim>,
    keys: HashSet<u64>,
}

impl Claims {
    pub(super) fn new(oracle: &Oracle) -> Self {
        let mut groups: HashMap<Group, Claim> = HashMap::new();
        for (group, key, repeats) in oracle.groups() {
            let claim = groups.entry(group).or_default();
            claim.records += 1;
            claim.repeats += u64::from(repeats);
            claim.key = key;
        }
        Self { groups, keys: HashSet::new() }
    }

    pub(super) fn op(&mut self, line: usize, op: &Op) {
        let Op { intent, result, .. } = op;
        if let Ok(key) = intent.record_key() {
            self.keys.insert(key.hash());
        }
        let Some(group) = Group::of_intent(intent) else { return };
        let claim = self.groups.entry(group).or_default();
        claim.line = Some(line);
        claim.hidden |= op.door == Door::Import;
        match result {
            WriteResult::Ok(_) => claim.acked += 1,
            WriteResult::Failed { .. } => claim.refused += 1,
            WriteResult::Unknown { .. } => claim.unknown += 1,
        }
    }

    pub(super) fn end(self, found: &mut Found) {
        for claim in self.groups.values() {
            claim.judge(&self.keys, found);
        }
    }
}

impl Claim {
    fn judge(&self, keys: &HashSet<u64>, found: &mut Found) {
        let Self { records, repeats, acked, unknown, refused, .. } = *self;
        if self.line.is_none() {
            if keys.contains(&self.key) {
                found.add(Invariant::I1, None, || {
                    format!("{records} records of one content are on the log, though no client sent it")
                });
            }
            found.counts.foreign += records;
        } else if records < acked {
            found.add(Invariant::I1, self.line, || {
                format!("{acked} writes of this content were acked, and {records} are on the log")
            });
        } else if records - repeats > acked + unknown && !self.hidden {
            let invariant = if refused > 0 { Invariant::I2 } else { Invariant::I3 };
            found.add(invariant, self.line, || {
                format!(
                    "{records} writes of this content are on the log, {repeats} found to be repeats: of {acked} acked, {unknown} unknown, and {refused} \
                     that were said not to be there"
                )
            });
        }
    }
}
