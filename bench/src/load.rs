//! Load, over HTTP or straight to the log: a closed loop, as fast as calls are answered, or an open one, at a rate.
//!
//! In an open loop a latency counts from the moment at which the call was to start, so that a server that stalls cannot
//! hide it. Invariant: nothing is reported when less than 99 % of the offered calls were good and in time.

mod alarm;
mod bodies;
mod connection;
mod drive;
mod echo;
mod fill;
mod hold;
mod lanes;
mod native;
mod offered;
mod plan;
mod report;
mod schedule;
mod slot;
mod source;
#[cfg(test)]
mod tests;
mod workload;

mod http1;

use std::{io::Write, process::Child, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::time::Instant;

use self::{
    bodies::Format,
    connection::{Encoder, Protocol},
    lanes::{Job, Lanes},
    plan::Shape,
    report::{Cpu, Measured},
    schedule::Arrival,
    workload::Workload,
};
pub(crate) use self::{
    echo::Echo,
    hold::{Hold, raise_files},
    offered::{Answered, Offered},
    plan::key,
};
use crate::{
    cpu::Family,
    keys::{Distribution, THETA},
    progress::Progress,
    server::{self, Server, Target},
};

/// From preparing to the first call.
const LEAD: Duration = Duration::from_millis(10);

/// What stands under `--help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # As fast as calls are answered, against a server of its own (cargo build --release -p millpond):
  millpond-bench load --workload put,get,batch --format protobuf
  # An open loop: 10,000 GETs a second, as of many independent clients; YCSB B with true Zipf(N, 0.99) keys.
  millpond-bench load --workload get --rate 10000 --arrival poisson --seconds 30
  millpond-bench load --workload b --distribution zipf --rate 8000
  # HTTP/2, 4 connections of 64 calls each, and JSON for a program.
  millpond-bench load --workload wait --protocol h2 --connections 4 --streams 64 --rate 2000 --json
  # A deployment that runs already, with the CPU time of each of its processes.
  millpond-bench load --address http://127.0.0.1:7420 --pid api=$API --pid writer=$WRITER \\
      --pid kafka=$KAFKA --pid postgres=$POSTGRES --workload batch --batch 1000 --rate 60
  # Records straight to the mutations topic.
  millpond-bench load --workload native --kafka 127.0.0.1:9092 --pid kafka=$KAFKA --batch 1000
  # The generator itself, against bare hyper.
  millpond-bench load --echo --workload put,get

Exit code 1: a load was void (less than 99 % of the offered calls were good and in time), or could not run.";

/// What to load, and how.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Load {
    #[command(flatten)]
    target: Target,
    /// Load a bare hyper server instead, which answers everything with nothing.
    #[arg(long, conflicts_with = "address")]
    echo: bool,
    /// What to load; several run one after the other.
    #[arg(long, visible_alias = "calls", value_enum, value_delimiter = ',', default_values = ["put", "wait", "get", "batch"])]
    workload: Vec<Workload>,
    /// HTTP/1.1, or HTTP/2 by prior knowledge.
    #[arg(long, value_enum, default_value = "http1")]
    protocol: Protocol,
    /// Connections; for native records, batches under way.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Calls at once on each connection; only h2 has more than one.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// Threads that load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// How long each runs, seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Calls per second over all connections; without it, as fast as they are answered.
    #[arg(long)]
    rate: Option<f64>,
    /// How calls at a rate lie in time.
    #[arg(long, value_enum, default_value = "constant")]
    arrival: Arrival,
    /// Different keys.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// How keys are drawn. Unless told: uniform; for YCSB its scrambled zipfian, and latest for D.
    #[arg(long, value_enum)]
    distribution: Option<Distribution>,
    /// The skew of zipf and latest.
    #[arg(long, default_value_t = THETA)]
    theta: f64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Operations in a batch, and keys in a query.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// How batches are written.
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,
    /// The reads and writes of YCSB's mixes come in batches: queries of many keys, and batches.
    #[arg(long)]
    batched: bool,
    /// The writes of YCSB's mixes, and batches, wait until they are applied.
    #[arg(long)]
    applied: bool,
    /// Do not put every key before what reads them.
    #[arg(long)]
    no_fill: bool,
    /// Do not wait afterwards until all that was written is applied.
    #[arg(long)]
    no_settle: bool,
    /// Brokers, for native records.
    #[arg(long, value_name = "BROKERS")]
    kafka: Option<String>,
    /// What the topics' names start with.
    #[arg(long, default_value = "millpond")]
    prefix: String,
    /// Seed of keys, values and arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A line of JSON for each load.
    #[arg(long)]
    json: bool,
}

/// What is loaded: a server, bare hyper, or the log alone.
struct Loaded {
    server: Option<Server>,
    echo: Option<(Child, std::net::SocketAddr)>,
    processes: Vec<Family>,
}

