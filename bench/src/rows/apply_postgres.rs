//! Applying to Postgres, beside the same upsert in a loop within the server.
//!
//! Ours is [`Shard::apply`] as a writer calls it: rows, ids and outcomes of a flush and its watermark, one transaction.
//! The baseline has its rows in a table, in the order of flushes and keys, and upserts them into a leaf of its own.
//! Invariant: both leaves have the same keys, each stretch begins after a checkpoint, and both sides commit as often.

use anyhow::{Result, ensure};
use millpond_schemas::Flush;
use millpond_shard::Shard;

use super::{
    Plan,
    engines::{Database, Engines, NO_ENGINES},
    flushes::{Flushes, LOGICAL_BYTES, VALUE_BYTES, start},
    line::Line,
    sample::{Compared, Runs, Sample, Side, Stretch, float},
};

/// Records of a flush.
pub(crate) const ROWS: i64 = 5_000;
const RATE: &str = "apply to Postgres: rows/s";
const CPU: &str = "apply to Postgres: CPU of all";
const HOT: &str = "apply to Postgres: HOT share of updates";
const WAL: &str = "apply to Postgres: WAL / logical bytes";
/// Bytes of WAL for each logical byte.
pub(crate) const WAL_US: &str = "wal";
const FULL_PAGES: &str = "full_pages";
pub(crate) const DURABILITY: &str = "fsync, synchronous_commit=on, one commit a flush";

/// Rows per second, CPU time, HOT share, WAL.
pub(crate) async fn run(plan: &Plan) -> Result<Vec<Line>> {
    let Some(engines) = Engines::here() else {
        let missing = [(RATE, 0.92), (HOT, 0.95), (WAL, 0.5)];
        return Ok(missing.map(|(stage, target)| Line::missing(stage, target, NO_ENGINES)).to_vec());
    };
    let (keys, flushes) = plan.pick((200_000, 40), (1_000_000, 80));
    let database = engines.database()?;
    let shard = Shard::open_postgres(&database.config())?;
    shard.migrate().await?;
    for partition in [0, 1] {
        shard.create_copy(start(partition)).await?;
    }
    fill(&database, keys, flushes)?;
    let at = start(0);
    let mut ours = Flushes { at, keys, records: ROWS, seed: plan.seed };
    let runs = Runs::interleave(plan.repeats, async |side, number| match side {
        Side::Baseline => {
            measured(&database, flushes, async || {
                database.psql(&format!("CALL plain({number}, {flushes})")).map(drop)
            })
            .await
        }
        Side::Ours => {
            let made = ours.some(flushes);
            measured(&database, flushes, async || apply(&shard, made).await).await
        }
    })
    .await?;
    shard.close().await;
    lines(&database, &runs, keys)
}

fn lines(database: &Database, runs: &Runs, keys: u64) -> Result<Vec<Line>> {
    // A session hands its counts in at its end.
    let hot = |leaf: &str| {
        database.number(&format!(
            "SELECT n_tup_hot_upd::float8 / greatest(n_tup_upd, 1) FROM pg_stat_user_tables WHERE relname = '{leaf}'"
        ))
    };
    let (plain, ours) = (hot("kv_p00001")?, hot("kv_p00000")?);
    let wal = Compared { measure: WAL_US, unit: "of logical", cost: true, target: 0.5 };
    let all = vec![
        runs.line(RATE, Compared::rate("rows/s", 0.92)).note(runs.shares()),
        runs.line(CPU, Compared::cpu(1.25)),
        Line::new(HOT, "share", 0.95).measured(plain, ours, ours),
        // The target is about our own WAL; the baseline shows what Postgres itself makes of these rows.
        Line::new(WAL, wal.unit, wal.target)
            .measured(runs.baseline(WAL_US), runs.ours(WAL_US), 1.0 / runs.ours(WAL_US))
            .note(format!(
                "{LOGICAL_BYTES} B are logical, ratio = logical / WAL; full page images a row: baseline {:.3}, ours {:.3}",
                runs.baseline(FULL_PAGES),
                runs.ours(FULL_PAGES)
            )),
    ];
    let note = format!(
        "uniform over {keys} keys, {VALUE_BYTES} B, flushes of {ROWS}, a checkpoint before each stretch"
    );
    Ok(all
        .into_iter()
        .map(|line| line.durable(DURABILITY))
        .enumerate()
        .map(|(at, line)| if at == 0 { line.note(note.clone()) } else { line })
        .collect())
}

