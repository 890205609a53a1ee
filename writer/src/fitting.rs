//! How many records of a batch one fold takes, by what was read for them and by about how long it computes.
//!
//! Changes no result: however a log is cut into flushes, it ends in the same. Invariant: at least one record.

use std::collections::HashMap;

use bytes::Bytes;
use millpond_fold::{Entry, Given};
use millpond_schemas::{Mutation, Op, Record, RecordKey};

/// Bytes of JSON that one fold reads and writes at most, beyond its first record: about 100 ms.
const WORK_MAX: usize = 8 * 1024 * 1024;
/// From so much on a fold keeps its thread from others for too long.
const WORK_HEAVY: usize = 256 * 1024;
/// Appending copies bytes, which is so many times faster than JSON.
const APPEND_SPEED: usize = 8;
/// The shortest operation of a JSON Patch.
const PATCH_OPERATION_BYTES: usize = 27;
/// Moving a long array about is so many times faster than reading it.
const MOVE_SPEED: usize = 16;

/// So many records, and whether folding them takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fitting {
    pub(crate) records: usize,
    pub(crate) heavy: bool,
}

/// Of `entries` those that fit. `given` was read for them.
pub(crate) fn fitting(entries: &[Entry], given: &Given, value_bytes_max: usize) -> Fitting {
    let mut sizes: HashMap<&RecordKey, usize> = HashMap::new();
    let follows = entries.iter().filter_map(mutation).any(|mutation| is_long(&mutation.op));
    let mut work = 0usize;
    for (at, entry) in entries.iter().enumerate() {
        let Some(mutation) = mutation(entry) else { continue };
        let row = given.rows.get(&mutation.key);
        if row.is_none() && !mutation.is_blind() {
            return Fitting { records: at.max(1), heavy: work > WORK_HEAVY };
        }
        if !follows {
            continue;
        }
        let read = || row.and_then(|row| row.as_ref()?.value.as_ref()).map_or(0, Bytes::len);
        let size = sizes.get(&mutation.key).copied().unwrap_or_else(read);
        let (cost, after) = cost(&mutation.op, size, value_bytes_max);
        if at > 0 && work.saturating_add(cost) > WORK_MAX {
            return Fitting { records: at, heavy: work > WORK_HEAVY };
        }
        work = work.saturating_add(cost);
        sizes.insert(&mutation.key, after);
    }
    Fitting { records: entries.len(), heavy: work > WORK_HEAVY }
}

fn mutation(entry: &Entry) -> Option<&Mutation> {
    match &entry.decoded {
        Ok(Record::Mutation(mutation)) => Some(mutation),
        Ok(Record::Control(_)) | Err(_) => None,
    }
}

/// Whether an operation takes the longer the larger the value is.
fn is_long(op: &Op) -> bool {
    match op {
        Op::Append { .. } | Op::MergePatch { .. } | Op::JsonPatch { .. } => true,
        Op::Put { .. } | Op::Delete | Op::Ttl { .. } | Op::Increment { .. } => false,
    }
}

/// What an operation costs on a value of `size` bytes, and the size that it leaves at most.
fn cost(op: &Op, size: usize, value_bytes_max: usize) -> (usize, usize) {
    match op {
        Op::Put { value, .. } => (0, value.len()),
        Op::Delete => (0, 0),
        Op::Ttl { .. } | Op::Increment { .. } => (0, size),
        Op::Append { value } => {
            let after = (size + value.len()).min(value_bytes_max);
            (after / APPEND_SPEED, after)
        }
        Op::MergePatch { patch } => {
            let after = (size + patch.len()).min(value_bytes_max);
            (after, after)
        }
        Op::JsonPatch { patch } => {
            // Copies can double a short document up to the limit.
            let copies = patch.windows(4).any(|word| word == b"copy" || word[0] == b'\\');
            let after = if copies { value_bytes_max } else { (size + patch.len()).min(value_bytes_max) };
            let moves = (after / MOVE_SPEED).saturating_mul(patch.len() / PATCH_OPERATION_BYTES);
            (after.saturating_add(moves), after)
        }
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{
        CONTENT_TYPE_DEFAULT, Conditions, Digest, Offset, Raw, Row, Tenant, UnixMillis, Version,
    };

    use super::*;

    fn key(name: &str) -> RecordKey {
        RecordKey::new(&Tenant::new("t").unwrap(), name.as_bytes()).unwrap()
    }

    fn entries(ops: impl IntoIterator<Item = (&'static str, Op)>) -> Vec<Entry> {
        let entry = |(offset, (name, op))| {
            let mutation = Mutation { key: key(name), id: None, conditions: Conditions::default(), op };
            Entry {
                offset: Offset(offset),
                time: UnixMillis(1),
                digest: Digest::NONE,
                raw: Raw::default(),
                decoded: Ok(Record::Mutation(mutation)),
                skipped: false,
                time_skipped: false,
            }
        };
        (0..).zip(ops).map(entry).collect()
    }

    fn given(rows: &[(&str, usize)]) -> Given {
        let row = |name: &str, size| Row {
            key: key(name),
            version: Version(1),
            value: Some(vec![0; size].into()),
            content_type: CONTENT_TYPE_DEFAULT.into(),
            expires_at: None,
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
        };
        let rows = rows.iter().map(|(name, size)| (key(name), Some(row(name, *size)))).collect();
        Given { rows, ..Given::default() }
    }

    fn records(entries: &[Entry], given: &Given) -> usize {
        fitting(entries, given, 1 << 19).records
    }

    fn merge() -> Op {
        Op::MergePatch { patch: Bytes::from_static(b"{}") }
    }

    #[test]
    fn a_fold_ends_where_the_next_row_was_not_read() {
        let increment = || Op::Increment { by: 1, initial: 0 };
        let batch = entries([("a", increment()), ("x", Op::Delete), ("b", increment()), ("a", increment())]);
        assert_eq!(records(&batch, &given(&[("a", 1), ("b", 1)])), 4);
        assert_eq!(records(&batch, &given(&[("a", 1)])), 2);
    }

    #[test]
    fn merges_of_long_documents_are_few_and_of_short_ones_many() {
        let batch = entries((0..5000).map(|_| ("a", merge())));
        assert!(records(&batch, &given(&[("a", 100)])) > 1000);
        let fitting = fitting(&batch, &given(&[("a", 1 << 19)]), 1 << 19);
        assert_eq!(fitting, Fitting { records: WORK_MAX >> 19, heavy: true });
    }

    #[test]
    fn what_grows_within_the_batch_counts_as_it_grows() {
        let long = Op::Put { value: vec![0; 1 << 19].into(), content_type: "".into(), expiry: None };
        let mut batch = vec![("a", long)];
        batch.extend((0..5000).map(|_| ("a", merge())));
        assert_eq!(records(&entries(batch), &given(&[("a", 1)])), 1 + (WORK_MAX >> 19));
        let copy = Bytes::from_static(b"[{\"op\":\"copy\",\"from\":\"\",\"path\":\"/a\"}]");
        let batch = entries((0..5000).map(|_| ("a", Op::JsonPatch { patch: copy.clone() })));
        assert!(records(&batch, &given(&[("a", 1)])) <= WORK_MAX >> 19);
    }
}
