//! On Postgres.

use millpond_shard::{Kind, PostgresConfig, Shard};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions};

use crate::{
    flushes::{KEYS, row, some, start},
    meter::Meter,
    sqlite::small,
};

const ROWS: i64 = 5_000;
const FLUSHES: i64 = 60;
const ROUNDS: i64 = 3;
/// Flushes that put every key there first.
const FILL: i64 = 300;
const SMALL: i64 = 1_000;
const SMALL_SHAPES: [(u32, i64); 5] = [(1, 1), (4, 1), (16, 3), (64, 3), (64, 30)];
const READS: i64 = 2_000;

pub(crate) async fn measure(address: &str) {
    let shard = Shard::open_postgres(&PostgresConfig::new(address, Kind::Primary)).unwrap();
    shard.migrate().await.unwrap();
    let mut tool = address.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    prepare_loop(&mut tool).await;
    let mut at = start(0);
    for copy in [at.clone(), start(1)] {
        shard.create_copy(copy).await.unwrap();
    }
    let meter = Meter::start();
    for _ in 0..FILL {
        shard.apply(some(&mut at, 1, ROWS)).await.unwrap();
    }
    meter.say("first time", "row", (FILL * ROWS) as f64);
    run(
        &mut tool,
        "INSERT INTO kv_p00001 SELECT 1, tenant, key, version, value, content_type, expires_at, created_at, \
         updated_at, tombstone, checksum FROM kv_p00000",
    )
    .await;
    for sql in ["VACUUM ANALYZE kv_p00001", "VACUUM ANALYZE kv_p00000"] {
        run(&mut tool, sql).await;
    }
    let (mut ours, mut plain) = (0.0, 0.0);
    for round in 0..ROUNDS {
        let flushes = some(&mut at, FLUSHES, ROWS);
        let meter = Meter::start();
        for flush in flushes {
            assert!(shard.apply(vec![flush]).await.unwrap().fenced.is_empty());
        }
        ours += meter.say(&format!("round {round}, flushes of {ROWS}"), "row", (ROWS * FLUSHES) as f64);
        let meter = Meter::start();
        run(&mut tool, &format!("CALL plain({round}, {FLUSHES})")).await;
        plain += meter.say(&format!("round {round}, within the server"), "row", (ROWS * FLUSHES) as f64);
    }
    println!("rate: {:.2} of the plain one", ours / plain);
    println!("HOT of updates on the leaf, by both: {:?}", hot(&mut tool).await);
    for shape in SMALL_SHAPES {
        small(&shard, shape, SMALL).await;
    }
    many(&shard).await;
    shard.close().await;
}

async fn run(tool: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(tool).await.unwrap();
}

/// The same rows, from a table in the order of flushes and keys.
async fn prepare_loop(tool: &mut PgConnection) {
    run(tool, &format!(
        "CREATE TABLE source AS SELECT DISTINCT ON (flush, key) n / {ROWS} AS flush, 'default' AS tenant, \
         convert_to('user:' || lpad((abs(hashint8extended(n, 7)) % {KEYS})::text, 12, '0'), 'UTF8') AS key, \
         n AS version, convert_to(repeat('v', 256), 'UTF8') AS value, 'application/octet-stream' AS content_type \
         FROM generate_series(0, {ROWS} * {FLUSHES}::bigint - 1) n ORDER BY flush, key")).await;
    run(tool, "CREATE INDEX ON source (flush); ANALYZE source").await;
    run(tool, "CREATE PROCEDURE plain(round bigint, flushes bigint) LANGUAGE plpgsql AS $$ \
         BEGIN FOR f IN 0 .. flushes - 1 LOOP \
         INSERT INTO kv_p00001 AS kv SELECT 1, tenant, key, (2::bigint << 48) + (round << 32) + version, value, content_type, \
         NULL, version, version, false, version FROM source WHERE flush = f \
         ON CONFLICT (tenant, key, partition) DO UPDATE SET \
         version = excluded.version, value = excluded.value, content_type = excluded.content_type, \
         expires_at = excluded.expires_at, created_at = CASE WHEN kv.tombstone OR kv.expires_at <= excluded.created_at \
         THEN excluded.created_at ELSE kv.created_at END, updated_at = excluded.updated_at, \
         tombstone = excluded.tombstone, checksum = excluded.checksum WHERE kv.version < excluded.version; \
         UPDATE watermark SET applied_offset = applied_offset + 1 WHERE partition = 1; \
         COMMIT; END LOOP; END $$").await;
}

async fn hot(tool: &mut PgConnection) -> (i64, i64) {
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    sqlx::query_as("SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'kv_p00000'")
        .fetch_one(tool)
        .await
        .unwrap()
}

/// Reads of several keys that are there, of some partitions.
async fn many(shard: &Shard) {
    for (keys, partitions) in [(1, 1), (10, 1), (10, 2), (10, 8), (10, 10), (100, 8)] {
        let meter = Meter::start();
        for n in 0..READS {
            let key = |k: u32| {
                let at = start(1_000 + k % partitions);
                (at.partition, row(&at, (n * 31 + i64::from(k / partitions)) % SMALL).key)
            };
            let found = shard.read_many((0..keys).map(key).collect()).await.unwrap();
            assert!(found.rows.iter().all(Option::is_some));
        }
        meter.say(&format!("{keys} keys of {partitions} partitions"), "read", READS as f64);
    }
}
