//! A naive model of what a log means: one record at a time, maps and lists, nothing clever.
//!
//! What the fold is tested against, and what a doubtful copy can be checked with. Not for the write path: it
//! keeps every row and every id in memory and clones freely.
//! Invariant: shares no code with the fold; only the shapes that both speak in.

mod change;
mod ids;
mod patch;

use std::collections::BTreeMap;

use millpond_schemas::{
    Claim, Control, ControlOp, DeadLetter, DeadReason, DecodeError, Digest, Generation, IdHash, LogId,
    Mutation, Offset, Op, Operation, Outcome, PartitionId, Position, Record, RecordKey, Refusal, Rejected,
    Row, Seen, UnixMillis, Watermark, limits,
};

use crate::Entry;
use change::Change;

/// One partition after some records of its log.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Which partition.
    pub partition: PartitionId,
    /// Which life of the log.
    pub generation: Generation,
    /// Which log.
    pub log_id: LogId,
    /// Every row, tombstones included.
    pub rows: BTreeMap<RecordKey, Row>,
    /// What became of every record.
    pub outcomes: BTreeMap<Offset, Outcome>,
    /// Per Sweep, the keys that it expired, in its order.
    pub expired: BTreeMap<Offset, Vec<RecordKey>>,
    /// Every id that ever entered the window, by offset.
    pub seen: Vec<Seen>,
    /// Durable ids.
    pub operations: BTreeMap<IdHash, Operation>,
    /// Records that can never apply, by offset.
    pub dead_letters: Vec<DeadLetter>,
    /// Offset of the last record.
    pub applied: Offset,
    /// Digest of the last record.
    pub digest: Digest,
    /// Clamped time of the last record.
    pub time: UnixMillis,
    /// The Claim in force.
    pub claim: Option<Claim>,
    /// Whether the generation has ended.
    pub sealed: bool,
    /// Of every id in `seen`, its last entry.
    newest: BTreeMap<IdHash, Seen>,
}

/// The partition must stop before this record; nothing of it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// This build is too old for what the log has announced.
    #[error("version-unknown")]
    VersionUnknown,
    /// The key of a control record's MAC is not held.
    #[error("key-missing")]
    KeyMissing,
}

/// Where and when a record stands.
#[derive(Clone, Copy, Debug)]
struct Here {
    position: Position,
    time: UnixMillis,
    value_bytes_max: u64,
}

impl Model {
    /// A partition before its first record.
    pub fn new(partition: PartitionId, generation: Generation, log_id: LogId) -> Self {
        Self {
            partition,
            generation,
            log_id,
            rows: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            expired: BTreeMap::new(),
            seen: Vec::new(),
            operations: BTreeMap::new(),
            dead_letters: Vec::new(),
            applied: Offset::NONE,
            digest: Digest::NONE,
            time: UnixMillis::EPOCH,
            claim: None,
            sealed: false,
            newest: BTreeMap::new(),
        }
    }

    /// Folds one record in and says what became of it.
    ///
    /// # Errors
    /// A [`Halt`]: the model is as it was before the record.
    pub fn apply(&mut self, entry: &Entry) -> Result<Outcome, Halt> {
        let time = if entry.time_skipped || entry.time < self.time { self.time } else { entry.time };
        let here = Here {
            position: Position {
                generation: self.generation,
                partition: self.partition,
                offset: entry.offset,
            },
            time,
            value_bytes_max: self
                .claim
                .as_ref()
                .map_or(limits::VALUE_BYTES_MAX as u64, |c| c.value_bytes_max),
        };
        let outcome = self.judge(entry, &here)?;
        if let Outcome::DeadLettered(refusal) = &outcome {
            let (refusal, raw) = (refusal.clone(), entry.raw.clone());
            self.dead_letters.push(DeadLetter { offset: entry.offset, time, refusal, raw });
        }
        self.outcomes.insert(entry.offset, outcome.clone());
        (self.applied, self.digest, self.time) = (entry.offset, entry.digest, time);
        Ok(outcome)
    }

    /// The watermark that a copy has here, owned by nobody.
    pub fn watermark(&self) -> Watermark {
        Watermark {
            applied: self.applied,
            digest_offset: self.applied,
            digest: self.digest,
            time: self.time,
            claim: self.claim.as_ref().map(Claim::encode).unwrap_or_default(),
            sealed: self.sealed,
            ..Watermark::empty(self.partition, self.generation, self.log_id)
        }
    }

