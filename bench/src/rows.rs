//! The rows of the performance table: each measures a stage and its baseline, interleaved, in this run.
//!
//! Not a test: nothing here asserts a time. Invariant: what cannot be measured here is a line that says so.

pub(crate) mod accept;
pub(crate) mod apply_postgres;
mod apply_sqlite;
pub(crate) mod calls;
pub(crate) mod cpu;
mod decode;
pub(crate) mod deployment;
mod drive;
pub(crate) mod end_to_end;
pub(crate) mod engines;
pub(crate) mod flushes;
pub(crate) mod head;
mod held;
mod kafka;
mod line;
mod local_log;
mod peers;
mod reads;
pub(crate) mod sample;
mod single;
pub(crate) mod tools;

use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};

use self::{line::Line, peers::Peers};

/// Which rows, and how thoroughly.
#[derive(Args)]
pub(crate) struct Rows {
    /// Which; all of them unless told.
    #[arg(value_enum)]
    names: Vec<Name>,
    /// Shorter stretches, each once: baseline, ours, baseline.
    #[arg(long)]
    quick: bool,
    /// A list of objects instead of a table. `ratio >= target` is reached.
    #[arg(long)]
    json: bool,
    /// Of keys and values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often each comparison is made; 3 unless `--quick`.
    #[arg(long)]
    repeats: Option<usize>,
}

/// A row, or a family of them. In the order in which they matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Applying to Postgres / the same upsert in a loop within the server.
    ApplyPostgres,
    /// Accepting batches / Redis and Valkey.
    Accept,
    /// Producing to Kafka through batches / `rdkafka_performance`.
    Produce,
    /// Reading from Kafka, decoding and folding / `rdkafka_performance`.
    Consume,
    /// Reading batches in memory / `serde_json` and prost.
    Decode,
    /// Applying to SQLite / a loop over one prepared upsert.
    ApplySqlite,
    /// The local log / a loop of pwrite and fdatasync.
    LocalLog,
    /// Single puts / bare hyper.
    Single,
    /// Writes that wait / those that do not.
    Wait,
    /// Gets and queries through Postgres / pgbench.
    Reads,
    /// From batches to rows, on Kafka and Postgres.
    EndToEnd,
    /// Applying a full log / Debezium.
    Debezium,
    /// Accepting single calls / etcd, NATS, Redis, Valkey and Postgres.
    AcceptSingle,
    /// More partitions and shards / one.
    Scaling,
    /// Calls held / bare hyper.
    Held,
}

/// How thoroughly a row is measured.
pub(crate) struct Plan {
    /// How often ours is compared with the baseline.
    pub(crate) repeats: usize,
    /// Of keys and values.
    pub(crate) seed: u64,
    /// Other stores, which several rows compare with.
    pub(crate) peers: Peers,
    quick: bool,
}

impl Plan {
    /// Each comparison so often: once where it is quick, else three times, unless told.
    pub(crate) fn new(quick: bool, repeats: Option<usize>, seed: u64) -> Self {
        let repeats = repeats.unwrap_or(if quick { 1 } else { 3 }).max(1);
        Self { repeats, seed, peers: Peers::new(quick), quick }
    }

    /// Of two sizes the one for this plan.
    pub(crate) fn pick<T>(&self, quick: T, long: T) -> T {
        if self.quick { quick } else { long }
    }
}

impl Rows {
    /// Runs them, prints each as soon as it is measured, and all of them in the end.
    pub(crate) async fn run(&self) -> Result<()> {
        let plan = Plan::new(self.quick, self.repeats, self.seed);
        let names = if self.names.is_empty() { Name::value_variants() } else { &self.names };
        if !self.json {
            println!("{}\n{}", head::text(&plan)?, Line::heading());
        }
        let mut all = Vec::new();
        for name in names {
            let (began, load) = (Instant::now(), head::load()?);
            let lines = one(*name, &plan, &all).await.unwrap_or_else(|error| {
                vec![Line::missing(&format!("{name:?}"), f64::NAN, format!("it failed: {error:#}"))]
            });
            for line in &lines {
                let text = line.text();
                if self.json { eprintln!("{text}") } else { println!("{text}") }
            }
            eprintln!(
                "    [{name:?}: {:.0?}, load average {load} before, {} after]",
                began.elapsed(),
                head::load()?
            );
            all.extend(lines);
        }
        if self.json {
            let all: Vec<_> = all.iter().map(Line::json).collect();
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Ok(())
    }
}

async fn one(name: Name, plan: &Plan, before: &[Line]) -> Result<Vec<Line>> {
    match name {
        Name::ApplyPostgres => apply_postgres::run(plan).await,
        Name::Accept => accept::batch(plan).await,
        Name::Produce => kafka::produce(plan).await,
        Name::Consume => kafka::consume(plan).await,
        Name::Decode => decode::run(plan).await,
        Name::ApplySqlite => apply_sqlite::run(plan).await,
        Name::LocalLog => local_log::run(plan).await,
        Name::Single => single::put(plan).await,
        Name::Wait => single::wait(plan).await,
        Name::Reads => reads::run(plan).await,
        Name::EndToEnd => end_to_end::run(plan, before).await,
        Name::Debezium => end_to_end::debezium(plan).await,
        Name::AcceptSingle => accept::single(plan).await,
        Name::Scaling => end_to_end::scaling(plan).await,
        Name::Held => held::run(plan),
    }
}
