//! Copies of a partition, each as a few sums, so that many can be compared and a history stays small.
//!
//! Invariant: equal sums at equal offsets mean equal copies, in whatever order their rows were read.

use millpond_schemas::{
    DeadLetter, Offset, Operation, Outcome, PartitionId, Row, Seen, UnixMillis, Watermark,
    limits::{MEMORY_MS, WINDOW_OFFSETS},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::intent::hex;

/// One copy of one partition, read in one transaction or while nobody wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Which: `shard 0 primary`, `shard 0 replica 1`, `rebuild sqlite` …
    pub name: String,
    /// Which partition.
    pub partition: u32,
    /// The highest offset applied; -1: none.
    pub applied: i64,
    /// The last real record at or below it.
    pub digest_offset: i64,
    /// Digest of that record, hexadecimal.
    pub digest: String,
    /// Clamped time of that record, Unix ms.
    pub time_ms: i64,
    /// What it holds.
    pub sums: Sums,
    /// Its dead letters, by offset. None: not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Vec<Letter>>,
}

/// A dead letter's place and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its record's.
    pub offset: i64,
    /// The reason's code.
    pub reason: String,
}

/// What a copy holds, in sums. None: not read, so not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Every row, tombstones included.
    pub rows: Part,
    /// Outcomes that are not plain success, of the last 24 h of log time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Part>,
    /// Ids of the duplicate window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Part>,
    /// Durable ids of the last 24 h of log time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Part>,
    /// Dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Part>,
}

/// A number of things and a sum over them that knows no order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How many.
    pub count: u64,
    /// 32 hexadecimal digits.
    pub sum: String,
}

impl Part {
    /// Adds up the parts of things.
    pub fn of(parts: impl Iterator<Item = u128>) -> Self {
        let (count, sum) = parts.fold((0, 0u128), |(count, sum), part| (count + 1, sum.wrapping_add(part)));
        Self { count, sum: format!("{sum:032x}") }
    }
}

/// Where and when a copy stands, to know what it need not hold any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// Which partition.
    pub(crate) partition: PartitionId,
    /// Its watermark.
    pub(crate) applied: Offset,
    /// The watermark's time.
    pub(crate) time: UnixMillis,
}

impl At {
    fn remembers(self, then: UnixMillis) -> bool {
        self.time.0.saturating_sub(then.0) < i64::try_from(MEMORY_MS).unwrap_or(i64::MAX)
    }

    /// Over rows.
    pub(crate) fn rows<'a>(self, rows: impl Iterator<Item = &'a Row>) -> Part {
        Part::of(rows.map(|row| row.digest(self.partition)))
    }

    /// Over what is not plain success. `time_of`: the clamped time of a record.
    pub(crate) fn outcomes<'a>(
        self,
        outcomes: impl Iterator<Item = (Offset, &'a Outcome)>,
        time_of: impl Fn(Offset) -> UnixMillis,
    ) -> Part {
        let kept =
            outcomes.filter(|(offset, outcome)| !outcome.is_plain() && self.remembers(time_of(*offset)));
        Part::of(kept.map(|(offset, outcome)| sum_of(&[&offset.0.to_le_bytes(), &bare(outcome).encode()])))
    }

    /// Over the ids of the window.
    pub(crate) fn seen<'a>(self, seen: impl Iterator<Item = &'a Seen>) -> Part {
        let reaches = |offset: Offset| self.applied.0 - offset.0 < WINDOW_OFFSETS;
        let kept = seen.filter(|one| reaches(one.offset) && self.remembers(one.time));
        Part::of(
            kept.map(|one| sum_of(&[&one.offset.0.to_le_bytes(), &one.time.0.to_le_bytes(), &one.hash.0])),
        )
    }

    /// Over durable ids.
    pub(crate) fn operations<'a>(self, operations: impl Iterator<Item = &'a Operation>) -> Part {
        let kept = operations.filter(|one| self.remembers(one.time));
        Part::of(kept.map(|one| {
            let position = one.position.to_string();
            let outcome = bare(&one.outcome).encode();
            sum_of(&[
                &one.hash.0,
                position.as_bytes(),
                &one.time.0.to_le_bytes(),
                &one.fingerprint.0,
                &outcome,
            ])
        }))
    }

    /// Over dead letters.
    pub(crate) fn dead_letters<'a>(letters: impl Iterator<Item = &'a DeadLetter>) -> Part {
        Part::of(letters.map(|one| {
            let reason = one.refusal.reason.code();
            let (offset, time) = (one.offset.0.to_le_bytes(), one.time.0.to_le_bytes());
            sum_of(&[&offset, &time, reason.as_bytes(), &one.raw.digest().0])
        }))
    }
}

/// An outcome without a refusal's words, which are the fold's own.
fn bare(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::DeadLettered(refusal) => {
            Outcome::DeadLettered(millpond_schemas::Refusal::new(refusal.reason, ""))
        }
        Outcome::Duplicate { of, original } => {
            let original = original.as_ref().map(|original| Box::new(bare(original)));
            Outcome::Duplicate { of: *of, original }
        }
        Outcome::Applied(_) | Outcome::Rejected(_) => outcome.clone(),
    }
}

fn sum_of(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    u128::from_le_bytes(*hash.finalize().first_chunk().expect("SHA-256 has 32 bytes"))
}

impl Copy {
    /// A copy of this name at this watermark. `sums`: what it holds.
    pub fn new(name: &str, watermark: &Watermark, sums: Sums) -> Self {
        Self {
            name: name.to_owned(),
            partition: watermark.partition.0,
            applied: watermark.applied.0,
            digest_offset: watermark.digest_offset.0,
            digest: hex(&watermark.digest.0),
            time_ms: watermark.time.0,
            sums,
            dead_letters: None,
        }
    }

    /// Its dead letters too.
    #[must_use]
    pub fn with_letters(mut self, letters: &[DeadLetter]) -> Self {
        let letter =
            |one: &DeadLetter| Letter { offset: one.offset.0, reason: one.refusal.reason.code().to_owned() };
        self.dead_letters = Some(letters.iter().map(letter).collect());
        self
    }
}
