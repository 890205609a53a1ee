//! `millpond del`: deletes one key.

use std::ffi::OsString;

use anyhow::{Context, Result};
use clap::Args;

use super::{key_bytes, tell_written};
use crate::{
    client_args::{ServerArgs, WriteArgs},
    exit::Exit,
};

const EXAMPLES: &str = "\
Examples:
  millpond del greeting
  millpond del greeting --if-match 1-3-42 --wait 5s    only if it is at that version

Deleting a key that does not exist is done, too.";

/// Arguments of `del`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DelArgs {
    /// The key
    key: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Deletes the key.
pub(crate) async fn run(args: DelArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let options = args.write.options();
    let deleted = client.delete(&key_bytes(args.key), &options).await;
    tell_written(&deleted.context("delete the key")?, args.json)
}
