//! A SQLite shard's file is deleted or damaged: the server says so, and a rebuild takes its place.

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    http::Http,
    process::until_async,
    server::{Fresh, Server},
};
use rand::{SeedableRng, rngs::StdRng};

use super::{PATIENCE, assert_same, dumps_of, ended, rebuild, write};

/// Waits until the writer says that it is halted, or that it is not.
async fn is_halted(ops: &Http, halted: bool) -> Result<()> {
    const HALTED: &str = "millpond_writer_halted{partition=\"0\",reason=\"shard-refused\"} 1";
    let said = until_async(PATIENCE, async || {
        let told = ops.get("/metrics").send().await;
        told.is_ok_and(|answer| answer.status.is_success() && answer.text().contains(HALTED) == halted)
    });
    ensure!(said.await, "it never is halted: {halted}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_deleted_halts_its_writer_and_is_rebuilt_in_its_place() -> Result<()> {
    let (server, dir) = Fresh::start().await?.apart();
    write(&server.http, &mut StdRng::seed_from_u64(5), 2000).await?;
    let file = dir.path().join("shard-0.sqlite");
    let away = dir.path().join("away");
    std::fs::rename(&file, &away)?;
    is_halted(&server.ops, true).await?;
    // The very file is back: it goes on.
    std::fs::rename(&away, &file)?;
    is_halted(&server.ops, false).await?;
    std::fs::remove_file(&file)?;
    std::fs::write(&file, "something else")?;
    is_halted(&server.ops, true).await?;
    // Acked meanwhile.
    let put = server.http.put("/kv/meanwhile", "v").send().await?;
    ensure!(put.status.is_success(), "{put:?}");
    let held = ended(&mut rebuild(dir.path(), &["--shard", "shard-0", "--serve"])?).await?;
    held.refused(4, "in use by process")?;
    server.kill().await?;

    let told = ended(&mut rebuild(dir.path(), &["--shard", "shard-0", "--serve"])?).await?.done()?;
    ensure!(told.out.contains("it serves as") && told.out.contains(".before-"), "{told:?}");
    let before = std::fs::read_dir(dir.path())?.filter_map(Result::ok).find(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("shard-0.sqlite.before-") && !name.ends_with("-wal")
    });
    ensure!(std::fs::read(before.context("the old file is kept")?.path())? == b"something else");
    let server = Server::small(dir.path()).await?;
    let read = server.http.get("/kv/meanwhile?consistency=strong").send().await?;
    ensure!(read.text() == "v", "{read:?}");
    let copy = dir.path().join("copy.sqlite");
    let into = format!("sqlite:{}", copy.display());
    ended(&mut rebuild(dir.path(), &["--into", &into])?).await?.done()?;
    server.terminate().await?;
    let shard = millpond_shard::Shard::open(&millpond_shard::SqliteConfig::new(&copy)).await?;
    assert_same(&super::dumps_in(shard, 8).await?, &dumps_of(dir.path(), 8).await?);
    Ok(())
}
