//! Targets that a rebuild does not touch.

use anyhow::{Result, ensure};
use millpond_shard::{Shard, SqliteConfig};
use millpond_tests::server::Fresh;
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{Database, ended, rebuild, write};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rebuilds_into_one_target_the_second_says_who_is_the_first() -> Result<()> {
    let server = Fresh::start().await?;
    let (database, dir) = (Database::create()?, TempDir::new()?);
    let file = dir.path().join("copy.sqlite");
    let sqlite = Shard::open(&SqliteConfig::new(&file)).await?;
    let postgres = database.shard()?;
    postgres.migrate().await?;
    for (shard, into) in [(sqlite, format!("sqlite:{}", file.display())), (postgres, database.address())] {
        let hold = shard.hold("the first of two").await?;
        let second = ended(&mut rebuild(server.data_dir(), &["--into", &into])?).await?;
        second.refused(4, "is being rebuilt by the first of two")?;
        hold.release().await;
        ended(&mut rebuild(server.data_dir(), &["--into", &into])?).await?.done()?;
        shard.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_serves_or_has_served_and_one_of_another_log_are_refused_and_left_alone() -> Result<()> {
    let (one, other) = (Fresh::start().await?, Fresh::start().await?);
    let mut random = StdRng::seed_from_u64(1);
    write(&one.http, &mut random, 500).await?;
    write(&other.http, &mut random, 500).await?;
    let of = |server: &Fresh| format!("sqlite:{}", server.data_dir().join("shard-0.sqlite").display());
    ended(&mut rebuild(one.data_dir(), &["--into", &of(&one)])?)
        .await?
        .refused(4, "serves as a node of shard-0")?;
    // A copy of a file that serves is claimed, wherever it lies.
    let (old, moved) = other.apart();
    old.terminate().await?;
    let away = moved.path().join("away.sqlite");
    std::fs::copy(moved.path().join("shard-0.sqlite"), &away)?;
    let into = format!("sqlite:{}", away.display());
    let before = std::fs::read(&away)?;
    let claimed = ended(&mut rebuild(moved.path(), &["--into", &into, "--partition", "0"])?).await?;
    claimed.refused(4, "a writer has claimed")?;
    let foreign = ended(&mut rebuild(one.data_dir(), &["--into", &into, "--partition", "0"])?).await?;
    foreign.refused(4, "the copy is of log")?;
    ensure!(std::fs::read(&away)? == before, "the file was touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_makes_nothing() -> Result<()> {
    let (server, dir) = (Fresh::start().await?, TempDir::new()?);
    let file = dir.path().join("copy.sqlite");
    let into = format!("sqlite:{}", file.display());
    let would = ended(&mut rebuild(server.data_dir(), &["--into", &into, "--dry-run"])?).await?.done()?;
    ensure!(would.out.contains("partition 7: a new copy, up to "), "{would:?}");
    ensure!(std::fs::read_dir(dir.path())?.next().is_none(), "a file was made");
    let database = Database::create()?;
    let would =
        ended(&mut rebuild(server.data_dir(), &["--into", &database.address(), "--dry-run"])?).await?;
    ensure!(would.done()?.out.contains("partition 7: a new copy, up to "));
    ensure!(database.applied() == 0, "tables were made");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_missing_is_told_with_what_makes_it() -> Result<()> {
    let server = Fresh::start().await?;
    let missing = Database::create()?.address();
    let error = ended(&mut rebuild(server.data_dir(), &["--into", &missing])?).await?;
    error.refused(1, "CREATE DATABASE \"rebuild_")
}
