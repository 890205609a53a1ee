//! What is found in what processes say.

use millpond_client::{Position, ops::DeadLetter};

use super::*;

const URL: &str = "http://h:7421";

fn check(name: &str, health: Health, detail: &str) -> Check {
    Check { name: name.into(), health, detail: detail.into() }
}

#[test]
fn a_halted_partition_is_named_with_its_reason_and_what_helps() {
    let checks = vec![
        check("serving", Health::Ok, ""),
        check("partition 3", Health::Degraded, "halted, shard-refused: the shard refuses: no such table"),
        check("partition 4", Health::Degraded, "waits: the shard does not answer"),
        check("outcomes", Health::Degraded, "no answer: shard-1"),
        check("log", Health::Failed, "log-diverged: the log is not the one that was written before"),
        check("new", Health::Degraded, "something"),
    ];
    let found = of_checks(&Readiness { ready: false, checks }, URL);
    let told: Vec<_> = found.iter().map(|finding| (finding.severity, finding.what.as_str())).collect();
    let expected = [
        (Severity::Error, "partition 3 is halted: shard-refused"),
        (Severity::Error, "partition 4 waits and applies nothing"),
        (Severity::Error, "no answer from shard-1"),
        (Severity::Critical, "log is failed"),
        (Severity::Warning, "new is degraded"),
    ];
    assert_eq!(told, expected);
    assert_eq!(found[0].why, "the shard refuses: no such table");
    assert!(found[0].next.contains("millpond init"), "{}", found[0].next);
    assert!(found.iter().all(|finding| finding.next.contains('`')), "each has a command");
    assert_eq!(of_checks(&Readiness { ready: true, checks: vec![check("log", Health::Ok, "")] }, URL), []);
    assert_eq!(of_checks(&Readiness { ready: false, checks: vec![] }, URL).len(), 1);
}

fn behind(partition: u32, records: Option<i64>, waited: Option<u64>) -> Behind {
    Behind {
        partition,
        shard: format!("shard-{}", partition % 2),
        records,
        waited: waited.map(Duration::from_secs),
    }
}

#[test]
fn partitions_that_are_behind_are_told_by_shard() {
    let lags = vec![
        behind(0, Some(0), Some(0)),
        behind(1, Some(7), Some(11)),
        behind(3, Some(5), Some(60)),
        behind(5, Some(9), Some(9)),
        behind(2, None, None),
    ];
    let found = of_lags(lags.into_iter(), Duration::from_secs(10), URL);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].what, "partition 2 of shard-0: behind the log");
    assert_eq!(found[1].what, "partitions 1, 3 of shard-1: behind the log");
    assert_eq!(found[1].why, "partition 3 has 5 records to apply, the first waits since 60 s");
}

#[test]
fn dead_letters_are_a_notice_with_the_newest() {
    let letter = DeadLetter {
        position: Position::new("1-0-7").unwrap(),
        time: "T".into(),
        reason: "undecodable".into(),
        detail: "no record".into(),
        tenant: Some("acme".into()),
        key: Some("k".into()),
        value_bytes: Some(2),
    };
    let reasons = [("undecodable".to_owned(), 2)].into();
    let letters =
        DeadLetters { total: 2, reasons, newest: vec![letter], complete: true, unreachable: vec![] };
    let found = of_letters(&letters, URL);
    assert_eq!(
        (found[0].severity, found[0].what.as_str()),
        (Severity::Notice, "2 dead letters: 2 undecodable")
    );
    assert!(found[0].why.contains("1-0-7") && found[0].why.contains("undecodable"), "{}", found[0].why);
    let none = DeadLetters { total: 0, reasons: BTreeMap::new(), newest: vec![], ..letters };
    assert_eq!(of_letters(&none, URL), []);
}

#[test]
fn a_finding_reads_as_what_why_and_next() {
    let finding = Finding::new(Severity::Error, "a\u{1b}[2Jb", "c", URL).next("d");
    assert_eq!(finding.text(false), "error: a\\u{1b}[2Jb\n  why:  c\n  next: d");
    assert!(finding.text(true).starts_with("\u{1b}["));
}
