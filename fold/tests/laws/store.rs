//! A shard in a few maps: applies flushes as the real ones do, and refuses what they would refuse.
//!
//! Invariant: holds exactly what a copy holds; whatever is told of its past went through the flushes' encodings.

use std::collections::{BTreeMap, HashMap};

use millpond_fold::{Due, DueKind, Given, Needs, State};
use millpond_schemas::{
    Created, DeadLetter, Exception, Flush, IdHash, Offset, Operation, Outcome, OutcomeRange, RecordKey, Row,
    Seen, UnixMillis, Watermark,
    limits::{MEMORY_MS, WINDOW_OFFSETS},
};

/// One copy of a partition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Store {
    pub(crate) watermark: Watermark,
    pub(crate) rows: BTreeMap<RecordKey, Row>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) expired: Vec<RecordKey>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) operations: BTreeMap<IdHash, Operation>,
    pub(crate) dead_letters: Vec<DeadLetter>,
}

impl Store {
    pub(crate) fn new(watermark: Watermark) -> Self {
        Self {
            watermark,
            rows: BTreeMap::new(),
            exceptions: Vec::new(),
            expired: Vec::new(),
            seen: Vec::new(),
            operations: BTreeMap::new(),
            dead_letters: Vec::new(),
        }
    }

    /// What a writer starts from.
    pub(crate) fn state(&self) -> State {
        State::new(self.watermark.clone(), self.seen.clone()).unwrap()
    }

    pub(crate) fn read(&self, needs: &Needs) -> Given {
        let operation = |hash: &IdHash| Some((*hash, self.operations.get(hash)?.clone()));
        Given {
            rows: needs.keys.iter().map(|key| (key.clone(), self.rows.get(key).cloned())).collect(),
            operations: needs.operations.iter().filter_map(operation).collect::<HashMap<_, _>>(),
            due: needs.due.map(|due| self.due(due)).unwrap_or_default(),
        }
    }

    fn due(&self, due: Due) -> Vec<Row> {
        let wanted = |row: &&Row| {
            row.is_tombstone() == (due.kind == DueKind::Tombstones)
                && row.expires_at.is_some_and(|at| at <= due.until)
        };
        let mut rows: Vec<Row> = self.rows.values().filter(wanted).cloned().collect();
        rows.sort_by(|a, b| (a.expires_at, &a.key).cmp(&(b.expires_at, &b.key)));
        rows.truncate(due.rows_max as usize);
        rows
    }

    /// One transaction.
    pub(crate) fn apply(&mut self, flush: &Flush) {
        assert_eq!(flush.previous, self.watermark, "compare-and-set");
        assert!(flush.rows.is_sorted_by(|a, b| a.row.key < b.row.key), "one row per key, sorted");
        for upsert in &flush.rows {
            let mut row = upsert.row.clone();
            if let Some(old) = self.rows.get(&row.key) {
                assert!(old.version < row.version, "row-ahead");
                if upsert.created == Created::KeepIfLive && old.is_live_at(row.created_at) {
                    row.created_at = old.created_at;
                }
            }
            self.rows.insert(row.key.clone(), row);
        }
        for (key, version) in &flush.purged {
            let removed = self.rows.remove(key).expect("a purged row is there");
            assert!(removed.is_tombstone() && removed.version == *version, "only old tombstones go");
        }
        self.keep_outcomes(flush);
        let first = flush.outcomes.from;
        self.seen.extend(Seen::unpack(first, Seen::pack(first, &flush.seen)).unwrap());
        for operation in &flush.operations {
            let outcome = Outcome::decode(operation.outcome.encode()).unwrap();
            self.operations.insert(operation.hash, Operation { outcome, ..operation.clone() });
        }
        self.dead_letters.extend(flush.dead_letters.iter().cloned());
        self.watermark = flush.next.clone();
    }

    fn keep_outcomes(&mut self, flush: &Flush) {
        let range = OutcomeRange::decode(flush.outcomes.encode()).unwrap();
        assert_eq!(range, flush.outcomes, "outcomes survive their encoding");
        assert_eq!((range.from, range.to), (flush.previous.applied.next(), flush.next.applied));
        assert_eq!(range.time, flush.next.time);
        let inside = |offset: Offset| range.from <= offset && offset <= range.to;
        assert!(range.exceptions.iter().all(|one| inside(one.offset) && !one.outcome.is_plain()));
        assert!(range.exceptions.is_sorted_by(|a, b| a.offset < b.offset));
        self.exceptions.extend(range.exceptions);
        self.expired.extend(range.expired);
    }

    /// Deletes what the fold no longer asks for: it may, at any moment, and need not.
    pub(crate) fn tidy(&mut self) {
        let (applied, now) = (self.watermark.applied.0, self.watermark.time);
        let young = |time: UnixMillis| now.ms_since(time) < MEMORY_MS;
        self.seen.retain(|seen| young(seen.time) && applied - seen.offset.0 < WINDOW_OFFSETS);
        self.operations.retain(|_, operation| young(operation.time));
    }
}
