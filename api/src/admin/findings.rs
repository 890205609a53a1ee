//! What is wrong, in one sentence each, the worst first, with what to do next.
//!
//! Pure. Not here: looking. Invariant: no finding means that nothing which was looked at is wrong; a partition that
//! stands still and a node that does not answer are always findings.

use std::collections::BTreeMap;

use serde::Serialize;

use self::remedies::Remedy;
use super::shards::Shard;
use crate::{
    lag::Lag,
    ops::{Check, Health},
};

pub(crate) mod remedies;

/// From so far behind on a partition is told, seconds.
const BEHIND_SECONDS: f64 = 10.0;

/// What the page says at its top.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// `ok`, `degraded` or `failed`.
    status: &'static str,
    /// The worst, or that all is well.
    sentence: String,
    /// The worst first.
    findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    status: &'static str,
    sentence: String,
    /// What to do, in words.
    remedy: &'static str,
    /// What to type next, where that helps.
    command: Option<String>,
}

/// Sums up what was seen.
pub(super) fn summary(checks: &[Check], shards: &[Shard], lags: &[Lag]) -> Summary {
    let mut findings = failed(checks);
    findings.extend(of_partitions(checks));
    findings.extend(of_shards(shards));
    findings.extend(of_lags(shards, lags));
    findings.extend(degraded(checks));
    let status = findings.iter().map(|finding| finding.status).min_by_key(|status| *status != "failed");
    let sentence = findings.first().map_or_else(|| well(shards, lags), |first| first.sentence.clone());
    Summary { status: status.unwrap_or("ok"), sentence, findings }
}

fn well(shards: &[Shard], lags: &[Lag]) -> String {
    if lags.is_empty() {
        return "All is well: every check of this process passes.".to_owned();
    }
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (keeps, answers) =
        (if lags.len() == 1 { "keeps" } else { "keep" }, if shards.len() == 1 { "s" } else { "" });
    let (partitions, shards) = (count(lags.len(), "partition"), count(shards.len(), "shard"));
    format!("All is well: {partitions} {keeps} up with the log, {shards} answer{answers}.")
}

fn failed(checks: &[Check]) -> Vec<Finding> {
    let failed = checks.iter().filter(|check| check.health == Health::Failed);
    let told = |check: &Check| {
        let remedy = code(&check.detail).and_then(remedies::of_code).unwrap_or(remedies::NOT_READY);
        let told = finding("failed", format!("Not ready: {}.", named(check)), remedy);
        Finding { command: remedy.command_for(&check.name, &check.detail), ..told }
    };
    failed.map(told).collect()
}

fn named(check: &Check) -> String {
    if check.detail.is_empty() { check.name.clone() } else { format!("{}: {}", check.name, check.detail) }
}

/// One finding for all partitions that stand still for one reason; the halted ones first.
fn of_partitions(checks: &[Check]) -> Vec<Finding> {
    let mut by_reason: BTreeMap<(bool, &str), Vec<(&str, &Check)>> = BTreeMap::new();
    for check in checks.iter().filter(|check| check.health == Health::Degraded) {
        let Some(partition) = check.name.strip_prefix("partition ") else { continue };
        let (waits, why) = match halt(&check.detail) {
            Some(code) => (false, code),
            None => (true, first_words(check.detail.strip_prefix("waits: ").unwrap_or(&check.detail))),
        };
        by_reason.entry((waits, why)).or_default().push((partition, check));
    }
    let told = |((waits, why), checks): ((bool, &str), Vec<(&str, &Check)>)| {
        let partitions: Vec<&str> = checks.iter().map(|(partition, _)| *partition).collect();
        let who = partitions_named(&partitions);
        let one = partitions.len() == 1;
        if waits {
            let waits = if one { "waits" } else { "wait" };
            return finding("degraded", format!("{who} {waits}: {why}."), remedies::WAITS);
        }
        let has = if one { "has" } else { "have" };
        let remedy = remedies::of_code(why).unwrap_or(remedies::HALTED);
        let sentence =
            format!("{who} {has} halted, {why}: writes there are kept on the log and not applied.");
        // One at a time: the next look names the next.
        let command = checks.first().and_then(|(_, check)| remedy.command_for(&check.name, &check.detail));
        Finding { command, ..finding("failed", sentence, remedy) }
    };
    by_reason.into_iter().map(told).collect()
}

