//! What `skip` and `discard-copy` share: where the partition stands is asked of its writer, what would be done is told,
//! agreed to, and done.
//!
//! A deployment's control topic is written from here; one process with everything does it itself, and where that is
//! stopped its data directory is opened. Invariant: nothing is done that was not told before.

use anyhow::{Context, Result};
use clap::Args;
use millpond::{
    decisions::{self, Asked, Decision, Ground, Standing, Undecided},
    deployment::Deployment,
    settings::Settings,
};
use millpond_client::ops::{Check, Health, Ops};
use millpond_schemas::PartitionId;
use serde_json::Value;

use crate::{
    cli::SettingsArgs,
    client_args::OpsArgs,
    commands::{decided, record_line},
    confirm::{ConfirmArgs, confirm, who},
    exit::{Exit, Misuse, Refused},
    output,
};

/// Arguments that both have.
#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Who makes it.
enum Maker<'a> {
    /// The process with everything.
    Process(Box<Ops>),
    /// Nobody has the data directory: this command opens it.
    Folder(&'a Settings),
    /// This command, on Kafka and Postgres; the writers are asked.
    Deployment(Box<Ground>, Vec<Ops>),
}

/// Tells, asks, does.
pub(crate) async fn run(decision: Decision, args: DecideArgs, before: SettingsArgs) -> Result<Exit> {
    let DecideArgs { confirm: agreed, ops, settings } = args;
    let (why, json) = (agreed.why()?, agreed.json);
    let settings = settings.over(before).load()?.settings;
    let maker = Maker::find(&ops, &settings).await?;
    let mut asked = Asked { decision, who: who(), why, dry_run: true };
    let told = maker.ask(&asked).await?;
    let already = told["already"] == true;
    if !json {
        tell(&told)?;
    }
    if agreed.dry_run || already {
        if json {
            output::json(&told)?;
        } else if already {
            output::line("it was decided before; nothing is changed")?;
        }
        return Ok(Exit::Done);
    }
    confirm(&decision.text(), agreed.yes)?;
    asked.dry_run = false;
    let done = maker.ask(&asked).await?;
    if json {
        output::json(&done)?;
    } else {
        let partition = decision.partition();
        output::line(&match done["goes_on"].as_bool() {
            Some(true) => format!("done at epoch {}: partition {partition} goes on", done["epoch"]),
            _ => format!(
                "done at epoch {}; partition {partition} does not go on yet: `millpond doctor` says why",
                done["epoch"]
            ),
        })?;
    }
    Ok(if done["goes_on"] == true { Exit::Done } else { Exit::Partial })
}

impl<'a> Maker<'a> {
    async fn find(args: &OpsArgs, settings: &'a Settings) -> Result<Self> {
        let here = vec![format!("http://{}", settings.ops_listen)];
        let urls = if args.is_default() { here } else { args.urls() };
        if !settings.kafka.brokers.is_empty() {
            let keyring = Deployment::keyring(settings)?;
            let (deployment, _background) = Deployment::connect(settings, "operator").await?;
            let Deployment { log, control, shards, clock, .. } = deployment;
            let ground = Ground { log, control, shards, keyring, clock };
            let writers = urls.iter().map(|url| args.at(url)).collect::<Result<_, _>>()?;
            return Ok(Self::Deployment(Box::new(ground), writers));
        }
        let [url] = urls.as_slice() else {
            return Err(
                Misuse("one process has everything here: name its ops listener alone".to_owned()).into()
            );
        };
        let ops = args.at(url)?;
        match ops.readiness().await {
            Err(error) if error.is_unreachable() && args.is_default() => Ok(Self::Folder(settings)),
            Err(error) => Err(error).with_context(|| format!("ask {url}")),
            Ok(_) => Ok(Self::Process(Box::new(ops))),
        }
    }

    async fn ask(&self, asked: &Asked) -> Result<Value> {
        let made = match self {
            Self::Process(ops) => {
                let text = asked.decision.text();
                let told = ops.decide(&text, (&asked.who, &asked.why), asked.dry_run).await;
                let told = told.map_err(decided)?;
                let other =
                    "that process is one role of a deployment: name the deployment with --config FILE";
                return told.ok_or_else(|| Misuse(other.to_owned()).into());
            }
            Self::Folder(settings) => decisions::offline(settings, asked).await,
            Self::Deployment(ground, writers) => {
                let standing = standing(writers, asked.decision.partition()).await;
                decisions::decide(ground, asked, standing.as_ref()).await
            }
        };
        made.map_err(|undecided| match undecided {
            Undecided::Refused(why) => Refused(why).into(),
            Undecided::Unavailable(error) => error,
        })
    }
}

/// What the writers say of a partition; none: none of them has it. One that runs is believed over one that let go.
async fn standing(writers: &[Ops], partition: PartitionId) -> Option<Standing> {
    let name = format!("partition {partition}");
    let mut found = None;
    for writer in writers {
        let checks = match writer.readiness().await {
            Ok(readiness) => readiness.checks,
            Err(error) => {
                output::warning(&format!("a process cannot be asked: {error}"));
                continue;
            }
        };
        let standing = checks.iter().find(|check| check.name == name).map(of_check);
        if standing == Some(Standing::Running) {
            return standing;
        }
        found = standing.or(found);
    }
    found
}

fn of_check(check: &Check) -> Standing {
    let halted = check.detail.strip_prefix("halted, ").and_then(|rest| rest.split_once(": "));
    match (check.health, halted) {
        (Health::Ok, _) => Standing::Running,
        (_, Some((name, why))) => Standing::Halted { name: name.to_owned(), why: why.to_owned() },
        (_, None) => Standing::Waiting(check.detail.clone()),
    }
}

fn tell(told: &Value) -> Result<()> {
    let text = |name: &str| output::escape_line(told[name].as_str().unwrap_or("unknown").as_bytes());
    output::line(&format!("{}, on {} at {}", text("decision"), text("shard"), text("applied")))?;
    output::line(&format!("  it is: {}", text("standing")))?;
    let records = told["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    for record in records {
        output::line(&format!("  {}", record_line(record)))?;
    }
    let more = told["records_total"].as_u64().unwrap_or_default().saturating_sub(records.len() as u64);
    if more > 0 {
        output::line(&format!("  and {more} more"))?;
    }
    output::line(&format!("  is lost: {}", text("loses")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_how_a_partition_stands() {
        let check =
            |health, detail: &str| Check { name: "partition 3".into(), health, detail: detail.into() };
        assert_eq!(of_check(&check(Health::Ok, "")), Standing::Running);
        let halted = Standing::Halted { name: "log-gap".into(), why: "the log goes on: so".into() };
        assert_eq!(of_check(&check(Health::Degraded, "halted, log-gap: the log goes on: so")), halted);
        assert_eq!(of_check(&check(Health::Degraded, "waits: x")), Standing::Waiting("waits: x".into()));
    }
}
