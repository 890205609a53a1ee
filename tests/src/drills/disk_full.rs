//! A disk is full, and then it is not: the log's, a SQLite shard's, a Postgres primary's.
//!
//! Nobody does anything but give the space back. What keeps the disk from filling up (`log.free_bytes_min`) is off, so
//! that the last byte is reached; with it writes are refused before.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use super::{Context, Drill, Length, Need};
use crate::{
    faults::fs::SmallFs,
    http::{Answer, Http},
    process::until_async,
    server::{Server, binary},
};

mod postgres;

/// How long a state may take to come.
const PATIENCE: Duration = Duration::from_mins(1);
/// Of the log's file system.
const LOG_BYTES: u64 = 24 << 20;
/// Of the shards': what is written while it is full, twice, because a write-ahead log holds it too.
const SHARDS_BYTES: u64 = 64 << 20;
/// Writes while a shard has no room: more than a write-ahead log takes in the blocks that it has.
const WRITES: u64 = 200;
/// Of a value: a dozen fill a segment.
const VALUE_BYTES: usize = 100_000;

pub(super) const DRILL: Drill = Drill {
    name: "disk-full",
    number: 14,
    about: "no space for the log, SQLite, Postgres, and then again: no ack without durability, recovers alone",
    engines: Need::Shared,
    long: Length::new(900, 10),
    short: Length::new(60, 1),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let ends = Instant::now() + context.length().time;
    for round in 0..context.length().count {
        if round > 0 && Instant::now() >= ends {
            break;
        }
        log_full(&context, round).await.context("the log's disk is full")?;
        shards_full(&context, round).await.context("the shards' disk is full")?;
        postgres::full(&context, round).await.context("the primary's disk is full")?;
    }
    Ok(())
}

/// What was sent, and what became of it.
#[derive(Default)]
pub(super) struct Sent {
    acked: Vec<String>,
    refused: Vec<String>,
    unknown: Vec<String>,
}

impl Sent {
    /// Puts one key: the answer.
    pub(super) async fn put(&mut self, http: &Http, key: &str) -> Result<Answer> {
        let answer = http.put(&format!("/kv/{key}"), value(key)).send().await?;
        match answer.status.as_u16() {
            200..=202 => self.acked.push(key.to_owned()),
            503 => self.refused.push(key.to_owned()),
            504 => self.unknown.push(key.to_owned()),
            _ => anyhow::bail!("{key}: {answer:.300?}"),
        }
        Ok(answer)
    }

    /// What was acked is there, and what was refused is not.
    pub(super) async fn stands(&self, http: &Http) -> Result<()> {
        for key in &self.acked {
            let answer = read(http, key, "strong").await?;
            ensure!(
                answer.status == 200 && answer.body == value(key).as_bytes(),
                "{key} was acked: {}",
                answer.status
            );
        }
        for key in &self.refused {
            let answer = read(http, key, "strong").await?;
            ensure!(answer.status == 404, "{key} was not accepted, and is there: {}", answer.status);
        }
        Ok(())
    }

    pub(super) fn count(&self, context: &Context) {
        let count = |keys: &Vec<String>| keys.len() as u64;
        context.operations(count(&self.acked), count(&self.refused), count(&self.unknown));
    }
}

pub(super) fn value(key: &str) -> String {
    format!("{key}:{}", "v".repeat(VALUE_BYTES))
}

pub(super) async fn read(http: &Http, key: &str, consistency: &str) -> Result<Answer> {
    http.get(&format!("/kv/{key}?consistency={consistency}")).send().await
}

/// Waits for a state.
pub(super) async fn comes(what: &str, holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let mut holds = holds;
    let came = until_async(PATIENCE, async || holds().await.unwrap_or(false)).await;
    ensure!(came, "it does not come: {what}");
    Ok(())
}

async fn start(data: &Path) -> Result<Server> {
    let mut command = Command::new(binary());
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB").env("MILLPOND_LOG__FREE_BYTES_MIN", "0");
    Server::start_with(data, command, &[]).await
}

