//! The checker is checked: a good history passes, and each way to spoil it is found by the right promise.

mod bad;
mod good;
mod pick;

use std::collections::BTreeSet;

use super::{Invariant, Source, Verdict, check};
use crate::history::{Event, Recorder};

/// What the good histories are made of.
const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn judged(events: &[Event]) -> Verdict {
    check(&Source::Events(events)).unwrap()
}

#[test]
fn a_good_history_passes() {
    for seed in SEEDS {
        let verdict = judged(&good::history(seed));
        assert!(verdict.is_pass(), "seed {seed}: {verdict:#?}");
        let counts = verdict.counts;
        assert!(counts.ok > 300 && counts.unknown > 20 && counts.failed > 10, "seed {seed}: {counts:?}");
        assert!(counts.reads > 200 && counts.looks > 10, "seed {seed}: {counts:?}");
    }
}

#[test]
fn every_way_to_spoil_a_history_is_found_by_its_promise() {
    let mut missed = Vec::new();
    for seed in SEEDS {
        let history = good::history(seed);
        for (name, invariant, spoil) in bad::ALL {
            let mut events = history.clone();
            spoil(&mut events);
            assert_ne!(events, history, "seed {seed}: {name} changes nothing");
            let verdict = judged(&events);
            if !verdict.violated.contains_key(invariant) {
                missed.push(format!("seed {seed}: {name}: {invariant} expected, {:?}", verdict.violations));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_promise_has_a_way_to_be_broken() {
    let broken: BTreeSet<Invariant> = bad::ALL.iter().map(|(_, invariant, _)| *invariant).collect();
    assert_eq!(broken, Invariant::ALL.into());
}

#[test]
fn a_history_in_which_something_is_missing_is_void() {
    let history = good::history(SEEDS[0]);
    for (name, lose) in bad::VOID {
        let mut events = history.clone();
        lose(&mut events);
        let verdict = judged(&events);
        assert!(!verdict.void.is_empty() && !verdict.is_pass(), "{name}: {verdict:#?}");
    }
}

#[test]
fn a_file_is_judged_as_its_events_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let recorder = Recorder::create(&path).unwrap();
    let mut events = good::history(SEEDS[0]);
    bad::ALL[0].2(&mut events);
    for event in &events {
        recorder.record(event);
    }
    recorder.finish().unwrap();
    assert_eq!(check(&Source::File(&path)).unwrap(), judged(&events));
    std::fs::write(&path, "{\"op\":{}}\n").unwrap();
    assert!(check(&Source::File(&path)).is_err());
}
