//! Many calls that wait at once: what one costs in memory, and how others fare beside them.
//!
//! The server is one of our own, a partition of which is halted, so that a PUT that waits for it stays. A server lets a
//! call wait for 30 s at most: one that is answered is made again. Invariant: memory is read while the server itself says
//! that it holds as many as are reported.

mod halted;
mod held;

use std::{
    io::Write,
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) use self::held::raise_files;
use self::{
    halted::{Halted, probed},
    held::Held,
};
use super::{
    connection::{Encoder, Protocol},
    lanes::Lanes,
};
use crate::{
    latency::Latencies,
    server::{self, Said, Target},
};

/// What stands under `--help`.
const EXAMPLES: &str = "\
Examples:
  millpond-bench hold --calls 10000,100000
  millpond-bench hold --calls 100000 --streams 100 --seconds 10 --json

Needs as many open files as connections, twice: ulimit -n, or root.";

/// How many calls, and how.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Hold {
    #[command(flatten)]
    target: Target,
    /// How many calls wait; several run one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000_u32, 100_000], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: Vec<u32>,
    /// Calls on each connection, all HTTP/2. A server of ours takes 100.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    streams: u32,
    /// GETs a second beside them.
    #[arg(long, default_value_t = 1_000.0)]
    probes: f64,
    /// For how long they are asked, seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Only Millpond, not bare hyper.
    #[arg(long)]
    no_echo: bool,
    /// A line of JSON for each.
    #[arg(long)]
    json: bool,
}

/// What a server needed for so many calls.
struct Found {
    who: &'static str,
    calls: u32,
    connections: u32,
    /// The most that the server said that it held, right after parking or after the probes.
    held: u64,
    parking: Duration,
    /// Resident bytes: before, with connections, with calls.
    memory: [u64; 3],
    alone: Asked,
    beside: Asked,
}

/// What became of GETs at a rate: latencies, or why there are none.
enum Asked {
    Answered(Latencies),
    Void(String),
}

impl Asked {
    fn line(&self) -> String {
        match self {
            Self::Answered(latencies) => latencies.line(),
            Self::Void(reason) => format!("void: {reason}"),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Answered(latencies) => latencies.json(),
            Self::Void(reason) => json!({ "void": reason }),
        }
    }
}

impl Hold {
    /// Holds so many calls in each server, one after the other.
    pub(crate) async fn run(&self) -> Result<()> {
        ensure!(self.target.is_fresh(), "a partition is halted for this: only with a server of its own");
        let _limit = raise_files();
        for calls in &self.calls {
            let halted = Halted::start(&self.target, calls.div_ceil(self.streams)).await?;
            let found = self.hold("millpond", *calls, (&halted.child, halted.said, &halted.keys)).await?;
            self.print(&found)?;
            drop(halted);
            if !self.no_echo {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["echo", "--hold"]);
                let (mut child, said) = server::listening(&mut command).context("start bare hyper")?;
                let found = self.hold("bare hyper", *calls, (&child, said, &["key".to_owned()])).await;
                server::end(&mut child);
                self.print(&found?)?;
            }
        }
        Ok(())
    }

    async fn hold(
        &self,
        who: &'static str,
        calls: u32,
        (child, said, keys): (&Child, Said, &[String]),
    ) -> Result<Found> {
        let encoder = Encoder { protocol: Protocol::H2, host: said.address.to_string() };
        let alone = self.probe(said).await.context("ask before")?;
        let before = held::resident_bytes(child.id())?;
        let connections = calls.div_ceil(self.streams);
        let streams = usize::try_from(self.streams)?;
        let opened = held::connect(said.address, connections, streams).await?;
        let connected = held::resident_bytes(child.id())?;
        let began = Instant::now();
        let held = Held::park(opened, (&encoder, keys), usize::try_from(calls)?)?;
        let waiting = held.settled(said.ops, u64::from(calls)).await?;
        let parking = began.elapsed();
        let memory = [before, connected, held::resident_bytes(child.id())?];
        let beside = self.probe(said).await.context("ask beside")?;
        let waiting = waiting.max(held.waiting(said.ops).await?);
        held.end().await?;
        Ok(Found { who, calls, connections, held: waiting, parking, memory, alone, beside })
    }

    async fn probe(&self, said: Said) -> Result<Asked> {
        let job = probed(said.address, self.probes, Duration::from_secs(self.seconds));
        let seen = tokio::task::spawn_blocking(move || Lanes::prepare(&job)?.run(Instant::now())).await??;
        ensure!(seen.failed == 0, "{} of {} GETs failed: {:?}", seen.failed, seen.calls, seen.first_failure);
        if seen.in_time * 100 < seen.offered * 99 {
            let reason = format!("only {} of {} were answered in time", seen.in_time, seen.offered);
            return Ok(Asked::Void(reason));
        }
        Ok(Asked::Answered(seen.all()))
    }

    fn print(&self, found: &Found) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", found.json())
        } else {
            writeln!(out, "{}", found.text(self.probes))
        }
        .context("print")
    }
}

impl Found {
    /// Resident bytes a call, its share of its connection included.
    fn call_bytes(&self) -> u64 {
        self.memory[2].saturating_sub(self.memory[0]) / u64::from(self.calls)
    }

    fn connection_bytes(&self) -> u64 {
        self.memory[1].saturating_sub(self.memory[0]) / u64::from(self.connections)
    }

    fn text(&self, probes: f64) -> String {
        let mib = self.memory.map(|bytes| bytes >> 20);
        format!(
            "{}: {} calls wait on {} connections, parked in {:.1?}\n  \
             memory {} MiB, connected {} MiB, with calls {} MiB: {} B a call, of which connections {} B each\n  \
             {probes} GETs/s alone  {}\n  {probes} GETs/s beside {}",
            self.who,
            self.held,
            self.connections,
            self.parking,
            mib[0],
            mib[1],
            mib[2],
            self.call_bytes(),
            self.connection_bytes(),
            self.alone.line(),
            self.beside.line()
        )
    }

    fn json(&self) -> Value {
        json!({
            "server": self.who, "calls": self.calls, "held": self.held, "connections": self.connections,
            "parking_s": self.parking.as_secs_f64(), "resident_bytes": self.memory,
            "call_bytes": self.call_bytes(), "connection_bytes": self.connection_bytes(),
            "probes_alone": self.alone.json(), "probes_beside": self.beside.json(),
        })
    }
}
