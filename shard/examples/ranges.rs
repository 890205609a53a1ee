//! What a page of a range costs: rows of eight partitions in key order, few and many of them, each way, on each engine.
//!
//! Run it with `tests/stack engines -- cargo run --release -p millpond-shard --example ranges [KEYS]`. Asserts no time.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::time::Duration;

use bytes::Bytes;
use millpond_schemas::{
    Created, Digest, Flush, Generation, LogId, Offset, OutcomeRange, PartitionId, RecordKey, Row, Tenant,
    UnixMillis, Upsert, Version, Watermark,
};
use millpond_shard::{Kind, Password, PostgresConfig, Router, Scan, Shard, SqliteConfig, Wants};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions};
use tokio::time::Instant;

const PARTITIONS: u32 = 8;
const PAGES: usize = 200;

#[tokio::main]
async fn main() {
    let keys = std::env::args().nth(1).map_or(100_000, |keys| keys.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let sqlite = Shard::open(&SqliteConfig::new(directory.path().join("shard.sqlite"))).await.unwrap();
    measure("sqlite", sqlite, keys).await;
    match std::env::var("MILLPOND_TEST_POSTGRES") {
        Ok(address) => on_postgres(&address, keys).await,
        Err(_) => println!("no Postgres: MILLPOND_TEST_POSTGRES is not set"),
    }
}

async fn on_postgres(address: &str, keys: i64) {
    const NAME: &str = "ranges_example";
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
    measure("postgres", shard, keys).await;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {NAME}"))).execute(&mut tool).await.unwrap();
    tool.close().await.unwrap();
}

async fn measure(engine: &str, shard: Shard, keys: i64) {
    for partition in (0..PARTITIONS).map(PartitionId) {
        fill(&shard, partition, keys).await;
    }
    let router = Router::new("s0", shard, Vec::new());
    for limit in [7, 1000] {
        for reverse in [false, true] {
            for end in [None, Some(Bytes::from_static(b"l"))] {
                let bounded = end.is_some();
                let times = pages(&router, (keys, limit, reverse, end)).await;
                let [median, slowest] = [times[times.len() / 2], times[times.len() - 1]];
                println!(
                    "{engine} {keys} keys, limit {limit}, reverse {reverse}, bounded {bounded}: median {median:?}, \
                     slowest of {PAGES} {slowest:?}"
                );
            }
        }
    }
    router.close().await;
}

/// How long pages take that begin all over the keys, sorted.
async fn pages(
    router: &Router,
    (keys, limit, reverse, end): (i64, u32, bool, Option<Bytes>),
) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..PAGES {
        let at = i64::try_from(n).unwrap() * 7_919_993 % keys;
        let at = Bytes::copy_from_slice(key(at).key_bytes());
        let (start, end) = if reverse { (Bytes::new(), Some(at)) } else { (at, end.clone()) };
        let tenant = Tenant::new("t").unwrap();
        let (looked_max, bytes_max) = (limit + 64, 8 << 20);
        let scan = Scan { tenant, start, end, limit, looked_max, bytes_max, reverse };
        let wants = Wants {
            at_least: (0..PARTITIONS).map(|partition| (PartitionId(partition), Offset::NONE)).collect(),
            deadline: Instant::now() + Duration::from_mins(1),
        };
        let began = Instant::now();
        let scanned = router.range(scan, &wants).await.unwrap();
        times.push(began.elapsed());
        assert!(scanned.rows.len() <= limit as usize);
    }
    times.sort();
    times
}

fn key(n: i64) -> RecordKey {
    RecordKey::new(&Tenant::new("t").unwrap(), format!("key-{n:08}").as_bytes()).unwrap()
}

/// Every eighth key.
async fn fill(shard: &Shard, partition: PartitionId, keys: i64) {
    let mut at = Watermark::empty(partition, Generation::FIRST, LogId([7; 16]));
    shard.create_copy(at.clone()).await.unwrap();
    let value = Bytes::from(vec![b'v'; 256]);
    let own: Vec<i64> = (0..keys).filter(|n| n % i64::from(PARTITIONS) == i64::from(partition.0)).collect();
    for numbers in own.chunks(1000) {
        let first = at.applied.next();
        let rows = (first.0..).zip(numbers).map(|(offset, n)| {
            let row = Row {
                key: key(*n),
                version: Version::new(Generation::FIRST, Offset(offset)),
                value: Some(value.clone()),
                content_type: "text/plain".into(),
                expires_at: None,
                created_at: UnixMillis(*n),
                updated_at: UnixMillis(*n),
            };
            Upsert { row, created: Created::Known }
        });
        let rows: Vec<_> = rows.collect();
        let last = Offset(at.applied.0 + i64::try_from(rows.len()).unwrap());
        let digest = Digest(i128::from(last.0).to_be_bytes());
        let next = Watermark { applied: last, digest_offset: last, digest, ..at.clone() };
        let outcomes = OutcomeRange {
            generation: Generation::FIRST,
            partition,
            from: first,
            to: last,
            time: at.time,
            exceptions: Vec::new(),
            expired: Vec::new(),
        };
        let flush = Flush {
            previous: at,
            next: next.clone(),
            rows,
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
