//! A rebuilt copy is the serving one, on another engine, and however often the rebuild was killed.

use anyhow::{Result, ensure};
use millpond_shard::{Shard, SqliteConfig};
use millpond_tests::{
    deployment::{Deployment, Options},
    server::{Fresh, Server},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{Database, assert_same, dumps_in, dumps_of, ended, rebuild, unowned, until, write};

/// P of the embedded default.
const PARTITIONS: u32 = 8;
/// Enough for several transactions of a partition.
const LINES: usize = 40_000;
const KILLS: u32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_servers_log_makes_its_copies_in_postgres_however_often_that_is_killed() -> Result<()> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (server, dir) = Fresh::start().await?.apart();
    write(&server.http, &mut random, LINES).await?;
    let database = Database::create()?;
    let into = database.address();
    let arguments = ["--into", into.as_str(), "--jobs", "1"];
    let mut killed_halfway = 0;
    for kill in 1..=KILLS {
        // While its server runs.
        let mut child = rebuild(dir.path(), &arguments)?.kill_on_drop(true).spawn()?;
        let before = database.applied();
        let wanted = before + i64::from(random.random_range(1..3000u32));
        let came = until(&mut child, || database.applied() >= wanted).await?;
        child.kill().await?;
        killed_halfway += u32::from(came);
        println!("kill {kill}: {before} to {}", database.applied());
    }
    ensure!(killed_halfway > 0, "no kill came before the end");
    let last = ended(rebuild(dir.path(), &arguments)?.arg("--json")).await?.done()?.json()?;
    ensure!(last["partitions"].as_array().is_some_and(|all| all.len() == PARTITIONS as usize), "{last}");
    server.terminate().await?;
    let wanted = dumps_of(dir.path(), PARTITIONS).await?;
    assert_same(&dumps_in(database.shard()?, PARTITIONS).await?, &wanted);
    let again = ended(&mut rebuild(dir.path(), &arguments)?).await?.done()?;
    ensure!(again.out.contains("is there already"), "{again:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_or_a_killed_servers_log_makes_the_same_in_one_file() -> Result<()> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (server, dir) = Fresh::start().await?.apart();
    write(&server.http, &mut random, 4000).await?;
    server.kill().await?;
    let file = dir.path().join("copy.sqlite");
    let into = format!("sqlite:{}", file.display());
    ended(&mut rebuild(dir.path(), &["--into", &into])?).await?.done()?;
    // Applies what the kill has left, and nothing else.
    let server = Server::small(dir.path()).await?;
    ended(&mut rebuild(dir.path(), &["--into", &into])?).await?.done()?;
    server.terminate().await?;
    let shard = Shard::open(&SqliteConfig::new(&file)).await?;
    assert_same(&dumps_in(shard, PARTITIONS).await?, &dumps_of(dir.path(), PARTITIONS).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployments_log_makes_its_copies_in_a_file_however_often_that_is_killed() -> Result<()> {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let deployment = Deployment::start(&Options::default()).await?;
    write(deployment.api(0), &mut random, LINES).await?;
    deployment.drained().await?;
    let dir = TempDir::new()?;
    let file = dir.path().join("copy.sqlite");
    let into = format!("sqlite:{}", file.display());
    let arguments = ["rebuild", "--into", &into, "--jobs", "2"];
    let mut killed_halfway = 0;
    for _ in 0..KILLS {
        let mut child = deployment.command(&arguments)?.kill_on_drop(true).spawn()?;
        let wal = file.with_extension("sqlite-wal");
        let size = || std::fs::metadata(&wal).map_or(0, |file| file.len());
        // Something, but not the same each time, is committed.
        let wanted = random.random_range(1..2_000_000);
        let came = until(&mut child, || size() >= wanted).await?;
        child.kill().await?;
        killed_halfway += u32::from(came);
    }
    ensure!(killed_halfway > 0, "no kill came before the end");
    deployment.run(&arguments).await.map(|ended| assert!(ended.status.success(), "{ended:?}"))?;
    let wanted: Vec<_> = deployment.dumps().await?.into_iter().map(unowned).collect();
    let shard = Shard::open(&SqliteConfig::new(&file)).await?;
    assert_same(&dumps_in(shard, deployment.partitions()).await?, &wanted);
    Ok(())
}