    fn judge(&mut self, entry: &Entry, here: &Here) -> Result<Outcome, Halt> {
        if entry.skipped {
            return Ok(dead(DeadReason::Skipped));
        }
        let record = match &entry.decoded {
            Ok(record) => record,
            Err(DecodeError::Refused(refusal)) => return Ok(Outcome::DeadLettered(refusal.clone())),
            Err(DecodeError::KeyMissing(_)) => return Err(Halt::KeyMissing),
            Err(DecodeError::KeyUnknown(key)) => {
                return match &self.claim {
                    None => Err(Halt::KeyMissing),
                    Some(claim) if claim.mac_key_id == key.id => Err(Halt::KeyMissing),
                    Some(_) => Ok(dead(DeadReason::ForgedControlRecord)),
                };
            }
            Err(DecodeError::FormatUnknown(format)) => {
                // A minor format never stops anyone: only majors are announced.
                let announced =
                    self.claim.as_ref().is_some_and(|claim| claim.format_max / 100 >= format / 100);
                return if announced {
                    Err(Halt::VersionUnknown)
                } else {
                    Ok(dead(DeadReason::FormatUnknown))
                };
            }
        };
        match record {
            Record::Control(control) => self.control(control, here),
            Record::Mutation(_) if self.sealed => Ok(dead(DeadReason::Sealed)),
            Record::Mutation(mutation) => Ok(self.mutation(mutation, here)),
        }
    }

    fn mutation(&mut self, mutation: &Mutation, here: &Here) -> Outcome {
        if let Op::Put { value, .. } | Op::Append { value } = &mutation.op
            && value.len() as u64 > here.value_bytes_max
        {
            return dead(DeadReason::ValueTooLarge);
        }
        if let Some(outcome) = self.remembered(mutation, here) {
            return outcome;
        }
        let live = self.rows.get(&mutation.key).filter(|row| is_live(row, here.time)).cloned();
        let current = live.as_ref().map(|row| row.version);
        let outcome = match change::change(mutation, live, here) {
            Ok(Change { row, effect }) => {
                self.rows.insert(mutation.key.clone(), row);
                Outcome::Applied(effect)
            }
            Err(rejection) => Outcome::Rejected(Rejected { rejection, current }),
        };
        self.remember(mutation, here, &outcome);
        outcome
    }

    fn control(&mut self, control: &Control, here: &Here) -> Result<Outcome, Halt> {
        if self.sealed && !matches!(control.op, ControlOp::Claim(_)) {
            return Ok(dead(DeadReason::Sealed));
        }
        let hash = control.id_hash();
        if let Some(first) = self.in_window(hash, here) {
            return Ok(Outcome::Duplicate { of: first, original: None });
        }
        match &control.op {
            ControlOp::Genesis { .. } => {}
            ControlOp::Claim(claim) => self.take_claim(claim)?,
            ControlOp::Sweep { rows_max } => self.sweep(*rows_max, here),
            ControlOp::Purge { rows_max } => self.purge(*rows_max, here),
            ControlOp::Seal { .. } => self.sealed = true,
        }
        self.see(hash, here);
        Ok(Outcome::Applied(None))
    }

    fn take_claim(&mut self, claim: &Claim) -> Result<(), Halt> {
        if claim.fold_version > limits::FOLD_VERSION {
            return Err(Halt::VersionUnknown);
        }
        let mut claim = claim.clone();
        if let Some(before) = &self.claim {
            claim.fold_version = claim.fold_version.max(before.fold_version);
            claim.format_max = claim.format_max.max(before.format_max);
            claim.value_bytes_max = claim.value_bytes_max.max(before.value_bytes_max);
        }
        self.claim = Some(claim);
        Ok(())
    }

    fn sweep(&mut self, rows_max: u32, here: &Here) {
        let keys = self.oldest(rows_max, |row| row.value.is_some() && expires_by(row, here.time.0.into()));
        for key in &keys {
            let tombstone = Row::tombstone(key.clone(), here.position.version(), here.time);
            self.rows.insert(key.clone(), tombstone);
        }
        self.expired.insert(here.position.offset, keys);
    }

    fn purge(&mut self, rows_max: u32, here: &Here) {
        let grace_ms = self.claim.as_ref().map_or(limits::PURGE_GRACE_MS, |claim| claim.purge_grace_ms);
        let until = i128::from(here.time.0) - i128::from(grace_ms);
        for key in self.oldest(rows_max, |row| row.value.is_none() && expires_by(row, until)) {
            self.rows.remove(&key);
        }
    }

    /// Keys of the rows that `due` picks, by expiry and then by key.
    fn oldest(&self, rows_max: u32, due: impl Fn(&Row) -> bool) -> Vec<RecordKey> {
        let mut rows: Vec<&Row> = self.rows.values().filter(|row| due(row)).collect();
        rows.sort_by_key(|row| (row.expires_at, &row.key));
        let rows_max = rows_max.min(limits::SWEEP_ROWS_MAX) as usize;
        rows.into_iter().take(rows_max).map(|row| row.key.clone()).collect()
    }
}

fn dead(reason: DeadReason) -> Outcome {
    Outcome::DeadLettered(Refusal::new(reason, ""))
}

fn is_live(row: &Row, time: UnixMillis) -> bool {
    row.value.is_some() && !expires_by(row, time.0.into())
}

fn expires_by(row: &Row, until_ms: i128) -> bool {
    row.expires_at.is_some_and(|at| i128::from(at.0) <= until_ms)
}
