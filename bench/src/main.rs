//! Where the time goes: stages of the write path in one process, and load over HTTP.
//!
//! Not a test: nothing here asserts a time. Every table names its seed and its command.

mod capacity;
mod cpu;
mod growth;
mod keys;
mod latency;
mod load;
mod progress;
mod rows;
mod server;
mod stages;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Load generator and stage benchmarks for Millpond.
#[derive(Parser)]
#[command(
    name = "bench",
    after_help = "Example: cargo run --release -p millpond-bench -- stages --records 200000"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Append, decode and fold, and apply to SQLite, each by itself, in this process.
    Stages(stages::Stages),
    /// Load in a closed or an open loop, over HTTP or straight to the log: rate, latency, CPU time of every process.
    Load(Box<load::Load>),
    /// Many calls that wait at once: memory a call, and latency beside them, also of bare hyper.
    Hold(load::Hold),
    /// The bare server that `load --echo` starts.
    #[command(hide = true)]
    Echo(load::Echo),
    /// Rows of the performance table: each stage against its baseline, in the same run.
    Row(rows::Rows),
    /// How cost grows with partitions, rows, connections, batches and load: a data file and a chart for each.
    Growth(growth::Growth),
    /// How many machines a size needs, from the table's JSON, with each formula.
    Capacity(Box<capacity::Capacity>),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Stages(stages) => stages.run().await,
        Command::Load(load) => load.run().await,
        Command::Hold(hold) => hold.run().await,
        Command::Echo(echo) => echo.run().await,
        Command::Row(rows) => rows.run().await,
        Command::Growth(growth) => growth.run().await,
        Command::Capacity(capacity) => capacity.run(),
    }
}
