//! On SQLite.

use std::path::Path;

use millpond_schemas::{Flush, PartitionId, Row, Watermark};
use millpond_shard::{Shard, SqliteConfig};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::{
    flushes::{row, some, start, with_ids},
    meter::Meter,
};

const ROWS: i64 = 4_000;
const FLUSHES: i64 = 50;
const ROUNDS: i64 = 4;
/// Small transactions of one round.
const SMALL: i64 = 4_000;
/// Partitions in a small transaction, and rows of each.
const SMALL_SHAPES: [(u32, i64); 4] = [(1, 1), (4, 1), (4, 3), (16, 3)];
const READS: i64 = 20_000;

pub(crate) async fn measure(parent: Option<&str>) {
    let directory = match parent {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let one = apply_all(&directory.path().join("shard.sqlite")).await;
    let two = one_by_one(&directory.path().join("plain.sqlite")).await;
    println!("rate: {:.2} of the plain one", one / two);
    for (partitions, rows) in SMALL_SHAPES {
        let path = directory.path().join(format!("small-{partitions}-{rows}.sqlite"));
        let shard = Shard::open(&SqliteConfig::new(path)).await.unwrap();
        small(&shard, (partitions, rows), SMALL).await;
        shard.close().await;
    }
}

/// Transactions of a few rows in each of some partitions, as single calls make them, then reads of single keys.
pub(crate) async fn small(shard: &Shard, (partitions, rows): (u32, i64), count: i64) {
    let mut copies: Vec<Watermark> = (0..partitions).map(|partition| start(1_000 + partition)).collect();
    for copy in &mut copies {
        shard.create_copy(copy.clone()).await.unwrap();
        *copy = shard.watermark(copy.partition).await.unwrap().unwrap();
    }
    for round in 0..2 {
        let meter = Meter::start();
        for _ in 0..count {
            let flushes: Vec<Flush> =
                copies.iter_mut().flat_map(|at| some(at, 1, rows)).map(with_ids).collect();
            assert!(shard.apply(flushes).await.unwrap().fenced.is_empty());
        }
        meter.say(
            &format!("round {round}, {partitions} partitions of {rows} rows"),
            "transaction",
            count as f64,
        );
    }
    let meter = Meter::start();
    for offset in 0..READS {
        let key = row(&copies[0], offset % (rows * count)).key;
        assert!(shard.read(copies[0].partition, vec![key]).await.unwrap().rows[0].is_some());
    }
    meter.say("one at a time", "read", READS as f64);
}

/// Answers rows per second of the last round.
async fn apply_all(path: &Path) -> f64 {
    let shard = Shard::open(&SqliteConfig::new(path)).await.unwrap();
    let mut at = start(0);
    shard.create_copy(at.clone()).await.unwrap();
    let mut rate = 0.0;
    for round in 0..ROUNDS {
        let flushes = some(&mut at, FLUSHES, ROWS);
        let meter = Meter::start();
        for flush in flushes {
            assert!(shard.apply(vec![flush]).await.unwrap().fenced.is_empty());
        }
        rate = meter.say(&format!("round {round}, flushes of {ROWS}"), "row", (ROWS * FLUSHES) as f64);
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
    let mut at = start(0);
    let mut rate = 0.0;
    for round in 0..ROUNDS {
        let flushes = some(&mut at, FLUSHES, ROWS);
        let meter = Meter::start();
        for flush in flushes {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
            for upsert in flush.rows {
                upsert_one(&mut transaction, upsert.row).await;
            }
            transaction.commit().await.unwrap();
        }
        rate = meter.say(&format!("round {round}, one by one"), "row", (ROWS * FLUSHES) as f64);
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
    .bind(&*row.content_type)
    .bind(row.created_at.0)
    .bind(row.updated_at.0)
    .bind(row.checksum(PartitionId(0)))
    .execute(connection)
    .await
    .unwrap();
}
