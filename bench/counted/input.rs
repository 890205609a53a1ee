//! The input of every part: two logs of mutations, the rows that one makes, and the other as a batch in two forms.
//!
//! Invariant: a function of its constants alone; no record of it is a dead letter.

use std::collections::HashMap;

use bytes::Bytes;
use millpond_fold::{Entry, Given, Needs, State, fold, needs};
use millpond_schemas::{
    Decoder, Flush, Generation, Keyring, LogId, Mutation, Offset, PartitionId, Received, RecordKey, Row,
    UnixMillis, Watermark,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::mutations;

/// Of each part.
pub(crate) const OPERATIONS: usize = 4_000;
/// Every key belongs to it.
pub(crate) const PARTITION: PartitionId = PartitionId(0);
/// Records in a flush: so many flushes that no one draw of a hash map's seed weighs much.
const FLUSH: usize = 250;
const SEED: u64 = 1;
const LOG_ID: LogId = LogId([7; 16]);
const START: i64 = 1_700_000_000_000;

/// All of it.
pub(crate) struct Input {
    /// Blind puts without ids, of keys that all differ.
    pub(crate) puts: Log,
    /// Every operation, with ids, conditions and hot keys.
    pub(crate) mixed: Log,
    /// What the puts become.
    pub(crate) rows: Vec<Row>,
    /// The mixed mutations, without ids, as NDJSON.
    pub(crate) lines: Bytes,
    /// The same as length-delimited records.
    pub(crate) records: Bytes,
}

/// Mutations on their way from a producer to the fold.
pub(crate) struct Log {
    pub(crate) decoder: Decoder,
    pub(crate) mutations: Vec<Mutation>,
    pub(crate) received: Vec<Received>,
    /// The entries of each flush, with what it read.
    pub(crate) flushes: Vec<(Vec<Entry>, Given)>,
}

impl Input {
    pub(crate) fn new() -> Self {
        let mut random = StdRng::seed_from_u64(SEED);
        let (puts, rows) = Log::new((0..OPERATIONS).map(|n| mutations::put(n, &mut random)).collect());
        let (mixed, _) = Log::new((0..OPERATIONS).map(|n| mutations::any(n, &mut random)).collect());
        let without_id = |mutation: &Mutation| Mutation { id: None, ..mutation.clone() };
        let batch: Vec<Mutation> = mixed.mutations.iter().map(without_id).collect();
        let (lines, records) = (mutations::lines(&batch), mutations::records(&batch));
        let mut rows: Vec<Row> = rows.into_values().collect();
        rows.sort_by_key(|row| row.version);
        assert_eq!(rows.len(), OPERATIONS, "every put makes a row");
        Self { puts, mixed, rows, lines, records }
    }
}

impl Log {
    /// Also the rows that the mutations make.
    fn new(mutations: Vec<Mutation>) -> (Self, HashMap<RecordKey, Row>) {
        let decoder = Decoder {
            log_id: LOG_ID,
            partition: PARTITION,
            partitions: 1,
            keyring: Keyring::new(1, [9; 32]),
        };
        let received: Vec<Received> = (0..).zip(&mutations).map(received).collect();
        let mut log = Self { decoder, mutations, received, flushes: Vec::new() };
        let rows = log.fold();
        (log, rows)
    }

    /// That of an empty copy.
    pub(crate) fn state() -> State {
        let watermark = Watermark::empty(PARTITION, Generation::FIRST, LOG_ID);
        State::new(watermark, Vec::new()).expect("an empty copy has no Claim to misread")
    }

    /// Finds out what each flush has to read.
    fn fold(&mut self) -> HashMap<RecordKey, Row> {
        let mut rows = HashMap::new();
        let mut state = Self::state();
        for received in self.received.chunks(FLUSH) {
            let entries: Vec<Entry> =
                received.iter().map(|one| Entry::new(&self.decoder, one.clone())).collect();
            let given = read(&rows, &needs(&state, &entries));
            let flush = fold(&state, &entries, &given).expect("no record of the input halts");
            assert_eq!(flush.dead_letters, [], "every record can apply");
            state.advance(&flush);
            apply(&mut rows, flush);
            self.flushes.push((entries, given));
        }
        rows
    }
}

fn received((offset, mutation): (i64, &Mutation)) -> Received {
    Received { offset: Offset(offset), time: UnixMillis(START + offset), raw: mutation.encode() }
}

/// Ids are all different, so there is no operation to find.
fn read(rows: &HashMap<RecordKey, Row>, needs: &Needs) -> Given {
    let rows = needs.keys.iter().map(|key| (key.clone(), rows.get(key).cloned())).collect();
    Given { rows, ..Given::default() }
}

fn apply(rows: &mut HashMap<RecordKey, Row>, flush: Flush) {
    rows.extend(flush.rows.into_iter().map(|upsert| (upsert.row.key.clone(), upsert.row)));
}
