//! Makes rows, flushes and copies for the tests.

use bytes::Bytes;
use millpond_schemas::{
    ByteString, Created, DeadLetter, DeadReason, Digest, Exception, Fingerprint, Flush, Generation, IdHash,
    LogId, Offset, Operation, Outcome, OutcomeRange, PartitionId, Position, Raw, RecordKey, Refusal,
    Rejected, Rejection, Row, Seen, Tenant, UnixMillis, Upsert, Version, Watermark,
};
use millpond_shard::Shard;

pub(crate) const LOG: LogId = LogId([7; 16]);
pub(crate) const P0: PartitionId = PartitionId(0);
pub(crate) const P1: PartitionId = PartitionId(1);
/// The year 9999 is still to come.
pub(crate) const FAR: UnixMillis = UnixMillis(253_402_300_799_999);
pub(crate) const GENERATION: Generation = Generation::FIRST;

pub(crate) fn tenant(name: &'static str) -> Tenant {
    Tenant::new(name).unwrap()
}

pub(crate) fn key(bytes: impl AsRef<[u8]>) -> RecordKey {
    RecordKey::new(&tenant("t"), bytes.as_ref()).unwrap()
}

pub(crate) fn version(offset: i64) -> Version {
    Version::new(GENERATION, Offset(offset))
}

/// The time of the record at `offset`.
pub(crate) fn time(offset: i64) -> UnixMillis {
    UnixMillis(1_000 + offset)
}

/// A row put at `offset` that never expires.
pub(crate) fn live(key: RecordKey, offset: i64, value: impl Into<Bytes>) -> Row {
    Row {
        key,
        version: version(offset),
        value: Some(value.into()),
        content_type: "text/plain".into(),
        expires_at: None,
        created_at: time(offset),
        updated_at: time(offset),
    }
}

pub(crate) fn tombstone(key: RecordKey, offset: i64) -> Row {
    Row::tombstone(key, version(offset), time(offset))
}

pub(crate) fn known(row: Row) -> Upsert {
    Upsert { row, created: Created::Known }
}

pub(crate) fn keep_if_live(row: Row) -> Upsert {
    Upsert { row, created: Created::KeepIfLive }
}

/// A copy as a test's writer knows it.
pub(crate) struct Copy {
    pub(crate) at: Watermark,
}

impl Copy {
    /// Creates an empty one.
    pub(crate) async fn create(shard: &Shard, partition: PartitionId) -> Self {
        let at = Watermark::empty(partition, GENERATION, LOG);
        shard.create_copy(at.clone()).await.unwrap();
        Self { at }
    }

    /// A flush of the next `records` records, with these rows.
    pub(crate) fn flush(&self, records: i64, rows: Vec<Upsert>) -> Flush {
        let last = self.at.applied.0 + records;
        let next = Watermark {
            applied: Offset(last),
            digest_offset: Offset(last),
            digest: digest(last),
            time: time(last),
            ..self.at.clone()
        };
        let outcomes = OutcomeRange {
            generation: GENERATION,
            partition: self.at.partition,
            from: self.at.applied.next(),
            to: next.applied,
            time: next.time,
            exceptions: Vec::new(),
            expired: Vec::new(),
        };
        Flush {
            previous: self.at.clone(),
            next,
            rows,
            purged: Vec::new(),
            outcomes,
            seen: Vec::new(),
            operations: Vec::new(),
            dead_letters: Vec::new(),
        }
    }

    /// Applies a flush that nothing stands against.
    pub(crate) async fn apply(&mut self, shard: &Shard, flush: Flush) {
        self.at = flush.next.clone();
        assert_eq!(shard.apply(vec![flush]).await.unwrap().fenced, []);
    }

    /// Applies rows, each of which is one record.
    pub(crate) async fn put(&mut self, shard: &Shard, rows: Vec<Upsert>) {
        let flush = self.flush(i64::try_from(rows.len()).unwrap(), rows);
        self.apply(shard, flush).await;
    }
}

/// The digest of the record at `offset`.
pub(crate) fn digest(offset: i64) -> Digest {
    Digest(i128::from(offset).to_be_bytes())
}

pub(crate) fn id(number: u8) -> IdHash {
    IdHash([number; 16])
}

pub(crate) fn rejection(offset: i64) -> Exception {
    let rejected = Rejected { rejection: Rejection::ConditionFailed, current: Some(version(offset)) };
    Exception { offset: Offset(offset), id: Some([9; 16]), outcome: Outcome::Rejected(rejected) }
}

pub(crate) fn seen(offset: i64) -> Seen {
    Seen { offset: Offset(offset), time: time(offset), hash: id(u8::try_from(offset % 251).unwrap()) }
}

pub(crate) fn operation(number: u8, offset: i64) -> Operation {
    Operation {
        hash: id(number),
        position: Position { generation: GENERATION, partition: P0, offset: Offset(offset) },
        time: time(offset),
        fingerprint: Fingerprint([number; 16]),
        outcome: Outcome::Applied(None),
    }
}

pub(crate) fn dead_letter(offset: i64) -> DeadLetter {
    DeadLetter {
        offset: Offset(offset),
        time: time(offset),
        refusal: Refusal::new(DeadReason::KeyInvalid, "not tenant/key"),
        raw: Raw {
            key: Some(Bytes::from_static(b"\0\xff")),
            headers: vec![
                ("kv-format".into(), Bytes::from_static(b"\xfe")),
                (ByteString::new(), Bytes::new()),
            ],
            value: None,
        },
    }
}

/// The row of one key, live now.
pub(crate) async fn read_one(shard: &Shard, partition: PartitionId, key: RecordKey) -> Option<Row> {
    shard.read(partition, vec![key]).await.unwrap().rows.pop().unwrap()
}
