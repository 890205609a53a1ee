//! `millpond lag`: how far every partition is behind its log, by what the log and the shards' primaries say now.
//!
//! Where no Kafka is set, or a process is named, that process is asked instead.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use millpond::lag::{self, Lag};
use millpond_client::ops;

use crate::{cli::SettingsArgs, client_args::OpsArgs, exit::Exit, output};

const EXAMPLES: &str = "\
Examples:
  millpond lag                                   of the one process with everything on this machine
  millpond lag --config millpond.toml            of a deployment: asks Kafka and Postgres
  millpond lag --ops http://api-1:7421           as one api process knows it
  millpond lag --json";

/// Arguments of `lag`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LagArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ops: OpsArgs,
}

/// Prints it.
pub(crate) async fn run(args: LagArgs, before: SettingsArgs) -> Result<Exit> {
    let settings = args.settings.over(before).load()?.settings;
    let lags: Vec<Row> = if args.ops.is_default() && !settings.kafka.brokers.is_empty() {
        lag::read(&settings).await.context("read the lag")?.iter().map(Row::from).collect()
    } else {
        let here = vec![format!("http://{}", settings.ops_listen)];
        told(&args.ops, if args.ops.is_default() { here } else { args.ops.urls() }).await?
    };
    if args.json {
        let lags: Vec<_> = lags.iter().map(Row::json).collect();
        output::json(&serde_json::json!({ "partitions": lags }))?;
        return Ok(Exit::Done);
    }
    let head = ("partition", "shard", "end", "applied", "behind", "seconds");
    let mut lines = vec![format!(
        "{:>9}  {:<12} {:>12} {:>12} {:>12} {:>10}",
        head.0, head.1, head.2, head.3, head.4, head.5
    )];
    lines.extend(lags.iter().map(Row::line));
    output::line(&lines.join("\n"))?;
    Ok(Exit::Done)
}

/// What processes say.
async fn told(args: &OpsArgs, urls: Vec<String>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for url in urls {
        let lags = args.at(&url)?.lag().await.with_context(|| {
            format!("ask {url}; --ops names another process, --config the file of a deployment")
        })?;
        let Some(lags) = lags else {
            bail!("no api runs behind {url}; name the ops listener of an api process with --ops")
        };
        rows.extend(lags.iter().map(Row::from));
    }
    Ok(rows)
}

/// One partition. What nobody says is none.
struct Row {
    partition: u32,
    shard: String,
    start: Option<i64>,
    end: Option<i64>,
    applied: Result<i64, String>,
    records: Option<i64>,
    seconds: Option<f64>,
}

impl From<&Lag> for Row {
    fn from(lag: &Lag) -> Self {
        Self {
            partition: lag.partition.0,
            shard: lag.shard.clone(),
            start: Some(lag.start.0),
            end: Some(lag.end.0),
            applied: lag.applied.clone().map(|applied| applied.0),
            records: lag.records(),
            seconds: lag.behind_for.as_ref().map(Duration::as_secs_f64),
        }
    }
}

impl From<&ops::Lag> for Row {
    fn from(lag: &ops::Lag) -> Self {
        Self {
            partition: lag.partition,
            shard: lag.shard.clone().unwrap_or_default(),
            start: None,
            end: lag.log_end,
            applied: lag.applied.ok_or_else(|| "not known".to_owned()),
            records: lag.lag_records,
            seconds: lag.lag_seconds,
        }
    }
}

impl Row {
    fn line(&self) -> String {
        let number = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let applied = self.applied.as_ref().map_or_else(|why| format!("? {why}"), ToString::to_string);
        let seconds = self.seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.3}"));
        let (partition, shard) = (self.partition, &self.shard);
        let (end, records) = (number(self.end), number(self.records));
        format!("{partition:>9}  {shard:<12} {end:>12} {applied:>12} {records:>12} {seconds:>10}")
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "partition": self.partition,
            "shard": self.shard,
            "log_start": self.start,
            "log_end": self.end,
            "applied": self.applied.as_ref().ok(),
            "lag_records": self.records,
            "lag_seconds": self.seconds,
            "error": self.applied.as_ref().err(),
        })
    }
}