/// Of an error and its causes, the error.
fn first_words(text: &str) -> &str {
    text.split_once(": ").map_or(text, |(words, _)| words)
}

/// The code in `halted, <code>: …`.
fn halt(detail: &str) -> Option<&str> {
    detail.strip_prefix("halted, ").map(|rest| rest.split_once(':').map_or(rest, |(code, _)| code))
}

/// The code in `<code>: …`.
fn code(detail: &str) -> Option<&str> {
    halt(detail).or_else(|| detail.split_once(':').map(|(code, _)| code))
}

fn partitions_named(partitions: &[&str]) -> String {
    match partitions {
        [one] => format!("Partition {one}"),
        [first @ .., last] => format!("Partitions {} and {last}", first.join(", ")),
        [] => "No partition".to_owned(),
    }
}

fn of_shards(shards: &[Shard]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for shard in shards {
        if !shard.answers {
            let name = &shard.name;
            let sentence = format!(
                "The primary of {name} does not answer: writes to it are kept on the log until it does."
            );
            let command = format!("millpond topology set-primary {name} ADDRESS --config FILE");
            let embedded = shard.nodes.first().is_none_or(|node| !node.address.contains("://"));
            let told = finding("degraded", sentence, remedies::PRIMARY);
            findings.push(Finding { command: (!embedded).then_some(command), ..told });
        }
        for node in shard.nodes.iter().filter(|node| node.resting && node.kind == "replica") {
            let sentence = format!(
                "A replica of {} does not answer ({}): the other nodes answer its reads.",
                shard.name, node.address
            );
            findings.push(finding("degraded", sentence, remedies::REPLICA));
        }
    }
    findings
}

/// Lag that no shard which is down explains.
fn of_lags(shards: &[Shard], lags: &[Lag]) -> Vec<Finding> {
    let is_down = |name: &str| shards.iter().any(|shard| !shard.answers && shard.name == name);
    let names = |of: &dyn Fn(&Lag) -> bool| {
        lags.iter().filter(|lag| of(lag)).map(|lag| lag.partition.to_string()).collect::<Vec<_>>()
    };
    let told = |partitions: &[String], say: &dyn Fn(&str, bool) -> String, remedy| {
        let partitions: Vec<&str> = partitions.iter().map(String::as_str).collect();
        let sentence = say(&partitions_named(&partitions), partitions.len() == 1);
        finding("degraded", sentence, remedy)
    };
    let mut findings = Vec::new();
    let silent = names(&|lag| lag.log_end.is_none());
    if !silent.is_empty() {
        let say = |who: &str, _| format!("The log does not tell how far it is: {who}.");
        findings.push(told(&silent, &say, remedies::LOG));
    }
    let is_behind = |lag: &Lag| {
        !lag.shard.as_deref().is_some_and(is_down)
            && lag.lag_seconds.is_some_and(|seconds| seconds >= BEHIND_SECONDS)
    };
    let behind = names(&is_behind);
    let most = lags.iter().filter(|lag| is_behind(lag)).filter_map(|lag| lag.lag_seconds).fold(0.0, f64::max);
    if !behind.is_empty() {
        let say = |who: &str, one: bool| {
            let (are, up_to) = if one { ("is", "") } else { ("are", "up to ") };
            format!("{who} {are} {up_to}{} behind the log.", in_words(most))
        };
        findings.push(told(&behind, &say, remedies::BEHIND));
    }
    findings
}

fn in_words(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

/// Whatever else does not pass.
fn degraded(checks: &[Check]) -> Vec<Finding> {
    let rest = checks.iter().filter(|check| {
        // Unreachable shards are told of by name above.
        check.health == Health::Degraded && !check.name.starts_with("partition ") && check.name != "outcomes"
    });
    let told = |check: &Check| {
        let remedy = code(&check.detail).and_then(remedies::of_code).unwrap_or(remedies::CHECK);
        finding("degraded", format!("{}.", named(check)), remedy)
    };
    rest.map(told).collect()
}

fn finding(status: &'static str, sentence: String, remedy: Remedy) -> Finding {
    Finding { status, sentence, remedy: remedy.words, command: remedy.command.map(str::to_owned) }
}

#[cfg(test)]
mod tests;
