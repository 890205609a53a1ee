//! `millpond doctor`: what is halted or behind, why, and which command comes next.
//!
//! Asks and prints; what is a finding stands in `findings.rs`. Invariant: changes nothing, and says plainly when there
//! is nothing wrong.

mod advice;
mod findings;

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use clap::Args;
use millpond::{lag, settings::Settings};
use millpond_client::ops::Ops;
use serde_json::json;

use self::findings::{Finding, Severity};
use crate::{
    cli::SettingsArgs,
    client_args::{OpsArgs, duration},
    exit::Exit,
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond doctor                                of the process whose ops listener is on 127.0.0.1:7421
  millpond doctor --ops http://api-1:7421 --ops http://writer-1:7431 --ops http://writer-2:7431
  millpond doctor --config millpond.toml         of a deployment: also asks Kafka and Postgres
  millpond doctor --json

Looks at readiness, halted and waiting partitions, lag, and dead letters, and prints what it finds, the worst first, each \
with the command to type next. It changes nothing.

Exits 0 when nothing is wrong, 1 when something is. Dead letters alone are a notice and not wrong.";

/// How long the engines of a deployment may take to answer.
const ENGINES_MAX: Duration = Duration::from_secs(30);
/// Dead letters shown.
const LETTERS: u32 = 1;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// A partition is behind when a record has waited so long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    behind: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Looks and tells.
pub(crate) async fn run(args: DoctorArgs, before: SettingsArgs) -> Result<Exit> {
    let settings_args = args.settings.over(before);
    let config = settings_args.config().map(|path| path.display().to_string());
    let settings = settings_args.load()?.settings;
    let deployment = !settings.kafka.brokers.is_empty();
    let mut findings = Vec::new();
    let mut asked = Vec::new();
    let named = !args.ops.is_default();
    let urls = if named { args.ops.urls() } else { vec![format!("http://{}", settings.ops_listen)] };
    for url in urls {
        match process(&args.ops.at(&url)?, &url, args.behind).await {
            // A deployment need not have a process here.
            None if deployment && !named => {}
            None => {
                asked.push(url.clone());
                findings.push(findings::unreachable(&url));
            }
            Some(found) => {
                asked.push(url);
                findings.extend(found);
            }
        }
    }
    if deployment {
        let config = config.unwrap_or_default();
        findings.extend(engines(&settings, &config, args.behind).await);
        asked.push(config);
    }
    findings.sort_by_key(|finding| finding.severity);
    // Several processes tell the same.
    let mut told = BTreeSet::new();
    findings.retain(|finding| told.insert(finding.what.clone()));
    tell(&findings, &asked, args.json)?;
    let wrong = findings.iter().any(|finding| finding.severity.is_wrong());
    Ok(if wrong { Exit::Negative } else { Exit::Done })
}

/// What one process says. None: nobody answers.
async fn process(ops: &Ops, url: &str, behind: Duration) -> Option<Vec<Finding>> {
    let readiness = match ops.readiness().await {
        Ok(readiness) => readiness,
        Err(error) if error.is_unreachable() => return None,
        Err(error) => return Some(vec![findings::not_understood(url, &error.to_string())]),
    };
    let mut found = findings::of_checks(&readiness, url);
    match ops.lag().await {
        Ok(Some(lags)) => {
            found.extend(findings::of_lags(lags.iter().map(findings::Behind::from), behind, url));
        }
        Ok(None) => {}
        Err(error) => found.push(findings::not_asked(url, "the lag", &error.to_string())),
    }
    match ops.dead_letters(None, LETTERS).await {
        Ok(Some(letters)) => found.extend(findings::of_letters(&letters, url)),
        Ok(None) => {}
        Err(error) => found.push(findings::not_asked(url, "dead letters", &error.to_string())),
    }
    Some(found)
}

/// What Kafka and the shards' primaries say.
async fn engines(settings: &Settings, config: &str, behind: Duration) -> Vec<Finding> {
    let lags = match tokio::time::timeout(ENGINES_MAX, lag::read(settings)).await {
        Ok(Ok(lags)) => lags,
        Ok(Err(error)) => return vec![findings::no_engines(config, &format!("{error:#}"))],
        Err(_late) => return vec![findings::no_engines(config, "no answer within 30 s")],
    };
    let mut found = findings::of_shards(&lags, config);
    found.extend(findings::of_lags(lags.iter().filter_map(findings::Behind::of), behind, config));
    found
}

fn tell(findings: &[Finding], asked: &[String], json: bool) -> Result<()> {
    let wrong = findings.iter().filter(|finding| finding.severity.is_wrong()).count();
    if json {
        let findings: Vec<_> = findings.iter().map(Finding::json).collect();
        output::json(&json!({"wrong": wrong > 0, "findings": findings, "asked": asked}))?;
        return Ok(());
    }
    for finding in findings {
        output::line(&finding.text(output::stdout_colored()))?;
    }
    let asked = asked.join(", ");
    output::line(&match (wrong, findings.len()) {
        (0, 0) => format!("nothing wrong (asked {asked})"),
        (0, _) => format!("nothing wrong otherwise (asked {asked})"),
        (1, _) => format!("1 thing is wrong (asked {asked})"),
        (wrong, _) => format!("{wrong} things are wrong (asked {asked})"),
    })?;
    Ok(())
}

impl Severity {
    fn is_wrong(self) -> bool {
        self < Self::Notice
    }
}
