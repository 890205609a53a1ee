//! The commands, one file each.
//!
//! Invariant: a command returns how it ended, or an error with what was tried; it never exits by itself.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod del;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod import_progress;
pub(crate) mod partition;
pub(crate) mod put;
pub(crate) mod ttl;

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use anyhow::Result;
use millpond_client::Written;

use crate::{
    cli::{Cli, Command},
    exit::Exit,
    output, telemetry,
};

/// Runs what the command line says.
pub(crate) async fn run(cli: Cli) -> Result<Exit> {
    match cli.command {
        None => {
            let loaded = cli.serve.load()?;
            telemetry::init(loaded.settings.telemetry.log_format)?;
            millpond::serve::run(loaded.settings).await?;
            Ok(Exit::Done)
        }
        Some(Command::Put(args)) => put::run(args).await,
        Some(Command::Get(args)) => get::run(args).await,
        Some(Command::Del(args)) => del::run(args).await,
        Some(Command::Ttl(args)) => ttl::run(args).await,
        Some(Command::Partition(args)) => partition::run(args),
        Some(Command::Import(args)) => import::run(args).await,
        Some(Command::Config(args)) => config::run(args),
        Some(Command::Completions(args)) => completions::run(&args),
    }
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
