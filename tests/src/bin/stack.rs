//! `millpond-stack`: real engines for a command, or a stack that stays. tests/stack builds and runs it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Parser};
use millpond_tests::{engines, stack};

/// Real engines as plain processes, for tests and for people.
#[derive(Parser)]
#[command(name = "tests/stack")]
enum Command {
    /// Starts one Kafka broker and one Postgres primary with a replica, runs a command with them, and ends them. The
    /// command finds them in `MILLPOND_TEST_KAFKA`, `MILLPOND_TEST_POSTGRES` and `MILLPOND_TEST_POSTGRES_REPLICA`.
    Engines {
        /// The command and its arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Brings up a whole stack that stays: Kafka, two Postgres shards with a replica each, two apis, two writers and a
    /// sweeper. Prints where they are; also when it is up already.
    Up {
        /// Print one line of JSON, and nothing else.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Starts again what has died, on the same ports.
    Start(Place),
    /// Ends the stack and removes its folder.
    Down(Place),
}

#[derive(Args)]
struct Place {
    /// The stack's folder: data, logs, configuration. Default: `millpond-stack` in the system's temporary folder.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    fn dir(self) -> Result<PathBuf> {
        let dir = self.dir.unwrap_or_else(|| std::env::temp_dir().join("millpond-stack"));
        std::path::absolute(&dir).with_context(|| format!("find {}", dir.display()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        eprintln!("tests/stack: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode> {
    match Command::parse() {
        Command::Engines { command } => return Ok(engines::with_engines(&command).await?.into()),
        Command::Up { json, place } => {
            let stack = stack::up(&place.dir()?).await?;
            if json {
                println!("{}", stack.json());
            } else {
                println!("{}", stack.text());
            }
        }
        Command::Start(place) => println!("{}", stack::start(&place.dir()?).await?.text()),
        Command::Down(place) => {
            let dir = place.dir()?;
            let message = if stack::down(&dir)? { "ended the stack in" } else { "there is no stack in" };
            eprintln!("{message} {}", dir.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
