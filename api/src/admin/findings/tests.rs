//! That every kind of trouble is told, and in which order.

use super::*;
use crate::admin::shards::Node;

fn check(name: &str, health: Health, detail: &str) -> Check {
    Check { name: name.to_owned(), health, detail: detail.to_owned() }
}

fn partition(number: u32, detail: &str) -> Check {
    let health = if detail.is_empty() { Health::Ok } else { Health::Degraded };
    check(&format!("partition {number}"), health, detail)
}

fn lag(partition: u32, records: Option<i64>, seconds: Option<f64>) -> Lag {
    Lag {
        partition,
        shard: Some("shard-0".to_owned()),
        log_start: records.map(|_| 0),
        log_end: records.map(|records| records + 5),
        applied: 4,
        lag_records: records,
        lag_seconds: seconds,
    }
}

fn shard(answers: bool, address: &str) -> Shard {
    let node = |kind, resting| Node::unread(kind, address, resting);
    Shard::unread("shard-0", answers, vec![node("primary", !answers), node("replica", false)])
}

fn sentences(summary: &Summary) -> Vec<&str> {
    summary.findings.iter().map(|finding| finding.sentence.as_str()).collect()
}

#[test]
fn nothing_wrong_is_one_calm_sentence() {
    let lags = [lag(0, Some(0), Some(0.0)), lag(1, Some(3), Some(9.9))];
    let told = summary(&[partition(0, "")], &[shard(true, "s.sqlite")], &lags);
    assert_eq!((told.status, told.findings.len()), ("ok", 0));
    assert_eq!(told.sentence, "All is well: 2 partitions keep up with the log, 1 shard answers.");
    assert_eq!(summary(&[], &[], &[]).sentence, "All is well: every check of this process passes.");
}

#[test]
fn partitions_that_halted_for_one_reason_are_one_finding_and_come_before_those_that_wait() {
    let checks = [
        partition(0, "waits: cannot connect to the shard: connection refused"),
        partition(5, "waits: cannot connect to the shard: timed out"),
        partition(1, "halted, log-gap: the log goes on at offset 9"),
        partition(2, "halted, log-gap: the log goes on at offset 7"),
        partition(3, "halted, row-ahead: k"),
        partition(4, ""),
    ];
    let told = summary(&checks, &[], &[]);
    assert_eq!(told.status, "failed");
    assert_eq!(
        sentences(&told),
        [
            "Partitions 1 and 2 have halted, log-gap: writes there are kept on the log and not applied.",
            "Partition 3 has halted, row-ahead: writes there are kept on the log and not applied.",
            "Partitions 0 and 5 wait: cannot connect to the shard.",
        ]
    );
    assert_eq!(told.sentence, told.findings[0].sentence);
    assert_eq!(told.findings[0].remedy, remedies::of_code("log-gap").unwrap().words);
}

#[test]
fn a_failed_check_comes_first() {
    let checks =
        [partition(1, "halted, log-gap: x"), check("log", Health::Failed, "log-diverged: another log")];
    let told = summary(&checks, &[], &[]);
    assert_eq!(told.sentence, "Not ready: log: log-diverged: another log.");
    assert_eq!(told.findings[0].remedy, remedies::of_code("log-diverged").unwrap().words);
    assert_eq!(told.findings.len(), 2);
}

#[test]
fn a_primary_that_is_down_names_the_command_where_there_is_one() {
    let told = summary(&[], &[shard(false, "postgres://db/x")], &[]);
    assert_eq!(told.status, "degraded");
    assert!(told.sentence.starts_with("The primary of shard-0 does not answer"), "{}", told.sentence);
    let command = "millpond topology set-primary shard-0 ADDRESS --config FILE";
    assert_eq!(told.findings[0].command.as_deref(), Some(command));
    let behind = [lag(0, Some(5), Some(600.0))];
    let told = summary(&[], &[shard(false, "postgres://db/x")], &behind);
    assert_eq!(told.findings.len(), 1, "its partitions are behind because of it");
    let told = summary(&[], &[shard(true, "postgres://db/x")], &behind);
    assert_eq!(told.sentence, "Partition 0 is 10 min behind the log.");
    let told = summary(&[], &[shard(false, "shard-0.sqlite")], &[]);
    assert_eq!(told.findings[0].command, None);
}

#[test]
fn a_resting_replica_a_lag_and_a_silent_log_are_told() {
    let mut resting = shard(true, "postgres://r/x");
    resting.nodes[1].resting = true;
    let lags =
        [lag(0, Some(5), Some(11.0)), lag(2, Some(5), Some(42.4)), lag(3, None, None), lag(4, Some(1), None)];
    let told = summary(&[check("tokens", Health::Degraded, "cannot be read")], &[resting], &lags);
    assert_eq!(
        sentences(&told),
        [
            "A replica of shard-0 does not answer (postgres://r/x): the other nodes answer its reads.",
            "The log does not tell how far it is: Partition 3.",
            "Partitions 0 and 2 are up to 42 s behind the log.",
            "tokens: cannot be read.",
        ]
    );
}
