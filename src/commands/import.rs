//! `millpond import`: flags and a bar around the client's importer.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use millpond::settings::ByteSize;
use millpond_client::{
    Position, Wait,
    import::{
        BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, End, ImportOptions, Importer, Input, LANES_MAX, Mapping,
        Report,
    },
};
use serde_json::json;

use super::import_progress::Display;
use crate::{
    client_args::{ServerArgs, duration},
    exit::{Exit, Misuse},
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond import operations.ndjson              each line an operation: {\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"}
  millpond import users.ndjson --key-pointer /id --key-prefix user:
                                                 each line a JSON document, put whole under its own field
  millpond import flights.ndjson --key-pointer /carrier --key-pointer /flight --key-separator -
  millpond import day.ndjson --rejects day.rejects.ndjson --wait 10s
  zcat big.ndjson.gz | millpond import - --name big

Interrupted, by Ctrl-C, kill -9 of either side or a lost connection, the same command goes on after the last line that \
is durable. Every line carries an Idempotency-Key made of file, line number and content, so that what was in flight \
takes effect once (within 24 h). It waits for a server that is down.

`millpond export` writes lines that it takes. For a few operations, to see what became of each, and where nothing is to \
be kept in between, there is `millpond batch`.

Exits 3 when lines are left or failed.";

const BATCH_BYTES_DEFAULT: &str = "4MiB";

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// A file of JSON lines; - reads standard input
    file: PathBuf,
    /// Put each line whole under the field at this JSON Pointer; several make one key
    #[arg(long, value_name = "POINTER")]
    key_pointer: Vec<String>,
    /// Between the fields of a key
    #[arg(long, value_name = "TEXT", default_value = "/", requires = "key_pointer")]
    key_separator: String,
    /// Before every key
    #[arg(long, value_name = "TEXT", default_value = "", requires = "key_pointer")]
    key_prefix: String,
    /// Write every failed line with its reason to a new file
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Wait for every line's outcome, so that failed conditions are counted; at most so long a batch
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// Import everything again, as new operations
    #[arg(long)]
    restart: bool,
    /// What standard input is called, so that it can be resumed
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Batches in flight
    #[arg(long, value_name = "N", default_value = "4", value_parser = count(LANES_MAX))]
    lanes: u32,
    /// Most operations in a batch
    #[arg(long, value_name = "N", default_value = "4000", value_parser = count(BATCH_OPERATIONS_MAX))]
    batch_operations: u32,
    /// Largest batch
    #[arg(long, value_name = "SIZE", default_value = BATCH_BYTES_DEFAULT, value_parser = batch_bytes)]
    batch_bytes: ByteSize,
    /// Where progress is kept [default: ~/.local/state/millpond]
    #[arg(long, env = "MILLPOND_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

fn count(max: usize) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::try_from(max).expect("a small number"))
}

fn batch_bytes(text: &str) -> Result<ByteSize, String> {
    let max = ByteSize(u64::try_from(BATCH_BYTES_MAX).expect("a small number"));
    let size = ByteSize::parse(text).filter(|size| (1..=max.0).contains(&size.0));
    size.ok_or_else(|| format!("a size is such as 65536 or 4MiB, up to {max}"))
}

/// Imports until the input ends or someone presses Ctrl-C.
pub(crate) async fn run(args: ImportArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let display = Display::new(&args.server.server);
    let options = options(&args)?;
    let input = input(&args.file, args.name)?;
    let importer = Importer::new(&client, options, input, display.observer())?;
    let report = importer.run(interrupted()).await;
    display.finish();
    let report = report.with_context(|| format!("import {}", args.file.display()))?;
    let exit = tell(&report, args.json, args.rejects.as_deref())?;
    if args.key_pointer.is_empty() && report.failures_by_code.contains_key(NO_OPERATION) {
        output::note(
            "lines that are no operations become keys with --key-pointer /FIELD; see `millpond import --help`",
        );
    }
    Ok(exit)
}

/// The code of a line that is JSON, and other than an operation.
const NO_OPERATION: &str = "unknown-field";

fn options(args: &ImportArgs) -> Result<ImportOptions> {
    let state_dir = args.state_dir.clone().or_else(state_dir).ok_or_else(|| {
        Misuse("there is no home directory to keep progress in; name one with --state-dir".to_owned())
    })?;
    let mapping = if args.key_pointer.is_empty() {
        Mapping::Operations
    } else {
        Mapping::Documents {
            key_pointers: args.key_pointer.clone(),
            separator: args.key_separator.clone(),
            prefix: args.key_prefix.clone(),
        }
    };
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(ImportOptions {
        mapping,
        lanes: count(args.lanes),
        batch_operations_max: count(args.batch_operations),
        batch_bytes_max: args.batch_bytes.to_usize(),
        wait: args.wait.filter(|wait| !wait.is_zero()).map_or(Wait::Accepted, Wait::Applied),
        rejects: args.rejects.clone(),
        restart: args.restart,
        ..ImportOptions::in_dir(state_dir)
    })
}

