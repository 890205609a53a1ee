//! `millpond put`: one value under one key.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use millpond_client::WriteOptions;

use super::{key_bytes, tell_written};
use crate::{
    client_args::{ServerArgs, WriteArgs},
    exit::{Exit, Misuse},
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond put greeting hello
  millpond put user:7 --file user.json --content-type application/json
  date | millpond put now - --ttl 15m
  millpond put lock mine --if-none-match --wait 5s     only if it does not exist
  millpond put greeting hi --if-match 1-3-42           only if it is at that version";

/// Larger than any server takes, bytes: read so far and no further.
const VALUE_BYTES_MAX: u64 = 64 << 20;

/// Arguments of `put`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PutArgs {
    /// The key, 1 to 1024 bytes
    key: OsString,
    /// The value; - reads it from standard input
    #[arg(allow_hyphen_values = true, required_unless_present = "file", conflicts_with = "file")]
    value: Option<OsString>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The value's content type [default: text/plain for an argument, application/octet-stream otherwise]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Expire after a duration such as 90s, 15m, 7d
    #[arg(long, value_name = "DURATION", conflicts_with = "expires_at")]
    ttl: Option<String>,
    /// Expire at a moment (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Only if the key does not exist
    #[arg(long, conflicts_with = "if_match")]
    if_none_match: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Puts the value.
pub(crate) async fn run(args: PutArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let options = WriteOptions {
        ttl: args.ttl,
        expires_at: args.expires_at,
        if_absent: args.if_none_match,
        ..args.write.options()
    };
    if let Some(tip) = args.value.as_deref().and_then(looks_like_file) {
        output::note(&tip);
    }
    let (value, natural) = value(args.value, args.file)?;
    let content_type = args.content_type.as_deref().unwrap_or(natural);
    let put = client.put(&key_bytes(args.key), value.into(), content_type, &options).await;
    tell_written(&put.context("put the value")?, args.json)
}

/// Somebody who wants a file's content may type its name, as curl's `@file` or alone.
fn looks_like_file(value: &OsStr) -> Option<String> {
    let text = value.to_str()?;
    let name = text.strip_prefix('@').unwrap_or(text);
    let meant = text.starts_with('@') || text.contains('/');
    (meant && Path::new(name).is_file())
        .then(|| format!("the value is the text {text}; to put what the file holds: --file {name}"))
}

/// The value's bytes and the content type that suits where it came from.
fn value(value: Option<OsString>, file: Option<PathBuf>) -> Result<(Vec<u8>, &'static str)> {
    let octets = "application/octet-stream";
    match (value, file) {
        (_, Some(path)) => {
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            Ok((read(file).with_context(|| format!("read {}", path.display()))?, octets))
        }
        (Some(value), None) if value != "-" => Ok((value.into_vec(), "text/plain; charset=utf-8")),
        (_, None) => Ok((read(io::stdin()).context("read standard input")?, octets)),
    }
}

fn read(from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > VALUE_BYTES_MAX {
        return Err(Misuse("the value is larger than any server takes".to_owned()).into());
    }
    Ok(bytes)
}
