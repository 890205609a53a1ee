//! From what processes and engines say to what is wrong, why, and what to type next.
//!
//! Pure. Invariant: every finding has a next step, and nothing in it comes raw from a producer.

use std::{collections::BTreeMap, time::Duration};

use clap::builder::styling::{AnsiColor, Style};
use millpond::lag;
use millpond_client::ops::{Check, DeadLetters, Health, Lag, Readiness};
use serde_json::json;

use super::advice;
use crate::{commands::deadletters, output};

/// How bad it is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Calls fail.
    Critical,
    /// Some keys stand still.
    Error,
    /// It works, and may not for long, or is late.
    Warning,
    /// Worth knowing.
    Notice,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// What is wrong; two findings with the same are one.
    pub(super) what: String,
    /// Why, as far as it is known; may be empty.
    pub(super) why: String,
    /// What to do, with the command.
    pub(super) next: String,
    /// Who said so.
    pub(super) source: String,
}

/// How far a partition is behind, whoever says so.
#[derive(Clone, Debug)]
pub(super) struct Behind {
    partition: u32,
    shard: String,
    /// None: the log, or the shard, does not say.
    records: Option<i64>,
    waited: Option<Duration>,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }

    fn color(self) -> AnsiColor {
        match self {
            Self::Critical | Self::Error => AnsiColor::Red,
            Self::Warning => AnsiColor::Yellow,
            Self::Notice => AnsiColor::Cyan,
        }
    }
}

impl Finding {
    fn new(severity: Severity, what: impl Into<String>, why: impl Into<String>, source: &str) -> Self {
        let (what, why) = (what.into(), why.into());
        Self { severity, what, why, next: advice::look(source), source: source.to_owned() }
    }

    fn next(self, next: impl Into<String>) -> Self {
        Self { next: next.into(), ..self }
    }

    /// For a person.
    pub(super) fn text(&self, colored: bool) -> String {
        let style = Style::new().bold().fg_color(Some(self.severity.color().into()));
        let style = if colored { style } else { Style::new() };
        let escaped = |text: &str| output::escape_line(text.as_bytes());
        let why =
            if self.why.is_empty() { String::new() } else { format!("\n  why:  {}", escaped(&self.why)) };
        let (word, what, next) = (self.severity.word(), escaped(&self.what), escaped(&self.next));
        format!("{style}{word}{style:#}: {what}{why}\n  next: {next}")
    }

    /// For a program.
    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "severity": self.severity.word(), "what": self.what, "why": self.why, "next": self.next,
            "source": self.source,
        })
    }
}

/// Nobody listens at an address.
pub(super) fn unreachable(url: &str) -> Finding {
    Finding::new(Severity::Critical, format!("nothing answers at {url}"), "", url)
        .next("`millpond` starts a server; or name another ops listener with --ops URL")
}

/// Somebody else listens there.
pub(super) fn not_understood(url: &str, why: &str) -> Finding {
    Finding::new(Severity::Critical, format!("{url} is no ops listener"), why, url).next(
        "name an ops listener (by default on port 7421, the api is on 7420): `millpond doctor --ops URL`",
    )
}

/// One thing cannot be asked of a process.
pub(super) fn not_asked(url: &str, what: &str, why: &str) -> Finding {
    Finding::new(Severity::Warning, format!("{url} does not tell {what}"), why, url)
        .next("ask from the process's own machine, or with a token of the scope admin (--token-file)")
}

/// Kafka, or the control topic on it, cannot be read.
pub(super) fn no_engines(config: &str, why: &str) -> Finding {
    Finding::new(Severity::Critical, "the deployment cannot be asked", why, config)
        .next(format!("check that Kafka runs at kafka.brokers of {config}; `millpond init --config {config}` makes a new one"))
}

/// What a process says of its parts.
pub(super) fn of_checks(readiness: &Readiness, url: &str) -> Vec<Finding> {
    let found: Vec<Finding> = readiness.checks.iter().filter_map(|check| of_check(check, url)).collect();
    if found.is_empty() && !readiness.ready {
        return vec![Finding::new(Severity::Critical, format!("the process at {url} is not ready"), "", url)];
    }
    found
}

