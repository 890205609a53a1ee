//! What a history proves: counts, violations by invariant, or nothing (void).
//!
//! Invariant: every violation is counted; only the first of each invariant are kept in words.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::history::Run;

/// Violations of one invariant that are kept in words.
const KEPT: usize = 10;

/// A promise. The numbers are those of the drills' page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Invariant {
    /// Acked at p: the record at p is what was sent.
    I1,
    /// Refused or not-accepted: on no log. Rejected: on the log, without effect.
    I2,
    /// Unknown: zero or one effect; an Idempotency-Key: exactly one.
    I3,
    /// What a client was told of a row is what the log makes of it at the position told.
    I4,
    /// A read is not older than its token.
    I5,
    /// What one session sees never goes back.
    I6,
    /// Every copy equals what the log makes of it.
    I7,
    /// Watermarks have no gap and never pass the log's end; no dead letter without a row.
    I8,
    /// An expired key is not visible after its time, nor missing before it.
    I9,
    /// After healing nothing lags, and writes are acked.
    I10,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 10] =
        [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5, Self::I6, Self::I7, Self::I8, Self::I9, Self::I10];

    /// What it promises.
    pub fn promise(self) -> &'static str {
        match self {
            Self::I1 => "acked at p: the record at p is what was sent",
            Self::I2 => "refused or not-accepted: on no log; rejected: on the log, without effect",
            Self::I3 => "unknown: zero or one effect; with an Idempotency-Key exactly one",
            Self::I4 => "what was told of a row is what the log makes of it at that position",
            Self::I5 => "a read is not older than its token",
            Self::I6 => "what a session sees never goes back",
            Self::I7 => "every copy is what the log makes of it",
            Self::I8 => "watermarks have no gap and never pass the log's end; no dead letter without a row",
            Self::I9 => "an expired key is not visible after its time, nor missing before it",
            Self::I10 => "after healing nothing lags, and writes are acked",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The event's line, from 1; none where it is about many.
    pub line: Option<usize>,
    /// What was expected and what was seen.
    pub what: String,
}

/// How much a history holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Writes that the log is said to have, rejected ones too.
    pub ok: u64,
    /// Writes that are said not to be on the log.
    pub failed: u64,
    /// Writes that may be on the log.
    pub unknown: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that were not.
    pub reads_failed: u64,
    /// Outcomes that were looked up.
    pub looks: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Records on the log.
    pub records: u64,
    /// Records of keys that no client of this history wrote.
    pub foreign: u64,
    /// Copies of partitions.
    pub copies: u64,
    /// Dead letters on their topic, repeats too.
    pub published: u64,
    /// Looks after healing.
    pub lags: u64,
}

/// What a history proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was run.
    pub drill: String,
    /// What it was made of.
    pub seed: u64,
    /// How much there was.
    pub counts: Counts,
    /// How many, by invariant; only those with any.
    pub violated: BTreeMap<Invariant, u64>,
    /// The first few of each.
    pub violations: Vec<Violation>,
    /// Why it proves nothing; empty: it does.
    pub void: Vec<String>,
}

impl Verdict {
    /// Nothing was violated, and that means something.
    pub fn is_pass(&self) -> bool {
        self.violated.is_empty() && self.void.is_empty()
    }
}

/// A verdict in the making.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) counts: Counts,
    pub(super) void: Vec<String>,
    violated: BTreeMap<Invariant, u64>,
    violations: Vec<Violation>,
}

impl Found {
    /// Notes a violation; `what` is only asked where it is kept.
    pub(super) fn add(
        &mut self,
        invariant: Invariant,
        line: impl Into<Option<usize>>,
        what: impl FnOnce() -> String,
    ) {
        let count = self.violated.entry(invariant).or_default();
        *count += 1;
        if *count <= KEPT as u64 {
            self.violations.push(Violation { invariant, line: line.into(), what: what() });
        }
    }

    pub(super) fn verdict(mut self, run: Run) -> Verdict {
        let Counts { ok, failed, unknown, faults, records, copies, lags, .. } = self.counts;
        let mut void = |is: bool, why: &str| self.void.extend(is.then(|| why.to_owned()));
        void(ok == 0 || ok < failed + unknown, "fewer than half of the operations succeeded");
        void(faults == 0, "no fault was injected");
        void(records == 0, "the history holds no log");
        void(copies == 0, "the history holds no copy");
        void(lags == 0, "nobody looked after healing");
        self.violations.sort_by_key(|violation| violation.invariant);
        Verdict {
            drill: run.drill,
            seed: run.seed,
            counts: self.counts,
            violated: self.violated,
            violations: self.violations,
            void: self.void,
        }
    }
}
