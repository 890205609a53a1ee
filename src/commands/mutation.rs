//! `millpond mutation`: what became of one write, in words.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use millpond_client::{Mutation, Position, Problem, Status};
use serde_json::json;

use super::status_word;
use crate::{
    client_args::{ServerArgs, duration},
    exit::Exit,
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond mutation 1-3-42                       what became of the write that was answered with this position
  millpond mutation 1-3-42 --wait 10s            once it is applied, or after 10 s
  millpond mutation 1-3-42 --json

Exits 0 when it was applied (or repeats one that was), 1 when it had no effect or was never made, 3 while it is on the \
log and not applied, 4 when it is too long ago (24 h) to know.";

/// Longest that a server waits.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Arguments of `mutation`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MutationArgs {
    /// Its position, as put, del, batch and import print it
    #[arg(value_parser = position)]
    position: Position,
    /// Wait until it is applied, at most so long (and 30s)
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    wait: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// An `ETag` has quotes around the position; they may come along.
fn position(text: &str) -> Result<Position, String> {
    Position::new(text.trim_matches('"')).map_err(|error| error.to_string())
}

/// Prints what became of it.
pub(crate) async fn run(args: MutationArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let found =
        client.mutation(&args.position, args.wait.min(WAIT_MAX)).await.context("ask for the mutation")?;
    let Some(mutation) = found else {
        output::error(&format!("no mutation of this tenant has the position {}", args.position));
        return Ok(Exit::Negative);
    };
    if args.json {
        output::json(&json_of(&mutation))?;
    } else {
        output::line(&words(&mutation))?;
        if let Some(next) = next(&mutation) {
            output::note(&next);
        }
    }
    Ok(match mutation.status {
        Status::Applied | Status::Duplicate => Exit::Done,
        Status::Rejected | Status::DeadLettered => Exit::Negative,
        Status::Accepted => Exit::Partial,
    })
}

fn words(mutation: &Mutation) -> String {
    let position = &mutation.position;
    let at = mutation.time.as_ref().map(|time| format!(" (on the log since {time})")).unwrap_or_default();
    let why = mutation.problem.as_ref().map(why).unwrap_or_default();
    match mutation.status {
        Status::Accepted => format!("{position} is on the log and not applied yet{at}"),
        Status::Applied if mutation.changed == Some(false) => {
            format!("{position} was applied and changed nothing{at}")
        }
        Status::Applied => {
            let version = mutation.version.as_ref().unwrap_or(position);
            let expires = mutation.expires_at.as_ref().map(|at| format!(", it expires {at}"));
            format!(
                "{position} was applied: the key's version became {version}{}{at}",
                expires.unwrap_or_default()
            )
        }
        Status::Rejected => format!("{position} was rejected and had no effect: {why}{at}"),
        Status::Duplicate => {
            let of = mutation.of.as_ref().map(|of| format!(" {of}")).unwrap_or_default();
            format!("{position} repeats{of}, whose effect stands; it had none of its own{at}")
        }
        Status::DeadLettered => format!("{position} could never apply and had no effect: {why}{at}"),
    }
}

fn why(problem: &Problem) -> String {
    let word = if problem.reason.is_empty() { &problem.code } else { &problem.reason };
    let text = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    if text.is_empty() { word.clone() } else { format!("{word}: {text}") }
}

fn next(mutation: &Mutation) -> Option<String> {
    let position = &mutation.position;
    match mutation.status {
        Status::Accepted => Some(format!(
            "`millpond mutation {position} --wait 10s` waits; `millpond doctor` says what holds it up"
        )),
        Status::Duplicate => {
            mutation.of.as_ref().map(|of| format!("`millpond mutation {of}` tells of that one"))
        }
        Status::DeadLettered => Some("`millpond deadletters list` shows the record's like".to_owned()),
        Status::Applied | Status::Rejected => None,
    }
}

fn json_of(mutation: &Mutation) -> serde_json::Value {
    let problem = mutation.problem.as_ref().map(|problem| {
        json!({
            "status": problem.status, "code": problem.code, "title": problem.title, "detail": problem.detail,
            "reason": (!problem.reason.is_empty()).then_some(&problem.reason),
        })
    });
    json!({
        "position": mutation.position,
        "status": status_word(mutation.status),
        "time": mutation.time,
        "version": mutation.version,
        "changed": mutation.changed,
        "expires_at": mutation.expires_at,
        "of": mutation.of,
        "problem": problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str) -> String {
        words(&serde_json::from_str(body).unwrap())
    }

    #[test]
    fn every_fate_is_told_in_words() {
        assert_eq!(
            told(r#"{"position":"1-0-7","status":"accepted","time":"T"}"#),
            "1-0-7 is on the log and not applied yet (on the log since T)"
        );
        assert_eq!(
            told(r#"{"position":"1-0-7","status":"applied","version":"1-0-7"}"#),
            "1-0-7 was applied: the key's version became 1-0-7"
        );
        assert_eq!(
            told(r#"{"position":"1-0-7","status":"applied","version":"1-0-3","changed":false}"#),
            "1-0-7 was applied and changed nothing"
        );
        assert_eq!(
            told(
                r#"{"position":"1-0-7","status":"rejected","problem":{"code":"condition-failed","title":"A condition did not hold"}}"#
            ),
            "1-0-7 was rejected and had no effect: condition-failed: A condition did not hold"
        );
        assert_eq!(
            told(r#"{"position":"1-0-7","status":"duplicate","of":"1-0-3"}"#),
            "1-0-7 repeats 1-0-3, whose effect stands; it had none of its own"
        );
        assert_eq!(
            told(
                r#"{"position":"1-0-7","status":"dead_lettered","problem":{"code":"dead-lettered","reason":"ttl-invalid","detail":"d"}}"#
            ),
            "1-0-7 could never apply and had no effect: ttl-invalid: d"
        );
    }

    #[test]
    fn an_etag_is_a_position_too() {
        assert_eq!(position("\"1-3-42\"").unwrap().as_str(), "1-3-42");
        assert!(position("42").unwrap_err().contains("such as 1-3-42"));
    }
}
