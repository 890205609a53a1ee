//! The fold itself: entries in, one flush out.
//!
//! Invariant: `fold` of a batch equals folding its records one by one, each on the result of the one before.

use std::collections::HashMap;

use foldhash::{HashMap as FastMap, HashMapExt as _};
use millpond_schemas::{
    Claim, Control, ControlOp, DeadLetter, DeadReason, DecodeError, Exception, Flush, IdHash, KeyMissing,
    Mutation, Offset, Op, Operation, Outcome, OutcomeRange, Position, Record, RecordKey, Refusal, Rejected,
    Rejection, Row, Seen, UnixMillis, Upsert, Version, Watermark,
    limits::{MEMORY_MS, fold_version},
};

use crate::{
    Entry, State,
    cell::Cell,
    operations::{self, Place},
    state::value_bytes_max,
    window,
};

/// What was read for a flush; see [`crate::needs`].
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// An entry for each key that was asked for.
    pub rows: HashMap<RecordKey, Option<Row>>,
    /// Those that were found.
    pub operations: HashMap<IdHash, Operation>,
    /// What is due, in order. Nothing depends on the values.
    pub due: Vec<Row>,
}

/// The first record can neither be applied nor dead-lettered: the partition halts before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The log speaks a version that was announced and that this build does not know.
    #[error("version-unknown: the log has announced version {version}; start a build that knows it")]
    VersionUnknown {
        /// Of the record format or of the fold.
        version: u32,
    },
    /// A control record's MAC cannot be checked.
    #[error("key-missing: {0}; configure it")]
    KeyMissing(KeyMissing),
}

/// Folds `entries` (all that follow the state in their partition, at most [`crate::cut`]) on `state`.
///
/// Offsets rise; those in between that no entry has are holes. Ends before a record that halts; `owner` stays that of the state, for the writer to set.
///
/// # Errors
/// [`Halt`] when the very first record halts, or the Claim in force is of a later fold.
pub fn fold(state: &State, entries: &[Entry], given: &Given) -> Result<Flush, Halt> {
    if let Some(claim) = state.claim.as_ref().filter(|claim| claim.fold_version > fold_version()) {
        return Err(Halt::VersionUnknown { version: claim.fold_version });
    }
    let mut run = Run::new(state, given, entries.len());
    for entry in entries {
        match run.step(entry) {
            Ok(()) => {}
            Err(halt) if run.next.applied == state.watermark.applied => return Err(halt),
            Err(_) => break,
        }
    }
    Ok(run.finish())
}

struct Run<'a> {
    state: &'a State,
    given: &'a Given,
    claim: Option<Claim>,
    next: Watermark,
    /// In the order in which their keys came first.
    cells: Vec<Cell>,
    /// Where among them a key's is.
    places: FastMap<RecordKey, usize>,
    seen_here: FastMap<IdHash, Seen>,
    operations_here: FastMap<IdHash, Operation>,
    purged: Vec<(RecordKey, Version)>,
    exceptions: Vec<Exception>,
    expired: Vec<RecordKey>,
    seen: Vec<Seen>,
    dead_letters: Vec<DeadLetter>,
}

impl<'a> Run<'a> {
    /// For so many entries.
    fn new(state: &'a State, given: &'a Given, entries: usize) -> Self {
        Self {
            state,
            given,
            claim: state.claim.clone(),
            next: state.watermark.clone(),
            cells: Vec::with_capacity(entries),
            places: FastMap::with_capacity(entries),
            seen_here: FastMap::with_capacity(entries),
            operations_here: FastMap::new(),
            purged: Vec::new(),
            exceptions: Vec::new(),
            expired: Vec::new(),
            seen: Vec::with_capacity(entries),
            dead_letters: Vec::new(),
        }
    }

    fn step(&mut self, entry: &Entry) -> Result<(), Halt> {
        let time = entry.clamped(self.next.time);
        let outcome = match self.refusal(entry)? {
            Some(refusal) => {
                let raw = entry.raw.clone();
                self.dead_letters.push(DeadLetter {
                    offset: entry.offset,
                    time,
                    refusal: refusal.clone(),
                    raw,
                });
                Outcome::DeadLettered(refusal)
            }
            None => match &entry.decoded {
                Ok(Record::Mutation(mutation)) => self.mutate(mutation, entry.offset, time),
                Ok(Record::Control(control)) => self.control(control, entry.offset, time)?,
                Err(_) => unreachable!("what does not decode is refused or halts"),
            },
        };
        if !outcome.is_plain() {
            self.exceptions.push(Exception { offset: entry.offset, id: id_of(entry), outcome });
        }
        self.next.applied = entry.offset;
        self.next.digest_offset = entry.offset;
        self.next.digest = entry.digest;
        self.next.time = time;
        Ok(())
    }

