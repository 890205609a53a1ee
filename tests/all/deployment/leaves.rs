//! What the harness promises of a deployment: it works, and nothing of it is left.

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options, Topics},
    postgres::psql,
    process::exists,
    roles::Kind,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_takes_writes_and_leaves_nothing() -> Result<()> {
    let mut deployment = Deployment::start(&Options::default()).await?;
    let put = deployment.api(0).put("/kv/a", "b").header("Prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    let read = deployment.api(0).get("/kv/a").header("Cache-Control", "no-cache").send().await?;
    ensure!(read.text() == "b", "{read:?}");

    let (dir, prefix) = (deployment.dir().to_owned(), deployment.prefix().to_owned());
    let pids = [Kind::Api, Kind::Writer].map(|kind| deployment.role(kind, 0).pid());
    let engines = Engines::shared()?;
    let databases =
        || psql(&engines.url(0, "postgres"), "SELECT datname FROM pg_database WHERE datname ~ '^test_'");
    let own = prefix.trim_start_matches("test-");
    ensure!(databases()?.contains(own), "they are there");
    drop(deployment);
    ensure!(!databases()?.contains(own), "a database is left");
    ensure!(Topics::connect(engines.kafka())?.names(&prefix)?.is_empty(), "a topic is left");
    ensure!(!dir.exists(), "the folder is left");
    ensure!(!pids.iter().any(|pid| exists(*pid)), "a process is left");
    Ok(())
}
