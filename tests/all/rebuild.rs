//! `millpond rebuild` on the released binary: what it makes is what the serving copy is, wherever it goes and however
//! often it is killed.
//!
//! Copies are compared whole, but for who owns them: that is no part of what the log says.

mod equal;
mod lost;
mod moment;
mod refused;
mod serve;

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use millpond_schemas::{Offset, PartitionId};
use millpond_shard::{Dump, Kind, Password, PostgresConfig, Shard, SqliteConfig};
use millpond_tests::{deployment::Engines, http::Http, postgres::psql, server::millpond};
use rand::{
    RngExt,
    distr::{Alphanumeric, SampleString},
    rngs::StdRng,
};
use serde_json::json;
use tokio::process::{Child, Command};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a command printed, and its exit code.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Ended {
    fn done(self) -> Result<Self> {
        ensure!(self.code == Some(0), "{self:?}");
        Ok(self)
    }

    fn refused(self, code: i32, with: &str) -> Result<()> {
        ensure!(self.code == Some(code) && self.error.contains(with), "not {code} with {with}: {self:?}");
        Ok(())
    }

    fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }
}

async fn ended(command: &mut Command) -> Result<Ended> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.context("the command does not end")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) })
}

/// `millpond rebuild` of a data directory.
fn rebuild(data_dir: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = millpond();
    command.arg("rebuild").arg("--data-dir").arg(data_dir).args(arguments);
    command.env("PGPASSWORD", Engines::shared()?.password());
    Ok(command)
}

/// A Postgres database of a test's own.
struct Database {
    engines: Engines,
    name: String,
}

impl Database {
    fn create() -> Result<Self> {
        let engines = Engines::shared()?;
        let name = format!("rebuild_{}", Alphanumeric.sample_string(&mut rand::rng(), 12).to_lowercase());
        psql(&engines.url(0, "postgres"), &format!("CREATE DATABASE {name}"))?;
        Ok(Self { engines, name })
    }

    fn address(&self) -> String {
        self.engines.address(0, &self.name)
    }

    fn shard(&self) -> Result<Shard> {
        let mut config = PostgresConfig::new(self.address(), Kind::Primary);
        config.password = Some(Password::new(self.engines.password()));
        Ok(Shard::open_postgres(&config)?)
    }

    /// Offsets applied in all of it; 0 before there is any.
    fn applied(&self) -> i64 {
        let sum = psql(&self.engines.url(0, &self.name), "SELECT sum(applied_offset + 1) FROM watermark");
        sum.ok().and_then(|sum| sum.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        if let Err(error) = psql(&self.engines.url(0, "postgres"), &drop) {
            eprintln!("a database is left: {error:#}");
        }
    }
}

/// Writes of every kind to a few hundred keys: puts, deletes, patches, conditions that fail, repeats.
async fn write(api: &Http, random: &mut StdRng, lines: usize) -> Result<()> {
    let mut left = lines;
    while left > 0 {
        let count = left.min(2000);
        left -= count;
        let body: Vec<String> = (0..count).map(|_| line(random)).collect();
        let answer = api.post("/batch", "application/x-ndjson", body.join("\n")).send().await?;
        ensure!(answer.status.is_success(), "{answer:?}");
    }
    Ok(())
}

fn line(random: &mut StdRng) -> String {
    let (key, number) = (format!("k{}", random.random_range(0..400)), random.random_range(0..1_000_000));
    let n = format!("n{}", random.random_range(0..40));
    match random.random_range(0..12) {
        0 => json!({ "op": "delete", "key": key }),
        1 => json!({ "op": "increment", "key": n, "by": number }),
        2 => json!({ "op": "increment", "key": n, "idempotency_key": format!("i{}", number % 300) }),
        3 => json!({ "op": "put", "key": key, "value": "new", "if_absent": true }),
        4 => json!({ "op": "put", "key": key, "value": "x", "if_version": "1-0-1" }),
        5 => json!({ "op": "append", "key": format!("a{}", number % 50), "value": "+" }),
        6 => json!({ "op": "merge-patch", "key": format!("j{}", number % 50), "patch": { "n": number } }),
        7 => json!({ "op": "ttl", "key": key, "ttl": "2h" }),
        8 => json!({ "op": "put", "key": key, "value": format!("{number}"), "ttl": "1h" }),
        _ => json!({ "op": "put", "key": key, "value": format!("value {number}") }),
    }
    .to_string()
}

/// A copy without its owner.
fn unowned(mut dump: Dump) -> Dump {
    dump.watermark.owner = Offset::NONE;
    dump
}

/// Every partition's copy in the files of a data directory, in order.
async fn dumps_of(data_dir: &Path, partitions: u32) -> Result<Vec<Dump>> {
    let mut dumps = Vec::new();
    for shard in 0..2 {
        let open = Shard::open(&SqliteConfig::new(data_dir.join(format!("shard-{shard}.sqlite")))).await?;
        for partition in (0..partitions).filter(|partition| partition % 2 == shard) {
            dumps.push(unowned(open.dump(PartitionId(partition)).await?));
        }
        open.close().await;
    }
    dumps.sort_by_key(|dump| dump.watermark.partition);
    Ok(dumps)
}

/// Every partition's copy in one database, which is closed afterwards.
async fn dumps_in(shard: Shard, partitions: u32) -> Result<Vec<Dump>> {
    let mut dumps = Vec::new();
    for partition in (0..partitions).map(PartitionId) {
        dumps.push(shard.dump(partition).await?);
    }
    shard.close().await;
    Ok(dumps)
}

fn assert_same(found: &[Dump], wanted: &[Dump]) {
    for (found, wanted) in found.iter().zip(wanted) {
        let partition = wanted.watermark.partition;
        assert_eq!(found.watermark, wanted.watermark, "partition {partition}");
        assert_eq!(found.rows, wanted.rows, "partition {partition}");
        assert!(found == wanted, "what partition {partition} remembers differs");
    }
    assert_eq!(found.len(), wanted.len());
}

/// Waits until something is so; fails where `child` has ended before.
async fn until(child: &mut Child, mut holds: impl FnMut() -> bool) -> Result<bool> {
    let held = async {
        while !holds() {
            if child.try_wait()?.is_some() {
                return anyhow::Ok(false);
            }
            tokio::task::yield_now().await;
        }
        Ok(true)
    };
    tokio::time::timeout(PATIENCE, held).await.context("it does not get there")?
}
