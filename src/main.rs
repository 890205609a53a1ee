//! The `millpond` binary: reads the command line, runs one command, and says how it went by its exit code.
//!
//! Not here: any command. Invariant: errors go to standard error, and a reader that goes away is no error.

mod cli;
mod client_args;
mod commands;
mod exit;
mod output;
mod telemetry;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use cli::Cli;

/// How long tasks that are still blocked at the end are waited for.
const END_TIME_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::new(error).context("start threads")).into(),
    };
    let outcome = runtime.block_on(commands::run(cli));
    // A read from a terminal or pipe may never return.
    runtime.shutdown_timeout(END_TIME_MAX);
    outcome.unwrap_or_else(|error| exit::report(&error)).into()
}
