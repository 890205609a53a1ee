//! Where the time goes: stages of the write path in one process, and load over HTTP.
//!
//! Not a test: nothing here asserts a time. Every table names its seed and its command.

mod cpu;
mod keys;
mod load;
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
    /// Calls per second over HTTP, latency, and CPU time of server and client together.
    Load(load::Load),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Stages(stages) => stages.run().await,
        Command::Load(load) => load.run().await,
    }
}