impl Load {
    /// Runs every load; fails when one is void.
    pub(crate) async fn run(&self) -> Result<()> {
        self.check()?;
        let loaded = self.open()?;
        let (mut void, mut filled) = (0, false);
        for workload in &self.workload {
            let job = self.job(*workload, &loaded).await?;
            if workload.reads() && !self.no_fill && !self.echo && !filled {
                fill::fill(&job).await.context("put every key")?;
                filled = true;
            }
            let measured = self.measure(job, &loaded).await.with_context(|| workload.name())?;
            void += u32::from(measured.void().is_some());
            self.print(&measured)?;
        }
        ensure!(void == 0, "{void} of {} loads are void", self.workload.len());
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let native = self.workload.contains(&Workload::Native);
        ensure!(!native || self.kafka.is_some(), "native records need --kafka BROKERS");
        let many = self.protocol == Protocol::Http1 && self.streams > 1;
        ensure!(!many, "HTTP/1.1 has one call at a time on a connection: --protocol h2 has --streams");
        ensure!(self.rate.is_none_or(|rate| rate > 0.0), "a rate is above 0");
        ensure!(self.theta > 0.0, "theta is above 0");
        ensure!(self.batch <= 1_000 || !self.queries(), "a query has at most 1,000 keys");
        Ok(())
    }

    fn queries(&self) -> bool {
        self.workload.iter().any(|one| *one == Workload::Query || (self.batched && one.reads()))
    }

    fn open(&self) -> Result<Loaded> {
        let client = Family { name: "client".to_owned(), pid: std::process::id() };
        if self.echo {
            let mut command = std::process::Command::new(std::env::current_exe()?);
            let (child, said) = server::listening(command.arg("echo")).context("start bare hyper")?;
            let processes = vec![Family { name: "echo".to_owned(), pid: child.id() }, client];
            return Ok(Loaded { server: None, echo: Some((child, said.address)), processes });
        }
        // With records alone there is no server to start.
        let only_native = self.workload.iter().all(|one| *one == Workload::Native);
        let server = (!only_native || !self.target.is_fresh()).then(|| self.target.open()).transpose()?;
        let mut processes = server
            .as_ref()
            .map_or_else(|| self.target.processes().to_vec(), |server| server.processes.clone());
        processes.push(client);
        Ok(Loaded { server, echo: None, processes })
    }

    async fn job(&self, workload: Workload, loaded: &Loaded) -> Result<Job> {
        let native = workload == Workload::Native;
        let log = match self.kafka.as_deref().filter(|_| native) {
            Some(brokers) => Some(native::open(brokers, &self.prefix).await?),
            None => None,
        };
        let address = match (&loaded.server, &loaded.echo) {
            (Some(server), _) => server.address,
            (None, Some((_, address))) => *address,
            (None, None) if native => std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            (None, None) => bail!("there is no server to load"),
        };
        Ok(Job {
            shape: self.shape(workload),
            encoder: Encoder { protocol: self.protocol, host: address.to_string() },
            address,
            connections: usize::try_from(self.connections)?,
            streams: usize::try_from(self.streams)?,
            threads: usize::try_from(self.threads.min(self.connections))?,
            rate: self.rate,
            arrival: self.arrival,
            length: Duration::from_secs(self.seconds),
            log,
        })
    }

    fn shape(&self, workload: Workload) -> Shape {
        let usual = match workload {
            Workload::D => Distribution::Latest,
            workload if workload.is_ycsb() => Distribution::YcsbZipfian,
            _ => Distribution::Uniform,
        };
        Shape {
            workload,
            distribution: self.distribution.unwrap_or(usual),
            theta: self.theta,
            keys: self.keys,
            value_bytes: self.value_bytes,
            batch: usize::try_from(self.batch).expect("a batch fits memory"),
            format: self.format,
            batched: self.batched && workload.is_ycsb(),
            applied: self.applied,
            seed: self.seed,
        }
    }

    async fn measure(&self, job: Job, loaded: &Loaded) -> Result<Measured> {
        let lanes = tokio::task::block_in_place(|| Lanes::prepare(&job))?;
        let encoded = lanes.encoded;
        let name = job.shape.workload.name();
        let progress = Progress::show(name, job.length, Arc::clone(&lanes.made));
        let before = Cpu::now(&loaded.processes)?;
        let began = Instant::now() + LEAD;
        let seen = tokio::task::block_in_place(|| lanes.run(began))?;
        let (wall, cpu) = (began.elapsed(), before.since()?);
        drop(progress);
        let writes = job.shape.workload.writes() && loaded.server.is_some() && !self.no_settle;
        let settled = if writes { Some((fill::settle(&job).await?, before.since()?)) } else { None };
        Ok(Measured { job, seen, encoded, wall, cpu, settled })
    }

    fn print(&self, measured: &Measured) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json { writeln!(out, "{}", measured.json()) } else { writeln!(out, "{}", measured.text()) }
            .context("print")
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.echo {
            server::end(child);
        }
    }
}
