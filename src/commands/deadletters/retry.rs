//! `millpond deadletters retry`: appends the mutations of dead letters anew.
//!
//! Invariant: what would be done is told before, and a second retry has no second effect.

use anyhow::{Context, Result};
use clap::Args;
use millpond_client::{Position, ops::Ops};
use serde_json::{Value, json};

use super::no_api;
use crate::{
    client_args::OpsArgs,
    commands::{decided, record_line},
    confirm::{ConfirmArgs, confirm, who},
    exit::Exit,
    output,
};

/// Arguments of `deadletters retry`.
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// The letters' positions, such as 1-3-42
    #[arg(required = true, value_name = "POSITION")]
    positions: Vec<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    ops: OpsArgs,
}

/// All are looked at before the first is tried.
pub(super) async fn run(args: RetryArgs) -> Result<Exit> {
    let RetryArgs { positions: named, confirm: agreed, ops } = args;
    let why = agreed.why()?;
    let positions = named.iter().map(Position::new).collect::<Result<Vec<_>, _>>()?;
    let (ops, by) = (of_api(&ops).await?, who());
    let mut planned = Vec::new();
    for position in &positions {
        let told = ask(&ops, position, (&by, &why), true).await?;
        if !agreed.json {
            output::line(&plan(&told))?;
        }
        planned.push(told);
    }
    if agreed.dry_run {
        if agreed.json {
            output::json(&json!({"letters": planned}))?;
        }
        return Ok(Exit::Done);
    }
    confirm(&format!("append {} again", named.join(", ")), agreed.yes)?;
    let (mut done, mut failed) = (Vec::new(), false);
    for position in &positions {
        let told = ask(&ops, position, (&by, &why), false).await?;
        failed |= !matches!(told["retried"]["status"].as_str(), Some("applied" | "duplicate"));
        if !agreed.json {
            output::line(&outcome(position, &told["retried"]))?;
        }
        done.push(told);
    }
    if agreed.json {
        output::json(&json!({"letters": done}))?;
    }
    Ok(if failed { Exit::Partial } else { Exit::Done })
}

/// The first process that has an api.
async fn of_api(args: &OpsArgs) -> Result<Ops> {
    let urls = args.urls();
    for url in &urls {
        let ops = args.at(url)?;
        if ops.lag().await.with_context(|| format!("ask {url}"))?.is_some() {
            return Ok(ops);
        }
    }
    Err(no_api(&urls).into())
}

async fn ask(ops: &Ops, position: &Position, by: (&str, &str), dry_run: bool) -> Result<Value> {
    let told = ops.retry_dead_letter(position, by, dry_run).await;
    let told = told.map_err(decided).with_context(|| format!("retry {position}"))?;
    told.context("the process has no api any more")
}

fn plan(told: &Value) -> String {
    let mut letter = told["letter"].clone();
    letter["op"] = told["op"].clone();
    letter["bytes"] = letter["value_bytes"].take();
    let reason = letter["reason"].as_str().unwrap_or_default().to_owned();
    let newer = told["overwrites"].as_str();
    let newer = newer.map(|version| format!("; its key has version {version} now, which it comes after"));
    format!("{}, {reason}{}", record_line(&letter), newer.unwrap_or_default())
}

fn outcome(position: &Position, retried: &Value) -> String {
    let text = |name: &str| retried[name].as_str().unwrap_or_default();
    let of = retried["of"].as_str().map(|of| format!(" of {of}")).unwrap_or_default();
    format!("{position} is {} now: {}{of}", text("position"), text("status"))
}
