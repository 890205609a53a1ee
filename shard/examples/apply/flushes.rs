//! Flushes of uniform keys.

use millpond_schemas::{
    Created, Digest, Flush, Generation, IdHash, LogId, Offset, OutcomeRange, PartitionId, RecordKey, Row,
    Seen, Tenant, UnixMillis, Upsert, Version, Watermark,
};

/// How many different keys there are.
pub(crate) const KEYS: u64 = 1_000_000;

/// The watermark before the first flush.
pub(crate) fn start(partition: u32) -> Watermark {
    Watermark::empty(PartitionId(partition), Generation::FIRST, LogId([1; 16]))
}

/// `flushes` of `rows` rows each, and `at` moved past them.
pub(crate) fn some(at: &mut Watermark, flushes: i64, rows: i64) -> Vec<Flush> {
    let next = |_| {
        let flush = flush(at, rows);
        *at = flush.next.clone();
        flush
    };
    (0..flushes).map(next).collect()
}

pub(crate) fn with_ids(mut flush: Flush) -> Flush {
    let id = |upsert: &Upsert| Seen {
        offset: upsert.row.version.offset(),
        time: flush.next.time,
        hash: IdHash(digest(upsert.row.version.offset()).0),
    };
    flush.seen = flush.rows.iter().map(id).collect();
    flush.seen.sort_by_key(|seen| seen.offset);
    flush
}

pub(crate) fn row(at: &Watermark, offset: i64) -> Row {
    let number = scattered(offset.cast_unsigned()) % KEYS;
    Row {
        key: RecordKey::new(&Tenant::new("default").unwrap(), format!("user:{number:012}").as_bytes())
            .unwrap(),
        version: Version::new(at.generation, Offset(offset)),
        value: Some(vec![b'v'; 256].into()),
        content_type: "application/octet-stream".into(),
        expires_at: None,
        created_at: UnixMillis(offset),
        updated_at: UnixMillis(offset),
    }
}

pub(crate) fn flush(at: &Watermark, records: i64) -> Flush {
    let from = at.applied.0 + 1;
    let mut rows: Vec<Row> = (from..from + records).map(|offset| row(at, offset)).collect();
    rows.sort_by(|a, b| a.key.cmp(&b.key).then(b.version.cmp(&a.version)));
    rows.dedup_by(|later, first| later.key == first.key);
    let last = Offset(from + records - 1);
    let next = Watermark { applied: last, digest_offset: last, digest: digest(last), ..at.clone() };
    let outcomes = OutcomeRange {
        generation: at.generation,
        partition: at.partition,
        from: Offset(from),
        to: last,
        time: next.time,
        exceptions: vec![],
        expired: vec![],
    };
    Flush {
        previous: at.clone(),
        next,
        rows: rows.into_iter().map(|row| Upsert { row, created: Created::KeepIfLive }).collect(),
        purged: vec![],
        outcomes,
        seen: vec![],
        operations: vec![],
        dead_letters: vec![],
    }
}

fn digest(offset: Offset) -> Digest {
    Digest(i128::from(offset.0).to_be_bytes())
}

/// Spreads consecutive numbers.
fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