/// A stretch of so many flushes, with its WAL.
pub(crate) async fn measured(
    database: &Database,
    flushes: i64,
    work: impl AsyncFnOnce() -> Result<()>,
) -> Result<Sample> {
    const LSN: &str = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')";
    const FULL: &str = "SELECT wal_fpi FROM pg_stat_wal";
    database.psql("CHECKPOINT")?;
    let (wal, full) = (database.number(LSN)?, database.number(FULL)?);
    let rows = float((ROWS * flushes).unsigned_abs());
    let stretch = Stretch::start()?;
    work().await?;
    let mut sample = stretch.end(rows)?;
    sample.set(WAL_US, (database.number(LSN)? - wal) / rows / f64::from(LOGICAL_BYTES));
    sample.set(FULL_PAGES, (database.number(FULL)? - full) / rows);
    Ok(sample)
}

/// One flush after the other.
pub(crate) async fn apply(shard: &Shard, flushes: Vec<Flush>) -> Result<()> {
    for flush in flushes {
        let applied = shard.apply(vec![flush]).await?;
        ensure!(applied.fenced.is_empty(), "a flush was fenced");
    }
    Ok(())
}

/// A value of `VALUE_BYTES` that does not compress, of a row's `n`.
const RANDOM: &str =
    "(SELECT decode(string_agg(md5(n || '-' || i), ''), 'hex') FROM generate_series(1, 16) i)";

/// The leaf of a partition below 10 holds every key.
pub(crate) fn fill_leaf(database: &Database, partition: u32, keys: u64) -> Result<()> {
    database.psql(&format!(
        "INSERT INTO kv_p0000{partition} SELECT {partition}, 'default', \
         convert_to('user:' || lpad(n::text, 12, '0'), 'UTF8'), n, {RANDOM}, \
         'application/octet-stream', NULL, 0, 0, false, n FROM generate_series(0, {keys}::bigint - 1) n"
    ))?;
    database.psql(&format!("VACUUM ANALYZE kv_p0000{partition}")).map(drop)
}

/// Both leaves hold every key; the baseline's rows and its procedure are there.
fn fill(database: &Database, keys: u64, flushes: i64) -> Result<()> {
    for partition in [0, 1] {
        fill_leaf(database, partition, keys)?;
    }
    database.psql(&format!(
        "CREATE TABLE source AS SELECT DISTINCT ON (flush, key) n / {ROWS} AS flush, 'default' AS tenant, \
         convert_to('user:' || lpad((abs(hashint8extended(n, 7)) % {keys})::text, 12, '0'), 'UTF8') AS key, \
         n AS version, {RANDOM} AS value, \
         'application/octet-stream' AS content_type \
         FROM generate_series(0, {ROWS} * {flushes}::bigint - 1) n ORDER BY flush, key"
    ))?;
    database.psql("CREATE INDEX ON source (flush)")?;
    database.psql("VACUUM ANALYZE source")?;
    database.psql(PLAIN).map(drop)
}

/// The shard's own statement, fed from a table.
const PLAIN: &str = "CREATE PROCEDURE plain(round bigint, flushes bigint) LANGUAGE plpgsql AS $$ \
    BEGIN FOR f IN 0 .. flushes - 1 LOOP \
    INSERT INTO kv_p00001 AS kv (partition, tenant, key, version, value, content_type, expires_at, created_at, \
    updated_at, tombstone, checksum) \
    SELECT 1, tenant, key, (2::bigint << 48) + (round << 32) + version, value, content_type, NULL, version, version, \
    false, version FROM source WHERE flush = f \
    ON CONFLICT (tenant, key, partition) DO UPDATE SET \
    version = excluded.version, value = excluded.value, content_type = excluded.content_type, \
    expires_at = excluded.expires_at, created_at = CASE WHEN kv.tombstone OR kv.expires_at <= excluded.created_at \
    THEN excluded.created_at ELSE kv.created_at END, updated_at = excluded.updated_at, \
    tombstone = excluded.tombstone, checksum = excluded.checksum WHERE kv.version < excluded.version; \
    UPDATE watermark SET applied_offset = applied_offset + 1 WHERE partition = 1; \
    COMMIT; END LOOP; END $$";
