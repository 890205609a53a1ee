//! What gathering reads is worth: single keys read through a router by many callers at once, each way, on each engine.
//!
//! Run it with `tests/stack engines -- cargo run --release -p millpond-shard --example reads`. Asserts no time.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

#[path = "apply/meter.rs"]
mod meter;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use millpond_schemas::{
    Created, Digest, Flush, Generation, LogId, Offset, OutcomeRange, PartitionId, RecordKey, Row, Tenant,
    UnixMillis, Upsert, Version, Watermark,
};
use millpond_shard::{Kind, Password, PostgresConfig, Reading, Router, Shard, SqliteConfig, Want};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions};
use tokio::time::Instant;

const PARTITIONS: u32 = 4;
const KEYS: i64 = 20_000;
const FOR: Duration = Duration::from_secs(3);
const ROUNDS: usize = 2;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = Shard::open(&SqliteConfig::new(directory.path().join("shard.sqlite"))).await.unwrap();
    measure("sqlite", &sqlite).await;
    sqlite.close().await;
    match std::env::var("MILLPOND_TEST_POSTGRES") {
        Ok(address) => on_postgres(&address).await,
        Err(_) => println!("no Postgres: MILLPOND_TEST_POSTGRES is not set"),
    }
}

async fn on_postgres(address: &str) {
    const NAME: &str = "reads_example";
    let mut tool = address.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    for sql in [format!("DROP DATABASE IF EXISTS {NAME}"), format!("CREATE DATABASE {NAME}")] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut tool).await.unwrap();
    }
    let (login, rest) = address.rsplit_once('@').unwrap();
    let (login, password) = login.rsplit_once(':').unwrap();
    let (place, _) = rest.split_once('/').unwrap();
    let config = PostgresConfig::new(format!("{login}@{place}/{NAME}"), Kind::Primary);
    let shard =
        Shard::open_postgres(&PostgresConfig { password: Some(Password::new(password)), ..config }).unwrap();
    shard.migrate().await.unwrap();
    measure("postgres", &shard).await;
    shard.close().await;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {NAME}"))).execute(&mut tool).await.unwrap();
    tool.close().await.unwrap();
}

async fn measure(engine: &str, shard: &Shard) {
    for partition in (0..PARTITIONS).map(PartitionId) {
        fill(shard, partition).await;
    }
    for callers in [1, 16, 64, 256] {
        for _ in 0..ROUNDS {
            for reading in [Reading::Direct, Reading::Gathered] {
                let router = Router::reading("s0", shard.clone(), Vec::new(), reading);
                let meter = meter::Meter::start();
                let (reads, failed) = load(&router, callers).await;
                let queries = router.report().nodes[0].queries;
                let what =
                    format!("{engine} {callers} callers {reading:?}, {queries} queries, {failed} failed");
                meter.say(&what, "read", f64::from(u32::try_from(reads).unwrap()));
            }
        }
    }
}

async fn load(router: &Router, callers: u64) -> (u64, u64) {
    let end = Instant::now() + FOR;
    let calls: Vec<_> = (0..callers).map(|n| tokio::spawn(caller(router.clone(), n, end))).collect();
    let mut sum = (0, 0);
    for call in calls {
        let (reads, failed) = call.await.unwrap();
        sum = (sum.0 + reads, sum.1 + failed);
    }
    sum
}

/// Reads one key after another. How many, and how many failed.
async fn caller(router: Router, mut n: u64, end: Instant) -> (u64, u64) {
    let (mut reads, mut failed) = (0, 0);
    while Instant::now() < end {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let partition = PartitionId(u32::try_from(n >> 40).unwrap() % PARTITIONS);
        let key = key(i64::try_from(n >> 33).unwrap() % KEYS);
        let want = Want { at_least: Offset::NONE, deadline: Instant::now() + Duration::from_secs(2) };
        match router.read(partition, vec![key], want).await {
            Ok(_) => reads += 1,
            Err(error) => {
                println!("a read failed: {error:?}");
                failed += 1;
            }
        }
    }
    (reads, failed)
}

fn key(n: i64) -> RecordKey {
    RecordKey::new(&Tenant::new("t").unwrap(), format!("key-{n:08}").as_bytes()).unwrap()
}

async fn fill(shard: &Shard, partition: PartitionId) {
    let mut at = Watermark::empty(partition, Generation::FIRST, LogId([7; 16]));
    shard.create_copy(at.clone()).await.unwrap();
    let value = Arc::new(Bytes::from(vec![b'v'; 256]));
    for from in (0..KEYS).step_by(1000) {
        let rows = (from..from + 1000).map(|n| {
            let row = Row {
                key: key(n),
                version: Version::new(Generation::FIRST, Offset(n)),
                value: Some(Bytes::clone(&value)),
                content_type: "text/plain".into(),
                expires_at: None,
                created_at: UnixMillis(n),
                updated_at: UnixMillis(n),
            };
            Upsert { row, created: Created::Known }
        });
        let last = Offset(from + 999);
        let digest = Digest(i128::from(last.0).to_be_bytes());
        let next = Watermark { applied: last, digest_offset: last, digest, ..at.clone() };
        let outcomes = OutcomeRange {
            generation: Generation::FIRST,
            partition,
            from: at.applied.next(),
            to: last,
            time: at.time,
            exceptions: Vec::new(),
            expired: Vec::new(),
        };
        let flush = Flush {
            previous: at,
            next: next.clone(),
            rows: rows.collect(),
            purged: Vec::new(),
            outcomes,
            seen: Vec::new(),
            operations: Vec::new(),
            dead_letters: Vec::new(),
        };
        assert!(shard.apply(vec![flush]).await.unwrap().fenced.is_empty());
        at = next;
    }
}