    /// Why a record can never apply, if so.
    fn refusal(&self, entry: &Entry) -> Result<Option<Refusal>, Halt> {
        if entry.skipped {
            return Ok(Some(Refusal::new(DeadReason::Skipped, "given up by an operator")));
        }
        let record = match &entry.decoded {
            Ok(record) => record,
            Err(DecodeError::Refused(refusal)) => return Ok(Some(refusal.clone())),
            Err(DecodeError::KeyMissing(missing)) => return Err(Halt::KeyMissing(*missing)),
            Err(DecodeError::KeyUnknown(missing)) => return self.forged(*missing).map(Some),
            Err(DecodeError::FormatUnknown(format)) => {
                return match &self.claim {
                    Some(claim) if claim.format_max / 100 >= *format / 100 => {
                        Err(Halt::VersionUnknown { version: *format })
                    }
                    _ => Ok(Some(Refusal::new(
                        DeadReason::FormatUnknown,
                        format!("the record's format {format} was never announced on this log"),
                    ))),
                };
            }
        };
        let is_claim = matches!(record, Record::Control(Control { op: ControlOp::Claim(_), .. }));
        if self.next.sealed && !is_claim {
            return Ok(Some(Refusal::new(DeadReason::Sealed, "this generation of the log is sealed")));
        }
        Ok(self.too_large(record))
    }

    /// A key that nobody announced proves nothing. Before the first Claim any key may have been.
    fn forged(&self, missing: KeyMissing) -> Result<Refusal, Halt> {
        match &self.claim {
            Some(claim) if claim.mac_key_id != missing.id => {
                Ok(Refusal::new(DeadReason::ForgedControlRecord, "its MAC is by a key that nobody announced"))
            }
            _ => Err(Halt::KeyMissing(missing)),
        }
    }

    fn too_large(&self, record: &Record) -> Option<Refusal> {
        let Record::Mutation(Mutation { op: Op::Put { value, .. } | Op::Append { value }, .. }) = record
        else {
            return None;
        };
        let max = value_bytes_max(self.claim.as_ref());
        let detail = || format!("the value has {} bytes; the limit is {max}", value.len());
        (value.len() > max).then(|| Refusal::new(DeadReason::ValueTooLarge, detail()))
    }

    fn mutate(&mut self, mutation: &Mutation, offset: Offset, time: UnixMillis) -> Outcome {
        let Some(id) = mutation.id else { return self.apply(mutation, offset, time) };
        let hash = id.hash(&mutation.key);
        if !id.durable {
            if let Some(seen) = self.find_seen(hash, offset, time) {
                return Outcome::Duplicate { of: self.position(seen.offset), original: None };
            }
            self.remember(hash, offset, time);
            return self.apply(mutation, offset, time);
        }
        let fingerprint = mutation.fingerprint();
        if let Some(known) = self.find_operation(hash, time) {
            if known.fingerprint == fingerprint {
                return Outcome::Duplicate {
                    of: known.position,
                    original: Some(Box::new(known.outcome.clone())),
                };
            }
            // Names no version: a blind mutation's row was not read.
            return Outcome::Rejected(Rejected { rejection: Rejection::IdempotencyConflict, current: None });
        }
        let outcome = self.apply(mutation, offset, time);
        let position = self.position(offset);
        let operation = Operation { hash, position, time, fingerprint, outcome: outcome.clone() };
        self.operations_here.insert(hash, operation);
        outcome
    }

    fn apply(&mut self, mutation: &Mutation, offset: Offset, time: UnixMillis) -> Outcome {
        let place = Place {
            partition: self.next.partition,
            version: self.position(offset).version(),
            time,
            value_bytes_max: value_bytes_max(self.claim.as_ref()),
        };
        operations::apply(self.cell(&mutation.key), mutation, place)
    }

    fn cell(&mut self, key: &RecordKey) -> &mut Cell {
        let given = self.given;
        self.cell_or(key, || Cell::new(given.rows.get(key)))
    }

