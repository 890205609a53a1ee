//! Cost by how many rows the table has: applying to Postgres, flush by flush, keys uniform over all of them.
//!
//! Also bytes a row on disk, which the capacity formula needs. Invariant: each size has a database of its own, every key is
//! there before, and each stretch begins after a checkpoint.

use anyhow::{Context, Result};
use millpond_shard::Shard;

use super::{Grown, cost::Costs};
use crate::{
    progress::Steps,
    rows::{
        Plan,
        apply_postgres::{DURABILITY, ROWS, WAL_US, apply, fill_leaf, measured},
        engines::{Database, Engines, NO_ENGINES},
        flushes::{Flushes, LOGICAL_BYTES, VALUE_BYTES, start},
        sample::Sample,
    },
};

const QUICK: [u64; 3] = [10_000, 100_000, 1_000_000];
const LONG: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// Rows that were written for a record: fewer than one where a flush has a key twice.
const WRITTEN: &str = "rows_per_operation";
/// With its indexes: freshly filled, and after all stretches.
const FILLED: &str = "disk_bytes_per_row_filled";
/// See [`FILLED`]. The name is read by the capacity formula.
pub(crate) const DISK: &str = "disk_bytes_per_row";

/// 10,000 to a million, or ten.
pub(super) async fn measure(plan: &Plan) -> Result<Grown> {
    let engines = Engines::here().context(NO_ENGINES)?;
    let columns: (_, &[_]) = ("rows", &[WRITTEN, WAL_US, FILLED, DISK]);
    let mut costs =
        Costs::new("Cost by rows in the table, applying to Postgres", "rows in the table", columns);
    costs.comments = vec![
        format!("flushes of {ROWS} puts of {VALUE_BYTES} B, uniform over the rows; {DURABILITY}"),
        format!(
            "{WAL_US}: bytes of WAL for each of {LOGICAL_BYTES} logical bytes; {DISK}: pg_total_relation_size of the \
             leaf over its rows, after all stretches and before any vacuum of ours"
        ),
        "postgres: the primary, and a replica that replays".to_owned(),
    ];
    let sizes: &[u64] = plan.pick::<&[_]>(&QUICK, &LONG);
    let bar = Steps::show("rows", sizes.len());
    for keys in sizes {
        bar.at(format!("{keys}: filling"));
        let database = engines.database()?;
        let samples = one(plan, &database, *keys, &bar).await?;
        #[expect(clippy::cast_precision_loss, reason = "ten millions at most")]
        bar.done(&costs.add(*keys as f64, "", Ok(samples)));
    }
    Ok(costs.grown())
}

async fn one(plan: &Plan, database: &Database, keys: u64, bar: &Steps) -> Result<Vec<Sample>> {
    let flushes = plan.pick(40, 80);
    let shard = Shard::open_postgres(&database.config())?;
    shard.migrate().await?;
    shard.create_copy(start(0)).await?;
    fill_leaf(database, 0, keys)?;
    let filled = disk_bytes(database)?;
    let (mut ours, mut samples) =
        (Flushes { at: start(0), keys, records: ROWS, seed: plan.seed }, Vec::new());
    for repeat in 0..plan.repeats {
        bar.at(format!("{keys}: stretch {} of {}", repeat + 1, plan.repeats));
        let made = ours.some(flushes);
        let written: usize = made.iter().map(|flush| flush.rows.len()).sum();
        let mut sample = measured(database, flushes, async || apply(&shard, made).await).await?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        sample.set(WRITTEN, written as f64 / (ROWS * flushes) as f64);
        samples.push(sample);
    }
    shard.close().await;
    let disk = disk_bytes(database)?;
    for sample in &mut samples {
        sample.set(FILLED, filled);
        sample.set(DISK, disk);
    }
    Ok(samples)
}

/// Of a row.
fn disk_bytes(database: &Database) -> Result<f64> {
    database.number("SELECT pg_total_relation_size('kv_p00000')::float8 / (SELECT count(*) FROM kv_p00000)")
}
