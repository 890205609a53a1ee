//! The `millpond` binary: reads the command line, runs one command, and says how it went by its exit code.
//!
//! Not here: any command. Invariant: errors go to standard error, and a reader that goes away is no error.

mod cli;
mod client_args;
mod commands;
mod confirm;
mod exit;
mod mistakes;
mod output;
mod telemetry;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use cli::Cli;

/// How long tasks that are still blocked at the end are waited for.
const END_TIME_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    abort_on_panic();
    let cli = Cli::try_parse().unwrap_or_else(|error| end(&error));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::new(error).context("start threads")).into(),
    };
    let outcome = runtime.block_on(commands::run(cli));
    // A read from a terminal or pipe may never return.
    runtime.shutdown_timeout(END_TIME_MAX);
    outcome.unwrap_or_else(|error| exit::report(&error)).into()
}

/// Tells what is wrong with the command line, or the help that it asks for, and ends.
fn end(error: &clap::Error) -> ! {
    let typed: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match mistakes::instead(error, &typed) {
        Some(tip) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            output::error(first.strip_prefix("error: ").unwrap_or(first));
            output::note(&tip);
            std::process::exit(error.exit_code());
        }
        None => error.exit(),
    }
}

/// A panic is our bug, and nothing may go on behind it: the process ends, and starts again from what is durable. Only
/// the one that a foreign record's header can cause in rdkafka is caught where it happens.
fn abort_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !millpond_log::kafka::is_reading_header() {
            tell(panic);
            std::process::abort();
        }
    }));
}
