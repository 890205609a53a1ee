//! `millpond ttl`: when one key expires, read or changed.

use std::{ffi::OsString, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use millpond::settings::show_duration;
use millpond_client::{Expires, Ttl, TtlChange, TtlMode};
use serde_json::json;

use super::{key_bytes, status_word};
use crate::{
    client_args::{ReadArgs, ServerArgs, WriteArgs},
    exit::Exit,
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond ttl session:9                         print when it expires
  millpond ttl session:9 15m                     expire in 15 minutes
  millpond ttl session:9 1h --mode only-longer   unless it lives longer anyway
  millpond ttl session:9 --expires-at 2030-01-01T00:00:00Z
  millpond ttl session:9 --none                  keep it for ever

Exits 1 when there is no such key.";

/// Arguments of `ttl`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TtlArgs {
    /// The key
    key: OsString,
    /// Expire after so long: 90, 90s, 15m, 1500ms
    #[arg(value_name = "DURATION", conflicts_with_all = ["expires_at", "none"])]
    ttl: Option<String>,
    /// Expire at a moment (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "none")]
    expires_at: Option<String>,
    /// Never expire
    #[arg(long)]
    none: bool,
    /// How the new expiry meets the present one
    #[arg(long, value_enum, default_value = "set", conflicts_with = "none")]
    mode: ModeArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// Replace it
    Set,
    /// Add to it
    Extend,
    /// Keep the later one
    OnlyLonger,
    /// Keep the earlier one
    OnlyShorter,
    /// Only where there is none
    IfNone,
}

impl From<ModeArg> for TtlMode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Set => Self::Set,
            ModeArg::Extend => Self::Extend,
            ModeArg::OnlyLonger => Self::OnlyLonger,
            ModeArg::OnlyShorter => Self::OnlyShorter,
            ModeArg::IfNone => Self::IfNone,
        }
    }
}

/// Prints or changes the expiry.
pub(crate) async fn run(args: TtlArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let key = key_bytes(args.key);
    let expires = match (args.ttl, args.expires_at, args.none) {
        (Some(ttl), ..) => Some(Expires::After(ttl)),
        (None, Some(at), _) => Some(Expires::At(at)),
        (None, None, true) => Some(Expires::Never),
        (None, None, false) => None,
    };
    let told =
        match expires {
            None => {
                let ttl = client.ttl(&key, &args.read.options()?).await.context("read the ttl")?;
                ttl.map(|ttl| if args.json { json_of(&ttl).to_string() } else { text_of(&ttl) })
            }
            Some(expires) => {
                let options = args.write.options();
                let change = client.set_ttl(&key, &expires, args.mode.into(), &options);
                let change = change.await.context("change the ttl")?;
                change.map(|change| {
                    if args.json { json_of_change(&change).to_string() } else { text_of_change(&change) }
                })
            }
        };
    let Some(told) = told else {
        output::error("no such key");
        return Ok(Exit::Negative);
    };
    output::line(&told)?;
    Ok(Exit::Done)
}

fn json_of(ttl: &Ttl) -> serde_json::Value {
    json!({"ttl_ms": ttl.ttl_ms, "expires_at": ttl.expires_at})
}

fn text_of(ttl: &Ttl) -> String {
    match (ttl.ttl_ms, &ttl.expires_at) {
        (Some(ms), Some(at)) => format!("{} left, expires {at}", show_duration(Duration::from_millis(ms))),
        _ => "never expires".to_owned(),
    }
}

fn json_of_change(change: &TtlChange) -> serde_json::Value {
    json!({
        "position": change.position,
        "status": status_word(change.status),
        "changed": change.changed,
        "expires_at": change.expires_at,
    })
}

fn text_of_change(change: &TtlChange) -> String {
    let status = status_word(change.status);
    let what = match (change.changed, &change.expires_at) {
        (Some(false), _) => ", nothing changed".to_owned(),
        (_, Some(at)) => format!(", expires {at}"),
        (Some(true), None) => ", never expires".to_owned(),
        (None, None) => String::new(),
    };
    format!("{status} at {}{what}", change.position)
}
