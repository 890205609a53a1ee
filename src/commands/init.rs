//! `millpond init`: makes what a deployment needs before its roles start.

use anyhow::Result;
use clap::Args;
use millpond::deployment;

use crate::{cli::SettingsArgs, exit::Exit, output, telemetry};

const EXAMPLES: &str = "\
Examples:
  millpond init --config millpond.toml
  millpond init --config millpond.toml && millpond writer --config millpond.toml

The settings name the brokers (kafka.brokers), the partitions (log.partitions) and the shards ([[shard]]). Topics, tables, \
the MAC key and the first topology are made where they are missing; what is there stays. It is safe to repeat.";

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Makes it.
pub(crate) async fn run(args: InitArgs, before: SettingsArgs) -> Result<Exit> {
    let settings = args.settings.over(before).load()?.settings;
    telemetry::init(settings.telemetry.log_format, "init")?;
    let made = deployment::init(&settings).await?;
    for warning in &made.warnings {
        output::warning(warning);
    }
    let topology = &made.topology;
    if args.json {
        output::json(&serde_json::json!({
            "first": made.first, "epoch": topology.epoch, "partitions": topology.partitions(),
            "shards": topology.shards.len(), "log_id": topology.log_id.to_string(), "warnings": made.warnings,
        }))?;
    } else {
        let how = if made.first { "made" } else { "was there" };
        output::line(&format!(
            "the deployment {how}: {} partitions on {} shards, epoch {}",
            topology.partitions(),
            topology.shards.len(),
            topology.epoch
        ))?;
    }
    Ok(Exit::Done)
}
