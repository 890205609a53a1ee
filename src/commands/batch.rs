//! `millpond batch`: a file of operations, sent as they stand.
//!
//! Not here: going on after an interruption, documents, many batches in flight (`import.rs`). Invariant: every line
//! counts as accepted or failed, and a failed one is told with its number in the file.

mod chunks;

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use millpond_client::{BatchAnswer, BatchOptions, Client, LineFailure, Position, Wait};
use serde_json::json;

use self::chunks::{Chunk, Chunks};
use crate::{
    client_args::{ServerArgs, duration},
    exit::{Exit, Misuse},
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond batch operations.ndjson
  millpond batch operations.ndjson --wait 10s    and tell which conditions failed
  millpond batch night.ndjson --idempotency-key night-2026-01-31
  printf '{\"op\":\"increment\",\"key\":\"hits\"}\\n' | millpond batch -

A line: {\"op\":\"put\",\"key\":\"a\",\"value\":\"1\",\"ttl\":\"1h\"}; op is put, delete, ttl, increment, append, merge-patch or
json-patch; `key_b64` and `value_b64` for bytes, `if_version` and `if_absent` for conditions.

The lines go out in order, up to 10,000 or 16 MiB at a time, one batch after the other, and exactly as they stand. Every \
failed line is told with its number and why; the others have taken effect. It keeps no progress: sent twice, a file takes \
effect twice, unless both runs name the same --idempotency-key (within 24 h, of an unchanged file). For large files, and \
to go on after an interruption, use `millpond import`, which takes the same lines.

Exits 3 when lines failed.";

/// Longest that a server waits.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest prefix of an Idempotency-Key: the number of a line comes behind it.
const KEY_LENGTH_MAX: usize = 200;

/// Arguments of `batch`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BatchArgs {
    /// A file of operations, one a line; - reads standard input
    file: PathBuf,
    /// Wait for every line's outcome, at most so long (and 30s) a batch
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// Sent twice under the same key within 24 h, each line takes effect once [default: a random one]
    #[arg(long, value_name = "PREFIX", value_parser = key_prefix)]
    idempotency_key: Option<String>,
    /// Print JSON: an object for each failed line, and the totals as the last
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

fn key_prefix(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let fits = printable && (1..=KEY_LENGTH_MAX).contains(&text.len());
    if fits { Ok(text.to_owned()) } else { Err(format!("1 to {KEY_LENGTH_MAX} printable ASCII characters")) }
}

/// Sends everything.
pub(crate) async fn run(args: BatchArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let told = format!("read {}", args.file.display());
    let reader: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&args.file).with_context(|| format!("open {}", args.file.display()))?)
    };
    let key = args.idempotency_key.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
    let wait = args
        .wait
        .filter(|wait| !wait.is_zero())
        .map_or(Wait::Accepted, |wait| Wait::Applied(wait.min(WAIT_MAX)));
    let mut sending = Sending { client, key, wait, json: args.json, totals: Totals::default() };
    let mut chunks = Chunks::new(reader);
    while let Some(chunk) = chunks.next().with_context(|| told.clone())? {
        sending.send(chunk).await?;
    }
    sending.finish()
}

#[derive(Default)]
struct Totals {
    accepted: u64,
    failed: u64,
    /// Lines that the log has, and whose outcome did not come in time.
    open: u64,
    /// The highest of each partition.
    positions: Vec<Position>,
}

struct Sending {
    client: Client,
    key: String,
    wait: Wait,
    json: bool,
    totals: Totals,
}

impl Sending {
    async fn send(&mut self, chunk: Chunk) -> Result<()> {
        let (before, lines) = (chunk.first_line - 1, chunk.lines);
        if chunk.is_too_large() {
            let code = "batch-too-large".to_owned();
            let detail = "the line is larger than a batch may be, 16 MiB".to_owned();
            return self.failed(
                before,
                &LineFailure { line: 1, status: 413, code, detail, ..LineFailure::default() },
            );
        }
        let options = BatchOptions {
            // The same file gives the same chunks, and each line its own number: so the same key.
            idempotency_key: Some(format!("{}-{}", self.key, chunk.first_line)),
            wait: self.wait,
            ..BatchOptions::default()
        };
        let sent = self.client.batch(chunk.body.into(), &options).await;
        let answer = match sent {
            // Nothing but blank lines.
            Err(error) if error.problem().is_some_and(|problem| problem.code == "batch-empty") => {
                return Ok(());
            }
            sent => sent.with_context(|| self.place(before, lines))?,
        };
        self.count(before, answer)
    }

    fn place(&self, before: u64, lines: u64) -> String {
        let done = self.totals.accepted + self.totals.failed;
        format!("send lines {} to {}, after {done} that were answered", before + 1, before + lines)
    }

    fn count(&mut self, before: u64, answer: BatchAnswer) -> Result<()> {
        self.totals.accepted += answer.accepted;
        self.totals.open += answer.results.iter().filter(|result| result.status == 202).count() as u64;
        Position::merge(&mut self.totals.positions, answer.positions);
        for failure in &answer.errors {
            self.failed(before, failure)?;
        }
        Ok(())
    }

    fn failed(&mut self, before: u64, failure: &LineFailure) -> Result<()> {
        self.totals.failed += 1;
        let line = before + failure.line;
        if self.json {
            output::json(&json!({
                "line": line, "id": failure.id, "status": failure.status, "code": failure.code,
                "title": failure.title, "detail": failure.detail, "pointer": failure.pointer,
                "position": failure.position,
            }))?;
        } else {
            output::warning(&words(line, failure));
        }
        Ok(())
    }

    fn finish(self) -> Result<Exit> {
        let Totals { accepted, failed, open, positions } = self.totals;
        if accepted + failed == 0 {
            return Err(Misuse("there is no operation in it".to_owned()).into());
        }
        let waited = matches!(self.wait, Wait::Applied(_));
        if self.json {
            output::json(&json!({
                "accepted": accepted, "failed": failed, "applied": waited.then(|| accepted - open.min(accepted)),
                "positions": positions,
            }))?;
        } else {
            let applied =
                if waited { format!(" ({} applied)", accepted - open.min(accepted)) } else { String::new() };
            output::line(&format!("{accepted} accepted{applied}, {failed} failed"))?;
            if !positions.is_empty() {
                let token: Vec<&str> = positions.iter().map(Position::as_str).collect();
                output::line(&format!("read it back with --min-position {}", token.join(",")))?;
            }
        }
        Ok(if failed > 0 { Exit::Partial } else { Exit::Done })
    }
}

fn words(line: u64, failure: &LineFailure) -> String {
    let id = failure.id.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default();
    let at = if failure.pointer.is_empty() { String::new() } else { format!(" at {}", failure.pointer) };
    let why = if failure.detail.is_empty() { &failure.title } else { &failure.detail };
    let colon = if why.is_empty() { "" } else { ": " };
    format!("line {line}{id}: {} {}{at}{colon}{why}", failure.status, failure.code)
}
