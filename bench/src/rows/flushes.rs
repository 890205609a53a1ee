//! Flushes of puts with uniform keys, as a writer makes them of records that came over HTTP: each with its id.
//!
//! Not folded from records. Invariant: the same numbers make the same keys here, in SQL and in C.

use millpond_schemas::{
    Created, Digest, Flush, Generation, IdHash, LogId, Offset, OutcomeRange, PartitionId, RecordKey, Row,
    Seen, Tenant, UnixMillis, Upsert, Version, Watermark,
};

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 256;
/// Bytes that a user gave for a row: tenant, key, value and content type.
pub(crate) const LOGICAL_BYTES: u32 = 7 + 17 + 256 + 24;

/// Makes flushes of one partition, one after the other.
pub(crate) struct Flushes {
    /// The watermark after the last one made.
    pub(crate) at: Watermark,
    /// How many different keys there are.
    pub(crate) keys: u64,
    /// Records of each.
    pub(crate) records: i64,
    /// Shifts what is drawn.
    pub(crate) seed: u64,
}

/// The watermark of a copy of nothing.
pub(crate) fn start(partition: u32) -> Watermark {
    Watermark::empty(PartitionId(partition), Generation::FIRST, LogId([1; 16]))
}

impl Flushes {
    /// The next ones.
    pub(crate) fn some(&mut self, count: i64) -> Vec<Flush> {
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Flush {
        let from = self.at.applied.0 + 1;
        let offsets = from..from + self.records;
        let mut rows: Vec<Row> = offsets.clone().map(|offset| self.row(offset)).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key).then(b.version.cmp(&a.version)));
        rows.dedup_by(|later, first| later.key == first.key);
        let last = Offset(offsets.end - 1);
        let next =
            Watermark { applied: last, digest_offset: last, digest: digest(last.0), ..self.at.clone() };
        let outcomes = OutcomeRange {
            generation: next.generation,
            partition: next.partition,
            from: Offset(from),
            to: last,
            time: next.time,
            exceptions: vec![],
            expired: vec![],
        };
        let seen = |offset| Seen { offset: Offset(offset), time: next.time, hash: IdHash(digest(offset).0) };
        let seen = offsets.map(seen).collect();
        let previous = std::mem::replace(&mut self.at, next.clone());
        let rows = rows.into_iter().map(|row| Upsert { row, created: Created::KeepIfLive }).collect();
        Flush {
            previous,
            next,
            rows,
            purged: vec![],
            outcomes,
            seen,
            operations: vec![],
            dead_letters: vec![],
        }
    }

    fn row(&self, offset: i64) -> Row {
        let number = scattered(offset.cast_unsigned().wrapping_add(self.seed << 40)) % self.keys;
        let tenant = Tenant::new("default").expect("it is a tenant's name");
        Row {
            key: RecordKey::new(&tenant, format!("user:{number:012}").as_bytes()).expect("it is short"),
            version: Version::new(self.at.generation, Offset(offset)),
            value: Some(random(offset.cast_unsigned()).into()),
            content_type: "application/octet-stream".into(),
            expires_at: None,
            created_at: UnixMillis(offset),
            updated_at: UnixMillis(offset),
        }
    }
}

/// A value that does not compress, as far as a database's WAL is concerned.
fn random(number: u64) -> Vec<u8> {
    let words = (0..VALUE_BYTES as u64 / 8).map(|at| scattered(number << 8 | at).to_be_bytes());
    words.flatten().collect()
}

fn digest(offset: i64) -> Digest {
    Digest(scattered_wide(offset.cast_unsigned()))
}

/// Ids look random, and do not compress.
fn scattered_wide(number: u64) -> [u8; 16] {
    let wide = u128::from(scattered(number)) << 64 | u128::from(scattered(!number));
    wide.to_be_bytes()
}

/// Spreads consecutive numbers (splitmix64).
pub(crate) fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
