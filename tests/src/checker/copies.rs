//! I7 and I8: every copy is what the log makes of it at its watermark, which stands on the log.
//!
//! Invariant: a copy of a partition whose log is not whole is compared with the others at the same offset.

use std::collections::{BTreeMap, BTreeSet};

use millpond_schemas::{Digest, Offset, PartitionId};

use super::{
    oracle::{Oracle, Partition, hex},
    verdict::{Found, Invariant},
};
use crate::history::{Copy, Part, Published, Sums};

pub(super) struct Copies<'a> {
    oracle: &'a Oracle,
    /// The first copy at an offset.
    first: BTreeMap<(u32, i64), (String, Sums)>,
    /// Dead letters that have a row in some copy; whether any copy told its letters.
    rows: BTreeSet<(u32, i64)>,
    letters_told: bool,
    published: Vec<(usize, Published)>,
    partitions: BTreeSet<u32>,
}

impl<'a> Copies<'a> {
    pub(super) fn new(oracle: &'a Oracle) -> Self {
        Self {
            oracle,
            first: BTreeMap::new(),
            rows: BTreeSet::new(),
            letters_told: false,
            published: Vec::new(),
            partitions: BTreeSet::new(),
        }
    }

    pub(super) fn copy(&mut self, line: usize, copy: &Copy, found: &mut Found) {
        found.counts.copies += 1;
        self.partitions.insert(copy.partition);
        let Some(there) = self.oracle.of(PartitionId(copy.partition)) else { return };
        watermark(line, copy, there, found);
        self.letters(line, copy, there, found);
        let of_log = there.sums.get(&copy.applied).map(|sums| ("the log".to_owned(), sums.clone()));
        let first = self.first.entry((copy.partition, copy.applied));
        let (name, sums) = match of_log {
            Some(of_log) => of_log,
            None => first.or_insert_with(|| (copy.name.clone(), copy.sums.clone())).clone(),
        };
        for (part, expected, seen) in parts(&sums, &copy.sums) {
            if expected != seen {
                found.add(Invariant::I7, line, || {
                    format!(
                        "{} of {} at {}: {part} of {name} are {} ({}), its own {} ({})",
                        copy.name,
                        copy.partition,
                        copy.applied,
                        expected.count,
                        expected.sum,
                        seen.count,
                        seen.sum
                    )
                });
            }
        }
    }

    /// A copy's dead letters are the log's.
    fn letters(&mut self, line: usize, copy: &Copy, there: &Partition, found: &mut Found) {
        let Some(letters) = &copy.dead_letters else { return };
        self.letters_told = true;
        self.rows.extend(letters.iter().map(|letter| (copy.partition, letter.offset)));
        let expected = there.letters.iter().filter(|letter| letter.offset <= copy.applied);
        if there.is_whole && !expected.clone().eq(letters) {
            let missing = expected.clone().find(|letter| !letters.contains(letter));
            let invented = letters.iter().find(|letter| !expected.clone().any(|one| one == *letter));
            found.add(Invariant::I8, line, || {
                format!("{}: the dead letter {missing:?} has no row, {invented:?} has one", copy.name)
            });
        }
    }

    pub(super) fn published(&mut self, line: usize, letter: &Published, found: &mut Found) {
        found.counts.published += 1;
        self.published.push((line, letter.clone()));
    }

    pub(super) fn end(self, found: &mut Found) {
        for (line, letter) in &self.published {
            let of_log = self.oracle.of(PartitionId(letter.partition)).filter(|there| there.is_whole);
            let is_one = of_log.is_none_or(|there| {
                there.letters.iter().any(|one| one.offset == letter.offset && one.reason == letter.reason)
            });
            let has_row = !self.letters_told || self.rows.contains(&(letter.partition, letter.offset));
            if !is_one || !has_row {
                found.add(Invariant::I8, *line, || {
                    format!("{letter:?} was published, and no copy has a row for it")
                });
            }
        }
        for partition in (0u32..).take(self.oracle.partitions.len()).filter(|p| !self.partitions.contains(p))
        {
            found.void.push(format!("the history holds no copy of partition {partition}"));
        }
    }
}

/// The watermark stands on a record of the log, behind which there are only holes up to it.
fn watermark(line: usize, copy: &Copy, there: &Partition, found: &mut Found) {
    let mut wrong = |what: String| {
        found.add(Invariant::I8, line, || {
            format!("{} of {} at {}: {what}", copy.name, copy.partition, copy.applied)
        });
    };
    if copy.applied >= there.end {
        wrong(format!("the log ends at {}", there.end));
        return;
    }
    if there.halted.is_some_and(|halted| copy.applied >= halted.0) {
        wrong(format!("every fold halts at {:?}", there.halted));
        return;
    }
    if !there.is_whole {
        return;
    }
    let last = there.last_at(Offset(copy.applied));
    let (offset, digest, time) =
        last.map_or((Offset::NONE, Digest::NONE, 0), |place| (place.offset, place.digest, place.time.0));
    if copy.digest_offset != offset.0 {
        wrong(format!("its last record is {}, the log's {offset}", copy.digest_offset));
    } else if hex(&copy.digest) != Some(digest.0) {
        wrong(format!("the record {offset} that it has applied is not the log's"));
    } else if copy.time_ms != time {
        wrong(format!("its time is {}, the log's {time}", copy.time_ms));
    }
}

/// What both have summed up.
fn parts<'a>(one: &'a Sums, other: &'a Sums) -> Vec<(&'static str, &'a Part, &'a Part)> {
    let all = [
        ("rows", Some(&one.rows), Some(&other.rows)),
        ("outcomes", one.outcomes.as_ref(), other.outcomes.as_ref()),
        ("ids", one.seen.as_ref(), other.seen.as_ref()),
        ("operations", one.operations.as_ref(), other.operations.as_ref()),
        ("dead letters", one.dead_letters.as_ref(), other.dead_letters.as_ref()),
    ];
    all.into_iter().filter_map(|(name, one, other)| Some((name, one?, other?))).collect()
}
