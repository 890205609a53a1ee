//! The released binary is killed at its Nth write, sync, rename or cut, for every N of a short run, and reopened.
//!
//! Invariant: what was answered before the kill stands after it; what is sent again with its Idempotency-Key counts
//! once; and the rows are what a replay of the log makes of an empty shard.

use std::{os::unix::process::ExitStatusExt, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use millpond_schemas::PartitionId;
use millpond_shard::{Shard, SqliteConfig};
use millpond_tests::{
    http::{Answer, Http},
    pond::Pond,
    server::{Server, binary},
};
use tempfile::TempDir;
use tokio::process::Command;

/// One call of the run: what is sent, and what the answer has to be, however often it is sent.
struct Step {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
}

const STEPS: &[Step] = &[
    Step { method: "PUT", path: "/kv/a", headers: &[("idempotency-key", "s1")], body: "one", status: 200 },
    Step {
        method: "PUT",
        path: "/kv/a",
        headers: &[("idempotency-key", "s2"), ("if-none-match", "*")],
        body: "two",
        status: 412,
    },
    Step {
        method: "PATCH",
        path: "/kv/n",
        headers: &[("idempotency-key", "s3"), ("content-type", "application/vnd.millpond.op+json")],
        body: "{\"op\":\"increment\",\"by\":5}",
        status: 200,
    },
    Step {
        method: "PATCH",
        path: "/kv/n",
        headers: &[("idempotency-key", "s4"), ("content-type", "application/vnd.millpond.op+json")],
        body: "{\"op\":\"increment\",\"by\":7}",
        status: 200,
    },
    Step { method: "PUT", path: "/kv/gone", headers: &[("idempotency-key", "s5")], body: "x", status: 200 },
    Step { method: "DELETE", path: "/kv/gone", headers: &[("idempotency-key", "s6")], body: "", status: 204 },
];

/// Sends a step; none when the connection broke.
async fn send(http: &Http, step: &Step) -> Option<Answer> {
    let mut call = http.call(step.method.parse().expect("a method"), step.path).body(step.body);
    for (name, value) in step.headers {
        call = call.header(name, value);
    }
    call.send().await.ok()
}

/// What tells one effect from another: status, position, body.
fn effect(answer: &Answer) -> (u16, String, String) {
    let body = if answer.status.is_success() { answer.text() } else { answer.code() };
    (answer.status.as_u16(), answer.header("kv-position").to_owned(), body)
}

/// Runs the steps on a server that dies at the Nth call of `syscall`. What was answered; none: it did not die.
async fn run_until_killed(dir: &Path, syscall: &str, nth: u32) -> Result<Option<Vec<Answer>>> {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={syscall}"))
        .arg("-e")
        .arg(format!("inject={syscall}:signal=KILL:when={nth}"))
        .arg(binary())
        .env("MILLPOND_LOG__PARTITIONS", "2")
        .stderr(Stdio::null());
    let Ok(mut server) = Server::start_with(dir, strace, &[]).await else {
        return Ok(Some(Vec::new()));
    };
    let mut answers = Vec::new();
    for step in STEPS {
        match send(&server.http, step).await {
            Some(answer) => answers.push(answer),
            None => break,
        }
    }
    if answers.len() == STEPS.len() {
        server.kill_traced().await?;
        return Ok(None);
    }
    let status = server.ended().await?;
    ensure!(status.signal() == Some(9), "it was to be killed, and ended with {status}");
    Ok(Some(answers))
}

/// Every step again, on a server that lives: the same effects, and the state that they leave.
async fn check(dir: &Path, answered: &[Answer]) -> Result<()> {
    let server = Server::start(dir).await?;
    for (index, step) in STEPS.iter().enumerate() {
        let again = send(&server.http, step).await.context("the server lives")?;
        ensure!(again.status.as_u16() == step.status, "step {index}: {again:?}");
        if let Some(first) = answered.get(index) {
            ensure!(effect(first) == effect(&again), "step {index} was {first:?}, is {again:?}");
            ensure!(again.header("kv-duplicate") == "true", "step {index} counts twice: {again:?}");
        }
        let position = again.header("kv-position");
        let known = server.http.get(&format!("/mutations/{position}")).send().await?.json();
        let wanted = if step.status == 412 { "rejected" } else { "applied" };
        ensure!(known["status"] == wanted, "step {index}: {known}");
    }
    for (path, value) in [("/kv/a", "one"), ("/kv/n", "12"), ("/kv/gone", "")] {
        let answer = server.http.get(path).header("cache-control", "no-cache").send().await?;
        let found = if answer.status == 404 { String::new() } else { answer.text() };
        ensure!(found == value, "{path}: {answer:?}");
    }
    server.terminate().await?;
    replays(dir).await
}

/// The serving copies are what the log says.
async fn replays(dir: &Path) -> Result<()> {
    let pond = Pond::small(dir).await?;
    let empty = TempDir::new()?;
    let shard = Shard::open(&SqliteConfig::new(empty.path().join("copy.sqlite"))).await?;
    for partition in (0..pond.partitions()).map(PartitionId) {
        let mut serving = pond.dump(partition).await?;
        pond.replay(partition, &shard, 1000).await?;
        serving.watermark.owner = millpond_schemas::Offset::NONE;
        ensure!(shard.dump(partition).await? == serving, "partition {partition} is not what the log says");
    }
    shard.close().await;
    pond.close().await;
    Ok(())
}

/// For every N until a run gets through.
async fn every(syscall: &str) -> Result<()> {
    let mut kills = 0;
    for nth in 1.. {
        let dir = TempDir::new()?;
        let Some(answered) = run_until_killed(dir.path(), syscall, nth).await? else { break };
        check(dir.path(), &answered).await.with_context(|| format!("killed at {syscall} number {nth}"))?;
        kills += 1;
    }
    ensure!(kills > 0, "the run never calls {syscall}");
    println!("{syscall}: killed and reopened {kills} times");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_write_loses_and_doubles_nothing() -> Result<()> {
    every("pwrite64").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_sync_loses_and_doubles_nothing() -> Result<()> {
    every("fdatasync").await?;
    every("fsync").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_rename_or_cut_loses_and_doubles_nothing() -> Result<()> {
    every("rename").await?;
    every("ftruncate").await
}

/// Behind the COMMIT of its flush, before its answer leaves: the outcome is known to the shard alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_any_answer_leaves_loses_and_doubles_nothing() -> Result<()> {
    every("writev").await
}
