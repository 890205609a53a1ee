//! An asynchronous replica becomes the primary: everybody follows, and the log gives it what it had missed.

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options},
    postgres::Cluster,
};
use tokio::task::block_in_place;

use super::load::Load;

/// The replica receives nothing from now on.
fn cut_off(cluster: &Cluster) -> Result<()> {
    cluster.psql(1, "postgres", "postgres", "ALTER SYSTEM SET primary_conninfo = ''")?;
    cluster.psql(1, "postgres", "postgres", "SELECT pg_reload_conf()")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_that_lagged_gets_everything_and_is_followed() -> Result<()> {
    let mut cluster = Cluster::fresh(1)?;
    let options = Options { apis: 2, writers: 2, ..Options::default() };
    let mut deployment = Deployment::start_on(Engines::shared()?.with_cluster(&cluster), &options).await?;
    let load = Load::start(&deployment, 2);
    load.more(&deployment, &[0, 1], 100).await?;
    cut_off(&cluster)?;
    let cut = async || {
        Ok(deployment.psql(0, 1, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")?
            == "0")
    };
    deployment.until("the replica is cut off", cut).await?;
    let applied: Result<Vec<i64>> = (0..4).map(|partition| deployment.applied(partition)).collect();
    load.more(&deployment, &[0, 1], 100).await?;
    for (partition, before) in (0..).zip(applied?) {
        let rises = async || Ok(deployment.applied(partition)? > before);
        deployment.until("the primary goes on alone", rises).await?;
    }

    block_in_place(|| cluster.kill(0))?;
    ensure!(deployment.psql(0, 1, "SELECT pg_promote()")? == "t", "it is promoted");
    for shard in 0..2 {
        let (name, address) = (format!("shard-{shard}"), deployment.address(shard, 1));
        let set = deployment.run(&["topology", "set-primary", &name, &address]).await?;
        ensure!(set.status.success(), "{set:?}");
    }
    deployment.primary_is(1);
    load.more(&deployment, &[0, 1], 100).await?;
    for key in deployment.keys("after") {
        for api in 0..2 {
            let (http, path) = (deployment.api(api), format!("/kv/{key}"));
            let put = http.put(&path, "new").header("Prefer", "wait=30").send().await?;
            ensure!(put.status == 200, "{put:?}{}", deployment.tails());
            let read = http.get(&path).header("KV-Min-Position", put.header("kv-position")).send().await?;
            ensure!(read.text() == "new", "{read:?}");
        }
    }
    load.stop().await?.is_there_once(&deployment).await
}
