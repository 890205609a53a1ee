//! `millpond import` against the released binary: through kills of either side every line takes effect once.

use std::{fmt::Write, net::SocketAddr, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use millpond_tests::server::{Server, binary};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const KEYS: usize = 40;
const ROUNDS: usize = 500;

/// Increments: a line that counts twice, or not at all, shows in a sum.
fn lines() -> String {
    let mut text = String::new();
    for _ in 0..ROUNDS {
        for key in 0..KEYS {
            writeln!(text, "{{\"op\":\"increment\",\"key\":\"n{key}\",\"by\":1}}")
                .expect("a string takes all");
        }
    }
    text
}

fn import(dir: &Path, server: SocketAddr) -> Result<Child> {
    Command::new(binary())
        .args(["import", "--json", "--batch-operations", "200", "--lanes", "2", "--server"])
        .arg(format!("http://{server}"))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .arg(dir.join("lines.ndjson"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("start the import")
}

/// Waits until the log holds so many records, or the import has ended.
async fn until_logged(server: &Server, importer: &mut Child, records: u64) -> Result<()> {
    while importer.try_wait()?.is_none() {
        let metrics = server.ops.get("/metrics").send().await?.text();
        let ends = metrics.lines().filter(|line| line.starts_with("millpond_log_end_offset{"));
        let logged: u64 = ends.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        if logged >= records {
            return Ok(());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_counts_once_through_kills_of_either_side() -> Result<()> {
    let dir = TempDir::new()?;
    std::fs::write(dir.path().join("lines.ndjson"), lines())?;
    let data = dir.path().join("data");
    let mut server = Server::small(&data).await?;
    let address = server.address;
    let mut importer = import(dir.path(), address)?;
    for kill in 1..=4u64 {
        until_logged(&server, &mut importer, kill * (KEYS * ROUNDS) as u64 / 5).await?;
        if kill % 2 == 0 {
            importer.kill().await?;
            importer = import(dir.path(), address)?;
        } else {
            server.kill().await?;
            server = Server::start_on(address, &data, Command::new(binary()), &[]).await?;
        }
    }
    let status = importer.wait().await?;
    ensure!(status.success(), "the import ended with {status}");
    for key in 0..KEYS {
        let answer = server.http.get(&format!("/kv/n{key}?consistency=strong")).send().await?;
        ensure!(answer.text() == ROUNDS.to_string(), "n{key}: {answer:?}");
    }
    server.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_run_again_repeats_nothing() -> Result<()> {
    let dir = TempDir::new()?;
    std::fs::write(dir.path().join("lines.ndjson"), lines())?;
    let server = Server::small(&dir.path().join("data")).await?;
    for _ in 0..2 {
        let status = import(dir.path(), server.address)?.wait().await?;
        ensure!(status.success(), "the import ended with {status}");
    }
    std::fs::remove_dir_all(dir.path().join("state"))?;
    let status = import(dir.path(), server.address)?.wait().await?;
    ensure!(status.success(), "the import ended with {status}");
    let answer = server.http.get("/kv/n7?consistency=strong").send().await?;
    ensure!(answer.text() == ROUNDS.to_string(), "{answer:?}");
    server.terminate().await?;
    Ok(())
}