fn state_dir() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(base.join("millpond"))
}

fn input(file: &Path, name: Option<String>) -> Result<Input, Misuse> {
    if file.as_os_str() == "-" {
        return Ok(Input::Stream { name, reader: Box::new(io::stdin()) });
    }
    if name.is_some() {
        return Err(Misuse("--name is for standard input; a file has its path".to_owned()));
    }
    Ok(Input::File(file.to_owned()))
}

/// Ready once someone wants it to stop.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => if pressed.is_err() { std::future::pending::<()>().await },
        _ = terminate.recv() => {}
    }
}

/// Prints how it went: the result on standard output, what went wrong on standard error.
fn tell(report: &Report, json: bool, rejects: Option<&Path>) -> Result<Exit> {
    if json {
        output::json(&json_of(report))?;
    } else {
        output::line(&summary(report))?;
        if !report.positions.is_empty() {
            let token: Vec<_> = report.positions.iter().map(Position::as_str).collect();
            output::line(&format!("read it back with --min-position {}", token.join(",")))?;
        }
    }
    for failure in &report.failures {
        let detail = if failure.detail.is_empty() { String::new() } else { format!(": {}", failure.detail) };
        output::warning(&format!("line {}: {} {}{detail}", failure.line, failure.status, failure.code));
    }
    let shown = u64::try_from(report.failures.len()).unwrap_or(u64::MAX);
    if report.progress.failed > shown && rejects.is_none() {
        output::note("not all failed lines are shown; --rejects FILE keeps them, in a run with --restart");
    }
    match report.end {
        End::Complete if report.progress.failed == 0 => return Ok(Exit::Done),
        End::Complete => {}
        End::Truncated { line } => {
            output::warning(&format!("the input ends inside line {line}; complete it and run this again"));
        }
        End::Stopped => output::note("run the same command again to go on"),
    }
    Ok(Exit::Partial)
}

fn summary(report: &Report) -> String {
    let progress = &report.progress;
    let counts = format!("{} accepted, {} failed", progress.accepted, progress.failed);
    let codes: Vec<_> = report.failures_by_code.iter().map(|(code, n)| format!("{n} {code}")).collect();
    let codes = if codes.is_empty() { String::new() } else { format!(" ({})", codes.join(", ")) };
    let line = progress.line;
    match report.end {
        End::Stopped => format!("stopped; durable up to line {line}: {counts}{codes}"),
        _ if report.resumed_after == line && line > 0 => {
            format!(
                "nothing new: all {line} lines were imported before, {counts}{codes}; --restart imports them again"
            )
        }
        _ => format!("{line} lines: {counts}{codes}"),
    }
}

fn json_of(report: &Report) -> serde_json::Value {
    let end = match report.end {
        End::Complete => "complete",
        End::Truncated { .. } => "truncated",
        End::Stopped => "stopped",
    };
    let failures = report.failures.iter().map(|failure| {
        json!({"line": failure.line, "status": failure.status, "code": failure.code, "detail": failure.detail})
    });
    json!({
        "end": end,
        "durable_line": report.progress.line,
        "resumed_after_line": report.resumed_after,
        "accepted": report.progress.accepted,
        "failed": report.progress.failed,
        "failed_by_code": report.failures_by_code,
        "failures": failures.collect::<Vec<_>>(),
        "positions": report.positions,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millpond_client::import::Progress;

    use super::*;

    fn report(end: End, resumed_after: u64, failed: u64) -> Report {
        Report {
            end,
            progress: Progress { line: 9, accepted: 9 - failed, failed, ..Progress::default() },
            resumed_after,
            failures_by_code: (0..failed.min(1))
                .map(|_| ("ttl-invalid".to_owned(), failed))
                .collect::<BTreeMap<_, _>>(),
            failures: Vec::new(),
            positions: Vec::new(),
        }
    }

    #[test]
    fn a_summary_says_what_happened() {
        assert_eq!(summary(&report(End::Complete, 0, 2)), "9 lines: 7 accepted, 2 failed (2 ttl-invalid)");
        assert!(summary(&report(End::Complete, 9, 0)).starts_with("nothing new: all 9 lines"));
        assert!(summary(&report(End::Stopped, 3, 0)).starts_with("stopped; durable up to line 9"));
    }

    #[test]
    fn only_a_whole_import_without_failures_is_done() {
        let exit = |end, failed| tell(&report(end, 0, failed), true, None).unwrap();
        assert_eq!(exit(End::Complete, 0), Exit::Done);
        assert_eq!(exit(End::Complete, 1), Exit::Partial);
        assert_eq!(exit(End::Truncated { line: 10 }, 0), Exit::Partial);
        assert_eq!(exit(End::Stopped, 0), Exit::Partial);
    }

    #[test]
    fn a_batch_is_no_larger_than_servers_take() {
        assert_eq!(batch_bytes("16MiB"), Ok(ByteSize(16 << 20)));
        assert!(batch_bytes("17MiB").is_err() && batch_bytes("0").is_err());
    }
}
