//! `millpond get`: one key's value.

use std::ffi::OsString;

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use millpond_client::{Fetched, ReadOptions, Value};
use serde_json::json;

use super::key_bytes;
use crate::{
    client_args::{ReadArgs, ServerArgs, etag},
    exit::Exit,
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond get greeting
  millpond get photo > photo.jpg                 byte for byte
  millpond get greeting --json                   with version, content type and freshness
  millpond get greeting --consistency strong
  millpond get greeting --min-position 1-3-42    not older than a write of yours

Exits 1 when there is no such key. On a terminal, control characters are shown as escapes.";

/// Arguments of `get`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// The key
    key: OsString,
    /// Print JSON: the value as text, or in base64 when it is not UTF-8, and what is known of it
    #[arg(long)]
    json: bool,
    /// Print control characters to a terminal as they are
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print nothing and exit 0 while the key is still at this version
    #[arg(long, value_name = "VERSION")]
    if_none_match: Option<String>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints the value.
pub(crate) async fn run(args: GetArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let if_none_match = args.if_none_match.as_deref().map(etag);
    let options = ReadOptions { if_none_match, ..args.read.options()? };
    let key = key_bytes(args.key);
    match client.get(&key, &options).await.context("get the key")? {
        Fetched::Value(value) if args.json => output::json(&told(&value))?,
        Fetched::Value(value) => output::value(&value.bytes, args.raw)?,
        Fetched::NotModified => {}
        Fetched::Absent { .. } => {
            output::error("no such key");
            if let Some(tip) = looks_like_path(&key) {
                output::note(&tip);
            }
            return Ok(Exit::Negative);
        }
    }
    Ok(Exit::Done)
}

/// Somebody who has just used curl types the path.
fn looks_like_path(key: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(key).ok()?;
    let (before, rest) = text.split_once("/kv/")?;
    let is_path = (before.is_empty() || before.starts_with("http://")) && !rest.is_empty();
    is_path.then(|| format!("a key stands alone, without path and server: `millpond get {rest}`"))
}

fn told(value: &Value) -> serde_json::Value {
    let mut told = json!({
        "content_type": value.content_type,
        "version": value.etag.trim_matches('"'),
        "position": value.position,
        "staleness_ms": value.staleness_ms,
        "expires_at": value.expires_at,
    });
    match std::str::from_utf8(&value.bytes) {
        Ok(text) => told["value"] = text.into(),
        Err(_) => told["value_b64"] = STANDARD.encode(&value.bytes).into(),
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_root() {
        let tip = looks_like_path(b"http://127.0.0.1:7420/kv/a/b").unwrap();
        assert!(tip.ends_with("`millpond get a/b`"), "{tip}");
        assert!(looks_like_path(b"/kv/a").is_some());
        assert_eq!(looks_like_path(b"a/kv/b"), None);
        assert_eq!(looks_like_path(b"/kv/"), None);
    }
}
