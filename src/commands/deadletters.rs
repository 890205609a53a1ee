//! `millpond deadletters`: records that could never apply, and why; and another try of one that could now.
//!
//! Not here: mending them. Invariant: values are never shown, and keys never raw.

mod retry;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use millpond_client::ops::{DeadLetter, DeadLetters};
use serde_json::json;

use self::retry::RetryArgs;
use super::scan;
use crate::{
    client_args::OpsArgs,
    exit::{Exit, Misuse},
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond deadletters list                      how many, of which reason, and the newest
  millpond deadletters list --partition 3 --limit 100
  millpond deadletters list --ops http://10.0.0.5:7421 --json
  millpond deadletters retry 1-3-42 --dry-run    what it would do now, and what it would overwrite
  millpond deadletters retry 1-3-42 1-3-57 --reason 'the limit was raised'

Asks the ops listener of an api process, or of the one process that has everything. A dead letter keeps the record's bytes \
in its shard (table `dead_letter`) and, on Kafka, on the topic of dead letters, with the reason in headers. A retry \
appends the same mutation at a new position, after everything that was written since; retried twice within 24 h it takes \
effect once. One that would be a dead letter again is refused (exit 4): produce it as it should have been.

Exits 3, naming the shard, when a shard does not answer.";

/// Arguments of `deadletters`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeadlettersArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print how many there are of each reason, and the newest
    #[command(after_help = EXAMPLES)]
    List {
        /// Only of this partition
        #[arg(long, value_name = "N")]
        partition: Option<u32>,
        /// Most letters
        #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        ops: OpsArgs,
    },
    /// Append the mutation of a dead letter anew
    #[command(after_help = EXAMPLES)]
    Retry(RetryArgs),
}

/// Prints them, or tries again.
pub(crate) async fn run(args: DeadlettersArgs) -> Result<Exit> {
    let (partition, limit, json, ops) = match args.what {
        What::List { partition, limit, json, ops } => (partition, limit, json, ops),
        What::Retry(args) => return retry::run(args).await,
    };
    let urls = ops.urls();
    for url in &urls {
        let letters = ops.at(url)?.dead_letters(partition, limit).await;
        if let Some(letters) = letters.with_context(|| format!("ask {url} for dead letters"))? {
            return tell(&letters, json);
        }
    }
    Err(no_api(&urls).into())
}

fn no_api(urls: &[String]) -> Misuse {
    let asked = urls.join(", ");
    Misuse(format!("no api runs behind {asked}; name the ops listener of an api process with --ops"))
}

fn tell(letters: &DeadLetters, json: bool) -> Result<Exit> {
    if json {
        output::json(&json_of(letters))?;
    } else {
        output::line(&summary(letters))?;
        for letter in &letters.newest {
            output::line(&line(letter))?;
        }
    }
    if letters.complete {
        return Ok(Exit::Done);
    }
    output::error(&format!("not all: no answer from {}", letters.unreachable.join(", ")));
    Ok(Exit::Partial)
}

/// How many, and of which reasons.
pub(crate) fn summary(letters: &DeadLetters) -> String {
    let reasons: Vec<String> =
        letters.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    match letters.total {
        0 => "no dead letters".to_owned(),
        1 => format!("1 dead letter: {}", reasons.join(", ")),
        total => format!("{total} dead letters: {}", reasons.join(", ")),
    }
}

/// One letter on one line.
pub(crate) fn line(letter: &DeadLetter) -> String {
    let key = match (&letter.tenant, &letter.key) {
        (Some(tenant), Some(key)) => format!("tenant {tenant}, key {}", output::escape_line(key)),
        (_, Some(key)) => format!("record key {}", output::escape_line(key)),
        (_, None) => "no key".to_owned(),
    };
    let size = letter.value_bytes.map_or_else(|| "no value".to_owned(), |bytes| format!("{bytes} bytes"));
    let (position, time, reason) = (&letter.position, &letter.time, &letter.reason);
    format!("{position}  {time}  {reason}: {} ({key}, {size})", letter.detail)
}

fn json_of(letters: &DeadLetters) -> serde_json::Value {
    let of = |letter: &DeadLetter| {
        let mut told = json!({
            "position": letter.position, "time": letter.time, "reason": letter.reason, "detail": letter.detail,
            "tenant": letter.tenant, "value_bytes": letter.value_bytes,
        });
        if let Some(key) = &letter.key {
            scan::insert(&mut told, if letter.tenant.is_some() { "key" } else { "record_key" }, key);
        }
        told
    };
    json!({
        "total": letters.total,
        "reasons": letters.reasons,
        "dead_letters": letters.newest.iter().map(of).collect::<Vec<_>>(),
        "complete": letters.complete,
        "unreachable": letters.unreachable,
    })
}

#[cfg(test)]
mod tests {
    use millpond_client::Position;

    use super::*;

    #[test]
    fn a_letter_is_a_line_that_no_terminal_obeys() {
        let letter = DeadLetter {
            position: Position::new("1-3-7").unwrap(),
            time: "T".into(),
            reason: "key-invalid".into(),
            detail: "not tenant/key".into(),
            tenant: None,
            key: Some(b"\x1b[2J\xff\n".as_slice().into()),
            value_bytes: Some(3),
        };
        let expected = "1-3-7  T  key-invalid: not tenant/key (record key \\u{1b}[2J\\xff\\n, 3 bytes)";
        assert_eq!(line(&letter), expected);
    }
}
