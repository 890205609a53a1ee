//! What a flush must read before it can be folded, and where it must end.
//!
//! Invariant: blind puts and deletes read nothing, unless another mutation of their key in the flush does.

use std::collections::{BTreeSet, HashSet};

use millpond_schemas::{
    ControlOp, IdHash, Mutant, Mutation, Record, RecordKey, UnixMillis, limits::SWEEP_ROWS_MAX,
};

use crate::{Entry, State, state::purge_grace_ms};

/// What to read from the shard before folding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Rows, tombstones and expired ones too, in the order in which the entries need them.
    pub keys: Vec<RecordKey>,
    /// Operations, by id.
    pub operations: Vec<IdHash>,
    /// For a Sweep or Purge: what is due.
    pub due: Option<Due>,
}

/// Rows that are due, in order of (`expires_at`, tenant, key).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Live rows or tombstones.
    pub kind: DueKind,
    /// Those whose `expires_at` is not after this.
    pub until: UnixMillis,
    /// At most this many.
    pub rows_max: u32,
}

/// Which rows can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueKind {
    /// A Sweep expires rows.
    Rows,
    /// A Purge removes tombstones.
    Tombstones,
}

/// How many entries from the front may go in one flush: a Sweep or a Purge goes alone.
pub fn cut(entries: &[Entry]) -> usize {
    match entries.iter().position(takes_due) {
        Some(0) => 1,
        Some(first) => first,
        None => entries.len(),
    }
}

fn takes_due(entry: &Entry) -> bool {
    let Ok(Record::Control(control)) = &entry.decoded else { return false };
    match control.op {
        ControlOp::Sweep { .. } | ControlOp::Purge { .. } => true,
        ControlOp::Genesis { .. } | ControlOp::Claim(_) | ControlOp::Seal { .. } => false,
    }
}

/// What folding these entries needs to know.
pub fn needs(state: &State, entries: &[Entry]) -> Needs {
    let mutations = || entries.iter().filter_map(mutation);
    let mut asked: HashSet<&RecordKey> = HashSet::new();
    let wanted = mutations().filter(|m| !m.is_blind()).map(|m| &m.key);
    let keys = wanted.filter(|key| asked.insert(key)).cloned().collect();
    let durable = |m: &Mutation| Some(m.id.filter(|id| id.durable)?.hash(&m.key));
    let operations: BTreeSet<IdHash> = mutations().filter_map(durable).collect();
    let due = entries.first().filter(|_| entries.len() == 1).and_then(|entry| due(state, entry));
    Needs { keys, operations: operations.into_iter().collect(), due }
}

fn mutation(entry: &Entry) -> Option<&Mutation> {
    match &entry.decoded {
        Ok(Record::Mutation(mutation)) => Some(mutation),
        Ok(Record::Control(_)) | Err(_) => None,
    }
}

fn due(state: &State, entry: &Entry) -> Option<Due> {
    let Ok(Record::Control(control)) = &entry.decoded else { return None };
    let time =
        if Mutant::SweepByOwnClock.is_picked() { own_time() } else { entry.clamped(state.watermark.time) };
    match control.op {
        ControlOp::Sweep { rows_max } => {
            Some(Due { kind: DueKind::Rows, until: time, rows_max: rows_max.min(SWEEP_ROWS_MAX) })
        }
        ControlOp::Purge { rows_max } => {
            let grace = i64::try_from(purge_grace_ms(state.claim.as_ref())).unwrap_or(i64::MAX);
            let until = UnixMillis(time.0.saturating_sub(grace));
            Some(Due { kind: DueKind::Tombstones, until, rows_max: rows_max.min(SWEEP_ROWS_MAX) })
        }
        ControlOp::Genesis { .. } | ControlOp::Claim(_) | ControlOp::Seal { .. } => None,
    }
}

#[expect(clippy::disallowed_methods, reason = "it is a mutant: the fold has no clock")]
fn own_time() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
