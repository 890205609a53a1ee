//! How fast flushes are applied: rows per second and CPU-µs a row, beside one prepared upsert per row.
//!
//! `cargo run --release -p millpond-shard --example apply [DIRECTORY]`. Keys are uniform over a million, values 256 B.
//! Last what small flushes and single reads cost: what they wait for is not SQLite but the way to its thread.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement: it ends at the first error"
)]

use std::{fs, path::Path, time::Instant};

use millpond_schemas::{
    Created, Digest, Flush, Generation, IdHash, LogId, Offset, OutcomeRange, PartitionId, RecordKey, Row,
    Seen, Tenant, UnixMillis, Upsert, Version, Watermark,
};
use millpond_shard::{Shard, SqliteConfig};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

const ROWS: i64 = 4_000;
const FLUSHES: i64 = 50;
const ROUNDS: i64 = 4;
const KEYS: u64 = 1_000_000;
/// Small transactions of one round.
const SMALL: i64 = 4_000;
/// Partitions in a small transaction, and rows of each.
const SMALL_SHAPES: [(u32, i64); 4] = [(1, 1), (4, 1), (4, 3), (16, 3)];
const READS: i64 = 20_000;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let directory = match std::env::args().nth(1) {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let one = apply_all(&directory.path().join("shard.sqlite")).await;
    let two = one_by_one(&directory.path().join("plain.sqlite")).await;
    println!("rate: {:.2} of the plain one", one / two);
    for (partitions, rows) in SMALL_SHAPES {
        small(&directory.path().join(format!("small-{partitions}-{rows}.sqlite")), partitions, rows).await;
    }
}

/// Transactions of a few rows in each of some partitions, as single calls make them, then reads of single keys.
async fn small(path: &Path, partitions: u32, rows: i64) {
    let shard = Shard::open(&SqliteConfig::new(path)).await.unwrap();
    let mut copies: Vec<Watermark> = (0..partitions)
        .map(|partition| Watermark::empty(PartitionId(partition), Generation::FIRST, LogId([1; 16])))
        .collect();
    for copy in &copies {
        shard.create_copy(copy.clone()).await.unwrap();
    }
    for round in 0..3 {
        let meter = Meter::start();
        for _ in 0..SMALL {
            let flushes: Vec<Flush> = copies.iter().map(|at| with_ids(flush(at, rows))).collect();
            copies = flushes.iter().map(|flush| flush.next.clone()).collect();
            assert!(shard.apply(flushes).await.unwrap().fenced.is_empty());
        }
        meter.say_each(
            &format!("round {round}, {partitions} partitions of {rows} rows"),
            "transaction",
            SMALL,
        );
    }
    let meter = Meter::start();
    for offset in 0..READS {
        let key = row(&copies[0], offset % (rows * SMALL)).key;
        assert!(shard.read(PartitionId(0), vec![key]).await.unwrap().rows[0].is_some());
    }
    meter.say_each("one at a time", "read", READS);
    shard.close().await;
}

fn with_ids(mut flush: Flush) -> Flush {
    let id = |upsert: &Upsert| Seen {
        offset: Offset(upsert.row.version.offset().0),
        time: flush.next.time,
        hash: IdHash(digest(upsert.row.version.offset()).0),
    };
    flush.seen = flush.rows.iter().map(id).collect();
    flush.seen.sort_by_key(|seen| seen.offset);
    flush
}

/// Answers rows per second of the last round.
async fn apply_all(path: &Path) -> f64 {
    let shard = Shard::open(&SqliteConfig::new(path)).await.unwrap();
    let mut at = Watermark::empty(PartitionId(0), Generation::FIRST, LogId([1; 16]));
    shard.create_copy(at.clone()).await.unwrap();
    let mut rate = 0.0;
    for round in 0..ROUNDS {
        let flushes: Vec<Flush> = (0..FLUSHES)
            .map(|_| {
                let flush = flush(&at, ROWS);
                at = flush.next.clone();
                flush
            })
            .collect();
        let meter = Meter::start();
        for flush in flushes {
            assert!(shard.apply(vec![flush]).await.unwrap().fenced.is_empty());
        }
        rate = meter.say(&format!("round {round}, flushes of {ROWS}"));
    }
    shard.close().await;
    rate
}

/// The same rows, each by one prepared statement, a transaction for as many.
async fn one_by_one(path: &Path) -> f64 {
    Shard::open(&SqliteConfig::new(path)).await.unwrap().close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).pragma("synchronous", "NORMAL");
    let options = options.pragma("wal_autocheckpoint", "16000").pragma("cache_size", "-16384");
    let mut connection = options.connect().await.unwrap();
    let mut at = Watermark::empty(PartitionId(0), Generation::FIRST, LogId([1; 16]));
    let mut rate = 0.0;
    for round in 0..ROUNDS {
        let flushes: Vec<Flush> = (0..FLUSHES)
            .map(|_| {
                let flush = flush(&at, ROWS);
                at = flush.next.clone();
                flush
            })
            .collect();
        let meter = Meter::start();
        for flush in flushes {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
            for upsert in flush.rows {
                upsert_one(&mut transaction, upsert.row).await;
            }
            transaction.commit().await.unwrap();
        }
        rate = meter.say(&format!("round {round}, one by one"));
    }
    rate
}

async fn upsert_one(connection: &mut SqliteConnection, row: Row) {
    sqlx::query(
        "INSERT INTO kv VALUES (0, ?, ?, ?, ?, ?, NULL, ?, ?, 0, ?) ON CONFLICT (tenant, key, partition) DO UPDATE SET \
         version = excluded.version, value = excluded.value, content_type = excluded.content_type, \
         expires_at = excluded.expires_at, updated_at = excluded.updated_at, tombstone = excluded.tombstone, \
         checksum = excluded.checksum WHERE kv.version < excluded.version",
    )
    .bind(row.key.tenant())
    .bind(row.key.key_bytes())
    .bind(row.version.0)
    .bind(row.value.as_deref())
    .bind(&row.content_type)
    .bind(row.created_at.0)
    .bind(row.updated_at.0)
    .bind(row.checksum(PartitionId(0)))
    .execute(connection)
    .await
    .unwrap();
}

fn row(at: &Watermark, offset: i64) -> Row {
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

fn flush(at: &Watermark, records: i64) -> Flush {
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

struct Meter {
    started: Instant,
    cpu_ms: f64,
}

impl Meter {
    fn start() -> Self {
        Self { started: Instant::now(), cpu_ms: cpu_ms() }
    }

    fn say(&self, what: &str) -> f64 {
        let rows = (ROWS * FLUSHES) as f64;
        let rate = rows / self.started.elapsed().as_secs_f64();
        println!("{what}: {rate:.0} rows/s, {:.1} CPU-µs a row", (cpu_ms() - self.cpu_ms) * 1000.0 / rows);
        rate
    }

    fn say_each(&self, what: &str, one: &str, count: i64) {
        let count = count as f64;
        let rate = count / self.started.elapsed().as_secs_f64();
        println!(
            "{what}: {rate:.0} {one}s/s, {:.0} CPU-µs a {one}",
            (cpu_ms() - self.cpu_ms) * 1000.0 / count
        );
    }
}

/// What this process has used, from Linux: fields 14 and 15 of its stat, in ticks of 10 ms.
fn cpu_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u32>().unwrap();
    f64::from(ticks(11) + ticks(12)) * 10.0
}
