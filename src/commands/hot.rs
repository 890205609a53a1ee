//! `millpond hot`: the keys that are written most, of the writers that are asked; or which of them is a given key.
//!
//! Invariant: a key is known here by its hash alone, unless the operator names it.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use anyhow::{Context, Result, bail};
use clap::Args;
use millpond_client::ops::HotKey;
use millpond_schemas::{RecordKey, Tenant};
use serde_json::json;

use crate::{client_args::OpsArgs, exit::Exit, output};

const EXAMPLES: &str = "\
Examples:
  millpond hot                                   by the process whose ops listener is on 127.0.0.1:7421
  millpond hot --ops http://writer-1:7431 --ops http://writer-2:7431
  millpond hot --key user/42                     is this one of them, and how hot?
  millpond hot --key user/42 --tenant acme --json

A writer counts the mutations of the last one to two minutes and keeps the 64 keys with the most. It tells each by a hash; \
name a key to find its own. A count may be too high by `error`.";

/// Arguments of `hot`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HotArgs {
    /// Only this key
    #[arg(long, value_name = "KEY")]
    key: Option<OsString>,
    /// Whose key
    #[arg(long, env = "MILLPOND_TENANT", value_name = "TENANT", default_value = "default")]
    tenant: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ops: OpsArgs,
}

/// Asks and prints.
pub(crate) async fn run(args: HotArgs) -> Result<Exit> {
    let wanted = args.key.as_ref().map(|key| hash(&args.tenant, key)).transpose()?;
    let (mut keys, mut mutations, mut seconds) = (Vec::new(), 0, 0f64);
    for url in args.ops.urls() {
        let hottest = args.ops.at(&url)?.hottest().await.with_context(|| format!("ask {url}"))?;
        let Some(hottest) = hottest else {
            bail!("{url} is no process that writes: name the ops listener of a writer with --ops")
        };
        mutations += hottest.mutations;
        seconds = seconds.max(hottest.window_seconds);
        keys.extend(hottest.keys);
    }
    // What is certain of each: a key that took a counter over may have but one.
    keys.sort_by_key(|key| std::cmp::Reverse(key.count.saturating_sub(key.error)));
    if let Some(wanted) = &wanted {
        keys.retain(|key| key.hash == *wanted);
    }
    if args.json {
        let told: Vec<_> = keys.iter().map(told).collect();
        output::json(&json!({
            "window_seconds": seconds, "mutations": mutations, "hash": wanted, "keys": told,
        }))?;
        return Ok(Exit::Done);
    }
    let mut lines = vec![format!("{mutations} mutations in {seconds:.0} s")];
    match &wanted {
        Some(hash) if keys.is_empty() => lines.push(format!("{hash} is not among the hottest keys")),
        _ => {
            let head = ("hash", "tenant", "partition", "count", "error");
            lines.push(format!("{:<16}  {:<16} {:>9} {:>12} {:>10}", head.0, head.1, head.2, head.3, head.4));
            lines.extend(keys.iter().map(line));
        }
    }
    output::line(&lines.join("\n"))?;
    Ok(Exit::Done)
}

fn hash(tenant: &str, key: &OsString) -> Result<String> {
    let tenant = Tenant::new(tenant.to_owned()).context("read the tenant")?;
    let key = RecordKey::new(&tenant, key.as_bytes()).context("read the key")?;
    Ok(format!("{:016x}", key.hash()))
}

fn line(key: &HotKey) -> String {
    let HotKey { hash, tenant, partition, count, error } = key;
    format!("{hash:<16}  {tenant:<16} {partition:>9} {count:>12} {error:>10}")
}

fn told(key: &HotKey) -> serde_json::Value {
    let HotKey { hash, tenant, partition, count, error } = key;
    json!({ "hash": hash, "tenant": tenant, "partition": partition, "count": count, "error": error })
}
