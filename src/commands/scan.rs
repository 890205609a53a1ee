//! `millpond scan`: keys in order, with their values, for people.
//!
//! Not here: taking data away (`export.rs`). Invariant: one key is one line, unless `--raw` says otherwise, and a list
//! that lacks a shard's keys never looks whole.

use std::io::{self, Write};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use millpond_client::{Item, Page, Query};
use serde_json::json;

use crate::{
    client_args::{RangeArgs, ReadArgs, ServerArgs},
    exit::Exit,
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond scan --prefix user:                   every key under user:, with its value
  millpond scan --keys-only --limit 20           the first 20 keys
  millpond scan --start a --end b --reverse      from the last key before b down to a
  millpond scan --prefix user: --json | jq -r .key
  millpond scan --consistency strong             not older than the last write

A line is a key, a tab and its value. In both, control characters, tabs, line ends and backslashes are spelled out \
(\\u{1b}, \\t, \\n, \\\\), and bytes that are no UTF-8 as \\xff, wherever the output goes: a line is always one key. On a \
terminal columns are aligned and long ones end in …; --raw writes bytes as they are. --json prints one object a line, \
with `key` or `key_b64`, `value` or `value_b64`; for data to keep or to move see `millpond export`.

The list is no snapshot: each page of up to 1,000 keys is read at one moment of each partition, and later pages later.

Exits 3, naming the shard, when a shard does not answer: the list then ends early.";

/// Widest column of keys on a terminal.
const KEY_COLUMNS_MAX: usize = 48;

/// Arguments of `scan`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// From the highest key down
    #[arg(long)]
    reverse: bool,
    /// Most keys [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print keys without values
    #[arg(long)]
    keys_only: bool,
    /// Print JSON: one object a line, with version, content type and times
    #[arg(long)]
    json: bool,
    /// Print keys and values as they are, control characters and all
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints the keys.
pub(crate) async fn run(args: ScanArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let read = args.read.options()?;
    let query = Query {
        reverse: args.reverse,
        values: !args.keys_only,
        meta: args.json,
        consistency: read.consistency,
        min_position: read.min_position,
        ..Query::new(args.range.select())
    };
    let shape = Shape::of(&args);
    let mut pages = client.pages(query);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while let Some(mut page) = pages.next().await.context("scan the keys")? {
        page.items.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= u64::try_from(page.items.len()).unwrap_or(u64::MAX);
        shape.print(&page.items)?;
        if !page.complete {
            output::error(&incomplete(&page));
            output::note("`millpond doctor` says what is wrong; run this again for the whole list");
            return Ok(Exit::Partial);
        }
        if left == 0 {
            break;
        }
    }
    Ok(Exit::Done)
}

/// What is missing, and whose it is.
pub(crate) fn incomplete(page: &Page) -> String {
    let shards = page.unreachable.join(", ");
    format!("not all keys: no answer from {}", if shards.is_empty() { "a shard" } else { &shards })
}

/// How an item is printed.
enum Shape {
    Json,
    Raw,
    Lines,
    /// In columns, of a terminal so wide.
    Columns(usize),
}

impl Shape {
    fn of(args: &ScanArgs) -> Self {
        match (args.json, args.raw) {
            (true, _) => Self::Json,
            (false, true) => Self::Raw,
            (false, false) if output::to_terminal() => Self::Columns(output::width()),
            (false, false) => Self::Lines,
        }
    }

    fn print(&self, items: &[Item]) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let keys = items.iter().map(|item| output::escape_line(&item.key).chars().count());
        let key_columns = keys.max().unwrap_or_default().min(KEY_COLUMNS_MAX);
        for item in items {
            match self {
                Self::Json => writeln!(out, "{}", json_of(item))?,
                Self::Raw => raw(&mut out, item)?,
                Self::Lines => writeln!(out, "{}", line(item))?,
                Self::Columns(width) => writeln!(out, "{}", columns(item, *width, key_columns))?,
            }
        }
        out.flush()
    }
}

fn raw(out: &mut impl Write, item: &Item) -> io::Result<()> {
    out.write_all(&item.key)?;
    if let Some(value) = &item.value {
        out.write_all(b"\t")?;
        out.write_all(value)?;
    }
    out.write_all(b"\n")
}

fn line(item: &Item) -> String {
    let key = output::escape_line(&item.key);
    item.value.as_ref().map_or(key.clone(), |value| format!("{key}\t{}", output::escape_line(value)))
}

/// What does not fit is not even spelled out: a value may be half a megabyte.
fn columns(item: &Item, width: usize, key_columns: usize) -> String {
    let key = output::escape_line(&item.key);
    let Some(value) = &item.value else { return output::shorten(&key, width).into_owned() };
    let key = output::shorten(&key, key_columns);
    let room = width.saturating_sub(key_columns + 2).max(8);
    let seen = value.get(..room * 4 + 4).unwrap_or(value);
    let value = output::escape_line(seen);
    format!("{key:<key_columns$}  {}", output::shorten(&value, room))
}

fn json_of(item: &Item) -> serde_json::Value {
    let mut told = json!({});
    insert(&mut told, "key", &item.key);
    if let Some(value) = &item.value {
        insert(&mut told, "value", value);
    }
    told["version"] = item.version.as_str().into();
    if let Some(meta) = &item.meta {
        told["size"] = meta.size.into();
        told["content_type"] = meta.content_type.as_str().into();
        told["created_at"] = meta.created_at.as_str().into();
        told["updated_at"] = meta.updated_at.as_str().into();
        told["expires_at"] = meta.expires_at.clone().into();
        told["partition"] = meta.partition.into();
        told["shard"] = meta.shard.clone().into();
    }
    told
}

/// Bytes as text when they are UTF-8, else in base64 under the name that says so.
pub(crate) fn insert(told: &mut serde_json::Value, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => told[name] = text.into(),
        Err(_) => told[format!("{name}_b64")] = STANDARD.encode(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use millpond_client::Position;

    use super::*;

    fn item(key: &'static [u8], value: &'static [u8]) -> Item {
        let version = Position::new("1-0-1").unwrap();
        Item { key: key.into(), value: Some(value.into()), version, meta: None }
    }

    #[test]
    fn a_key_is_a_line_whatever_it_holds() {
        assert_eq!(line(&item(b"a\nb", b"\x1b]0;title\x07\t\xff")), "a\\nb\t\\u{1b}]0;title\\u{7}\\t\\xff");
    }

    #[test]
    fn a_terminal_gets_columns_that_fit() {
        let shown = columns(&item(b"key", &[b'x'; 1000]), 40, 10);
        assert_eq!(shown.chars().count(), 40);
        assert!(shown.starts_with("key         xxx") && shown.ends_with("x…"), "{shown}");
        let cut = columns(&item(b"a-very-long-key", b"v"), 80, 6);
        assert_eq!(cut, "a-ver…  v");
    }

    #[test]
    fn json_tells_bytes_exactly() {
        let told = json_of(&item(b"\xff", b"text"));
        assert_eq!(told, json!({"key_b64": "/w==", "value": "text", "version": "1-0-1"}));
    }
}
