//! A rebuilt copy serves, while writes go on.

use std::process::Output;

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options},
    postgres::psql,
};
use rand::{SeedableRng, rngs::StdRng};

use super::write;
use crate::deployment::load::Load;

/// Its output, where it has ended well.
fn done(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_shard_serves_under_load_and_nothing_acked_is_missing() -> Result<()> {
    let options = Options { apis: 2, writers: 2, ..Options::default() };
    let mut deployment = Deployment::start(&options).await?;
    write(deployment.api(0), &mut StdRng::seed_from_u64(3), 5000).await?;
    let load = Load::start(&deployment, 2);
    load.more(&deployment, &[0, 1], 50).await?;
    let database = deployment.make_database()?;
    let into = deployment.address_of(&database);
    let arguments = ["rebuild", "--shard", "shard-0", "--into", &into, "--serve", "--json"];
    let told = done(deployment.run(&arguments).await?)?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    ensure!(told["serves"] == true && told["caught_up"] == true && told["epoch"] == 2, "{told}");
    deployment.serves(0, &database);
    load.more(&deployment, &[0, 1], 50).await?;
    let key = deployment.keys("after-").remove(0);
    let put = deployment.api(1).put(&format!("/kv/{key}"), "new").header("prefer", "wait=30").send().await?;
    ensure!(put.status.is_success(), "{put:?}");
    let position = put.header("kv-position").to_owned();
    let read =
        deployment.api(0).get(&format!("/kv/{key}")).header("kv-min-position", &position).send().await?;
    ensure!(read.text() == "new", "{read:?}");
    load.stop().await?.is_there_once(&deployment).await?;
    // Nobody writes to the old database any more.
    let rows = "SELECT count(*) FROM kv WHERE convert_from(key, 'UTF8') LIKE 'after-%'";
    ensure!(deployment.psql_primary(0, rows)? == "1", "the new database has it");
    let again: serde_json::Value = serde_json::from_str(&done(deployment.run(&arguments).await?)?)?;
    ensure!(again["records"] == 0 && again["epoch"] == 2, "it serves already: {again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_goes_to_another_shard_under_load() -> Result<()> {
    let deployment = Deployment::start(&Options::default()).await?;
    let load = Load::start(&deployment, 1);
    load.more(&deployment, &[0], 50).await?;
    let into = deployment.address(1, 0);
    let told = done(deployment.run(&["rebuild", "--partition", "0", "--into", &into, "--serve"]).await?)?;
    ensure!(told.contains("it serves: epoch 2"), "{told}");
    load.more(&deployment, &[0], 50).await?;
    let shown = done(deployment.run(&["topology", "show", "--json"]).await?)?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    ensure!(shown["shards"][1]["partitions"] == serde_json::json!([0, 1, 3]), "{shown}");
    let sent = load.stop().await?;
    // What the old copy holds is of no account any more.
    let url = deployment.url(0, 0);
    psql(&url, "DELETE FROM kv WHERE partition = 0; DELETE FROM watermark WHERE partition = 0")?;
    let caught_up = deployment.until("partition 0 has caught up", async || {
        let topics = deployment.topics()?;
        let end = topics.bounds(&deployment.topic(), 0)?.1;
        let sql = "SELECT applied_offset FROM watermark WHERE partition = 0";
        Ok(deployment.psql(1, 0, sql)?.parse::<i64>()? >= end - 1)
    });
    caught_up.await?;
    sent.is_there_now(&deployment)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_database_was_lost_is_rebuilt_in_an_empty_one_at_its_address() -> Result<()> {
    let deployment = Deployment::start(&Options::default()).await?;
    let load = Load::start(&deployment, 1);
    load.more(&deployment, &[0], 100).await?;
    let server = Engines::shared()?.url(0, "postgres");
    let name = deployment.database(0).to_owned();
    psql(&server, &format!("DROP DATABASE {name} WITH (FORCE)"))?;
    let arguments = ["rebuild", "--shard", "shard-0", "--serve"];
    let missing = deployment.run(&arguments).await?;
    let said = String::from_utf8(missing.stderr)?;
    ensure!(said.contains(&format!("CREATE DATABASE \"{name}\"")), "{said}");
    load.more(&deployment, &[0], 20).await?;
    psql(&server, &format!("CREATE DATABASE {name}"))?;
    done(deployment.run(&arguments).await?)?;
    load.more(&deployment, &[0], 20).await?;
    load.stop().await?.is_there_once(&deployment).await
}