fn of_check(check: &Check, url: &str) -> Option<Finding> {
    let Check { name, health, detail } = check;
    let severity = match health {
        Health::Ok => return None,
        Health::Degraded => Severity::Warning,
        Health::Failed => Severity::Critical,
    };
    if let Some((halt, why)) = detail.strip_prefix("halted, ").and_then(|rest| rest.split_once(": ")) {
        let finding = Finding::new(Severity::Error, format!("{name} is halted: {halt}"), why, url);
        return Some(finding.next(advice::of_halt(halt, name, why)));
    }
    if let Some(why) = detail.strip_prefix("waits: ") {
        let finding = Finding::new(Severity::Error, format!("{name} waits and applies nothing"), why, url);
        return Some(finding.next(advice::WAITS));
    }
    if let Some(shards) = detail.strip_prefix("no answer: ") {
        let finding = Finding::new(Severity::Error, format!("no answer from {shards}"), "", url);
        return Some(finding.next(advice::SHARD));
    }
    let code = detail.split_once(": ").map_or("", |(code, _)| code);
    let word = if *health == Health::Failed { "failed" } else { "degraded" };
    let finding = Finding::new(severity, format!("{name} is {word}"), detail, url);
    Some(match code {
        "backlog-full" => Finding { severity: Severity::Critical, ..finding.next(advice::BACKLOG) },
        "log-diverged" => finding.next(advice::of_halt(code, name, detail)),
        "log-stalled" => finding.next(advice::STALLED),
        _ => finding,
    })
}

impl From<&Lag> for Behind {
    fn from(lag: &Lag) -> Self {
        Self {
            partition: lag.partition,
            shard: lag.shard.clone().unwrap_or_default(),
            records: lag.lag_records,
            waited: lag.lag_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }
}

impl Behind {
    /// None: the shard does not answer, which is a finding of its own.
    pub(super) fn of(lag: &lag::Lag) -> Option<Self> {
        let records = Some(lag.records()?);
        Some(Self { partition: lag.partition.0, shard: lag.shard.clone(), records, waited: lag.behind_for })
    }

    fn is(&self, behind: Duration) -> bool {
        self.records != Some(0) && self.waited.is_none_or(|waited| waited >= behind)
    }
}

/// Partitions that are behind, by shard.
pub(super) fn of_lags(lags: impl Iterator<Item = Behind>, behind: Duration, source: &str) -> Vec<Finding> {
    let mut shards: BTreeMap<String, Vec<Behind>> = BTreeMap::new();
    for lag in lags.filter(|lag| lag.is(behind)) {
        shards.entry(lag.shard.clone()).or_default().push(lag);
    }
    shards.into_iter().map(|(shard, lags)| of_shard(&shard, &lags, source)).collect()
}

fn of_shard(shard: &str, lags: &[Behind], source: &str) -> Finding {
    let numbers: Vec<String> = lags.iter().map(|lag| lag.partition.to_string()).collect();
    let partitions = if lags.len() == 1 { "partition" } else { "partitions" };
    let what = format!("{partitions} {} of {shard}: behind the log", numbers.join(", "));
    let furthest = lags.iter().max_by_key(|lag| (lag.waited, lag.records));
    let why = furthest.map(|lag| {
        let records = lag.records.map_or_else(|| "unknown many".to_owned(), |records| records.to_string());
        let waited = lag
            .waited
            .map_or_else(String::new, |waited| format!(", the first waits since {} s", waited.as_secs()));
        format!("partition {} has {records} records to apply{waited}", lag.partition)
    });
    Finding::new(Severity::Warning, what, why.unwrap_or_default(), source).next(advice::BEHIND)
}

/// Shards whose primary does not answer.
pub(super) fn of_shards(lags: &[lag::Lag], config: &str) -> Vec<Finding> {
    let failed =
        lags.iter().filter_map(|lag| lag.applied.as_ref().err().map(|why| (lag.shard.clone(), why.clone())));
    let shards: BTreeMap<String, String> = failed.collect();
    let of = |(shard, why): (String, String)| {
        Finding::new(Severity::Error, format!("no answer from {shard}"), why, config).next(format!(
            "check the database at the address that `millpond topology show --config {config}` prints"
        ))
    };
    shards.into_iter().map(of).collect()
}

/// Records that could never apply.
pub(super) fn of_letters(letters: &DeadLetters, url: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    if !letters.complete {
        let what = format!("no answer from {}", letters.unreachable.join(", "));
        found.push(Finding::new(Severity::Error, what, "", url).next(advice::SHARD));
    }
    if letters.total > 0 {
        let why = letters.newest.first().map(|letter| format!("the newest: {}", deadletters::line(letter)));
        let finding =
            Finding::new(Severity::Notice, deadletters::summary(letters), why.unwrap_or_default(), url);
        found.push(finding.next(format!("`millpond deadletters list --ops {url}`")));
    }
    found
}

#[cfg(test)]
mod tests;
