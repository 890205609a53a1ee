//! What writes cost Postgres: few transactions, and updates that stay in place.

use std::{fmt::Write, time::Instant};

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options},
    postgres::psql,
};

/// Puts of one pass.
const PUTS: usize = 100_000;
/// Lines of one call.
const BATCH: usize = 10_000;

/// A counter of both databases, asked of a third: asking costs them nothing.
fn of_databases(deployment: &Deployment, counter: &str) -> Result<i64> {
    let like = deployment.prefix().replace('-', "_");
    let sql = format!("SELECT sum({counter}) FROM pg_stat_database WHERE starts_with(datname, '{like}_')");
    Ok(psql(&Engines::shared()?.url(0, "postgres"), &sql)?.trim().parse()?)
}

fn of_leaves(deployment: &Deployment, counter: &str) -> Result<i64> {
    let sql = format!("SELECT coalesce(sum({counter}), 0) FROM pg_stat_user_tables WHERE relname ~ '^kv_p'");
    (0..2).map(|shard| Ok(deployment.psql_primary(shard, &sql)?.parse::<i64>()?)).sum()
}

/// Puts all keys, and waits until they are applied and Postgres has counted them: counters come late.
async fn pass(deployment: &Deployment, value: &str, counter: &str) -> Result<()> {
    let (started, before) = (Instant::now(), of_databases(deployment, counter)?);
    for from in (0..PUTS).step_by(BATCH) {
        let mut lines = String::new();
        for n in from..from + BATCH {
            let _ = writeln!(lines, r#"{{"op":"put","key":"flight-{n}","value":"{value} of {n}"}}"#);
        }
        let answer = deployment.api(0).post("/batch", "application/x-ndjson", lines).send().await?;
        ensure!(answer.status == 202, "{answer:?}");
    }
    for key in deployment.keys("last") {
        let put = deployment.api(0).put(&format!("/kv/{key}"), value.to_owned());
        let put = put.header("Prefer", "wait=30").send().await?;
        ensure!(put.status == 200, "{put:?}");
    }
    println!("{PUTS} puts were applied within {:?}", started.elapsed());
    let all = i64::try_from(PUTS)?;
    let counted = async || Ok(of_databases(deployment, counter)? - before >= all);
    deployment.until("they are counted", counted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_cost_few_transactions_and_updates_stay_in_place() -> Result<()> {
    let deployment = Deployment::start(&Options::default()).await?;
    let before = of_databases(&deployment, "xact_commit")?;
    pass(&deployment, "first", "tup_inserted").await?;
    let cost = of_databases(&deployment, "xact_commit")? - before;
    println!("{PUTS} puts cost {cost} transactions");
    ensure!(cost < i64::try_from(PUTS)? / 20, "{PUTS} puts cost {cost} transactions");

    pass(&deployment, "second", "tup_updated").await?;
    let (updated, hot) = (of_leaves(&deployment, "n_tup_upd")?, of_leaves(&deployment, "n_tup_hot_upd")?);
    println!("{hot} of {updated} updates stayed in place");
    ensure!(updated >= i64::try_from(PUTS)?, "only {updated} rows were updated");
    ensure!(hot * 100 >= updated * 95, "only {hot} of {updated} updates stayed in place");
    Ok(())
}