    fn cell_or(&mut self, key: &RecordKey, new: impl FnOnce() -> Cell) -> &mut Cell {
        let place = *self.places.entry(key.clone()).or_insert(self.cells.len());
        if place == self.cells.len() {
            self.cells.push(new());
        }
        &mut self.cells[place]
    }

    fn control(&mut self, control: &Control, offset: Offset, time: UnixMillis) -> Result<Outcome, Halt> {
        let hash = control.id_hash();
        if let Some(seen) = self.find_seen(hash, offset, time) {
            return Ok(Outcome::Duplicate { of: self.position(seen.offset), original: None });
        }
        match &control.op {
            ControlOp::Genesis { .. } => {}
            ControlOp::Claim(claim) => self.take_claim(claim)?,
            ControlOp::Sweep { .. } => self.sweep(self.position(offset).version(), time),
            ControlOp::Purge { .. } => {
                self.purged = self.given.due.iter().map(|row| (row.key.clone(), row.version)).collect();
            }
            ControlOp::Seal { .. } => self.next.sealed = true,
        }
        self.remember(hash, offset, time);
        Ok(Outcome::Applied(None))
    }

    /// Limits and versions never fall within a generation.
    fn take_claim(&mut self, claim: &Claim) -> Result<(), Halt> {
        if claim.fold_version > fold_version() {
            return Err(Halt::VersionUnknown { version: claim.fold_version });
        }
        let mut claim = claim.clone();
        if let Some(before) = &self.claim {
            claim.fold_version = claim.fold_version.max(before.fold_version);
            claim.format_max = claim.format_max.max(before.format_max);
            claim.value_bytes_max = claim.value_bytes_max.max(before.value_bytes_max);
        }
        self.next.claim = claim.encode();
        self.claim = Some(claim);
        Ok(())
    }

    fn sweep(&mut self, version: Version, time: UnixMillis) {
        for row in &self.given.due {
            let cell = self.cell_or(&row.key, || Cell::new(Some(&Some(row.clone()))));
            cell.delete(&row.key, version, time);
            self.expired.push(row.key.clone());
        }
    }

    fn position(&self, offset: Offset) -> Position {
        Position { generation: self.next.generation, partition: self.next.partition, offset }
    }

    fn find_seen(&self, hash: IdHash, offset: Offset, time: UnixMillis) -> Option<Seen> {
        let here = self.seen_here.get(&hash).copied().filter(|seen| window::counts(seen, offset, time));
        here.or_else(|| self.state.window.find(hash, offset, time))
    }

    fn find_operation(&self, hash: IdHash, time: UnixMillis) -> Option<&Operation> {
        let known = self.operations_here.get(&hash).or_else(|| self.given.operations.get(&hash));
        known.filter(|operation| time.ms_since(operation.time) < MEMORY_MS)
    }

    fn remember(&mut self, hash: IdHash, offset: Offset, time: UnixMillis) {
        let seen = Seen { offset, time, hash };
        self.seen_here.insert(hash, seen);
        self.seen.push(seen);
    }

    fn finish(self) -> Flush {
        let rows = by_key(self.cells.into_iter().filter_map(Cell::into_upsert).map(Some).collect());
        let mut operations: Vec<Operation> = self.operations_here.into_values().collect();
        operations.sort_unstable_by_key(|operation| operation.position.offset);
        let outcomes = OutcomeRange {
            generation: self.next.generation,
            partition: self.next.partition,
            from: self.state.watermark.applied.next(),
            to: self.next.applied,
            time: self.next.time,
            exceptions: self.exceptions,
            expired: self.expired,
        };
        Flush {
            previous: self.state.watermark.clone(),
            next: self.next,
            rows,
            purged: self.purged,
            outcomes,
            seen: self.seen,
            operations,
            dead_letters: self.dead_letters,
        }
    }
}

/// In order of their keys. Rows are large, so each is moved once and not at every step of the sort.
fn by_key(mut rows: Vec<Option<Upsert>>) -> Vec<Upsert> {
    let key = |at: &usize| rows[*at].as_ref().map(|upsert| &upsert.row.key);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    order.into_iter().filter_map(|at| rows[at].take()).collect()
}

/// The mutation's id, for producers that know only that.
fn id_of(entry: &Entry) -> Option<[u8; 16]> {
    match &entry.decoded {
        Ok(Record::Mutation(mutation)) => mutation.id.map(|id| id.bytes),
        Ok(Record::Control(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