/// What the log has no room for is not accepted, and said to be; reads go on; in every other round the process is killed
/// while there is no room.
async fn log_full(context: &Context, round: u64) -> Result<()> {
    let folder = TempDir::new()?;
    let data = folder.path().join("data");
    let disk = SmallFs::mount(&data.join("log"), LOG_BYTES)?;
    let (mut server, mut sent) = (start(&data).await?, Sent::default());
    for at in 0..5 {
        sent.put(&server.http, &format!("before-{at}")).await?;
    }
    disk.fill()?;
    context.fault("disk full", "log");
    let mut at = 0;
    let refused = loop {
        let answer = sent.put(&server.http, &format!("full-{at}")).await?;
        if !answer.status.is_success() {
            break answer;
        }
        at += 1;
        ensure!(at < 100, "writes are acked though there is no room");
    };
    ensure!(refused.code() == "log-unavailable", "{refused:?}");
    ensure!(refused.headers.contains_key("retry-after"), "{refused:?}");
    ensure!(read(&server.http, "before-0", "eventual").await?.status == 200, "reads go on");
    let ready = server.ops.get("/readyz?verbose").send().await?;
    let told = ready.status == 200 && ready.text().contains("[~]log") && ready.text().contains("full");
    ensure!(told, "readiness says nothing: {ready:?}");
    context.figure(
        &format!("log full, round {round}"),
        format!("{} acks, then {}", sent.acked.len(), refused.code()),
    );
    if round % 2 == 1 {
        server.kill().await?;
        server = start(&data).await.context("start while there is no room")?;
        ensure!(read(&server.http, "before-0", "eventual").await?.status == 200, "reads go on");
    }
    disk.free()?;
    let mut tries = 0;
    comes("a write is taken again", async || {
        tries += 1;
        Ok(sent.put(&server.http, &format!("after-{tries}")).await?.status.is_success())
    })
    .await?;
    sent.stands(&server.http).await?;
    comes("the log is well again", async || {
        Ok(server.ops.get("/readyz?verbose").send().await?.text().contains("[+]log ok"))
    })
    .await?;
    server.terminate().await?;
    let server = start(&data).await?;
    sent.stands(&server.http).await?;
    server.terminate().await?;
    sent.count(context);
    Ok(())
}

/// Writes are accepted while a shard has no room, wait, and are applied by themselves once it has.
async fn shards_full(context: &Context, round: u64) -> Result<()> {
    let folder = TempDir::new()?;
    let data = folder.path().join("data");
    let disk = SmallFs::mount(&data, SHARDS_BYTES)?;
    let log_disk = SmallFs::mount(&data.join("log"), LOG_BYTES * 4)?;
    let (mut server, mut sent) = (start(&data).await?, Sent::default());
    sent.put(&server.http, "before").await?;
    comes("it is applied", async || Ok(read(&server.http, "before", "strong").await?.status == 200)).await?;
    disk.fill()?;
    context.fault("disk full", "SQLite");
    for at in 0..WRITES {
        let answer = sent.put(&server.http, &format!("full-{at}")).await?;
        ensure!(answer.status == 202, "the log has room: {answer:?}");
    }
    let told = async || {
        let ready = server.ops.get("/readyz?verbose").send().await?;
        Ok(ready.text().lines().any(|line| line.contains("partition") && line.contains("full")))
    };
    comes("readiness says that the disk is full", told).await?;
    let waited = server.http.put("/kv/waits", "x").header("prefer", "wait=1").send().await?;
    ensure!(waited.status == 202 && waited.headers.contains_key("location"), "{waited:?}");
    ensure!(read(&server.http, "before", "eventual").await?.status == 200, "reads go on");
    if round % 2 == 1 {
        server.kill().await?;
        server = start(&data).await.context("start while there is no room")?;
        ensure!(sent.put(&server.http, "full-again").await?.status == 202, "the log has room");
    }
    disk.free()?;
    let last = sent.acked.last().cloned().unwrap_or_default();
    comes("all is applied", async || Ok(read(&server.http, &last, "strong").await?.status == 200)).await?;
    sent.stands(&server.http).await?;
    let ready = server.ops.get("/readyz").send().await?;
    ensure!(ready.status == 200, "{ready:?}");
    server.terminate().await?;
    sent.count(context);
    drop(log_disk);
    Ok(())
}
