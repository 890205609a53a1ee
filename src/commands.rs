//! The commands, one file each.
//!
//! Invariant: a command returns how it ended, or an error with what was tried; it never exits by itself.

pub(crate) mod batch;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod deadletters;
pub(crate) mod decide;
pub(crate) mod del;
pub(crate) mod discard_copy;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod hot;
pub(crate) mod import;
pub(crate) mod import_progress;
pub(crate) mod init;
pub(crate) mod lag;
pub(crate) mod mutation;
pub(crate) mod partition;
pub(crate) mod put;
pub(crate) mod rebuild;
pub(crate) mod role;
pub(crate) mod scan;
pub(crate) mod skip;
pub(crate) mod token;
pub(crate) mod topology;
pub(crate) mod ttl;
pub(crate) mod verify;

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use anyhow::Result;
use millpond_client::Written;

use crate::{
    cli::{Cli, Command},
    commands::role::Role,
    exit::{Exit, Misuse, Refused},
    output, telemetry,
};

/// Settings with Kafka are for roles; without a command everything would run on local files beside it.
const ROLELESS: &str = "kafka.brokers is set: say which role to run, `millpond api`, `writer` or `sweeper` (after \
    `millpond init`), or take it out to run everything on local files";

/// Runs what the command line says.
pub(crate) async fn run(cli: Cli) -> Result<Exit> {
    let Cli { serve: before, command } = cli;
    let Some(command) = command else {
        let loaded = before.load()?;
        telemetry::init(loaded.settings.telemetry.log_format, "all")?;
        if !loaded.settings.kafka.brokers.is_empty() {
            return Err(Misuse(ROLELESS.to_owned()).into());
        }
        millpond::serve::run(loaded.settings).await?;
        return Ok(Exit::Done);
    };
    match command {
        Command::Init(args) => init::run(args, before).await,
        Command::Api(args) => role::run(Role::Api, args, before).await,
        Command::Writer(args) => role::run(Role::Writer, args, before).await,
        Command::Sweeper(args) => role::run(Role::Sweeper, args, before).await,
        Command::Topology(args) => topology::run(args, before).await,
        Command::Lag(args) => lag::run(args, before).await,
        Command::Verify(args) => verify::run(args, before).await,
        Command::Rebuild(args) => rebuild::run(args, before).await,
        Command::Doctor(args) => doctor::run(args, before).await,
        Command::Skip(args) => skip::run(args, before).await,
        Command::DiscardCopy(args) => discard_copy::run(args, before).await,
        Command::Config(args) => config::run(args, before),
        command => {
            before.unused()?;
            ask(command).await
        }
    }
}

/// Commands that ask a server, or nobody.
async fn ask(command: Command) -> Result<Exit> {
    match command {
        Command::Put(args) => put::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::Del(args) => del::run(args).await,
        Command::Ttl(args) => ttl::run(args).await,
        Command::Partition(args) => partition::run(args),
        Command::Token(args) => token::run(args),
        Command::Scan(args) => scan::run(args).await,
        Command::Batch(args) => batch::run(args).await,
        Command::Mutation(args) => mutation::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Import(args) => import::run(args).await,
        Command::Deadletters(args) => deadletters::run(args).await,
        Command::Hot(args) => hot::run(args).await,
        Command::Completions(args) => completions::run(&args),
        Command::Init(_)
        | Command::Api(_)
        | Command::Writer(_)
        | Command::Sweeper(_)
        | Command::Topology(_)
        | Command::Lag(_)
        | Command::Verify(_)
        | Command::Rebuild(_)
        | Command::Doctor(_)
        | Command::Skip(_)
        | Command::DiscardCopy(_)
        | Command::Config(_) => unreachable!("it runs with settings"),
    }
}

/// A server's "that may not be done" as this command would say it itself.
fn decided(error: millpond_client::Error) -> anyhow::Error {
    let refused = error.problem().filter(|problem| problem.code == "decision-refused");
    match refused.map(|problem| problem.detail.clone()) {
        Some(why) => Refused(why).into(),
        None => error.into(),
    }
}

/// A record that a server or this command tells of, on one line.
fn record_line(told: &serde_json::Value) -> String {
    let text = |name: &str| told[name].as_str().map(|text| output::escape_line(text.as_bytes()));
    let key = ["key", "key_b64", "record_key", "record_key_b64"].into_iter().find_map(|name| {
        let word = name.replace('_', " ");
        text(name).map(|key| format!("{word} {key}"))
    });
    let tenant = text("tenant").map(|tenant| format!("tenant {tenant}, ")).unwrap_or_default();
    let (position, time) = (text("position").unwrap_or_default(), text("time").unwrap_or_default());
    let (op, key) = (text("op").unwrap_or_default(), key.unwrap_or_else(|| "no key".to_owned()));
    format!("{position}  {time}  {op} ({tenant}{key}, {} bytes)", told["bytes"])
}

/// A key as the shell gave it: any bytes.
fn key_bytes(key: OsString) -> Vec<u8> {
    key.into_vec()
}

/// Tells what became of a put or delete.
fn tell_written(written: &Written, json: bool) -> Result<Exit> {
    let status = status_word(written.status);
    if json {
        output::json(&serde_json::json!({
            "position": written.position,
            "status": status,
            "etag": written.etag,
            "expires_at": written.expires_at,
            "created": written.created,
            "duplicate": written.duplicate,
        }))?;
    } else {
        let expires = written.expires_at.as_ref().map(|at| format!(", expires {at}")).unwrap_or_default();
        let duplicate = if written.duplicate { ", as before" } else { "" };
        output::line(&format!("{status} at {}{duplicate}{expires}", written.position))?;
    }
    Ok(Exit::Done)
}

/// How far a mutation has come, in the contract's words.
fn status_word(status: millpond_client::Status) -> &'static str {
    match status {
        millpond_client::Status::Accepted => "accepted",
        millpond_client::Status::Applied => "applied",
        millpond_client::Status::Rejected => "rejected",
        millpond_client::Status::Duplicate => "duplicate",
        millpond_client::Status::DeadLettered => "dead_lettered",
    }
}
