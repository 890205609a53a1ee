//! The laws of the fold, over whole random histories.
//!
//! A failing run prints its seed and the smallest history that fails, and adds the seed to `main.regressions`
//! beside this file, which is committed and tried first from then on.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod history;
mod store;
mod strategy;

use std::collections::BTreeSet;

use history::{History, build};
use millpond_fold::{Entry, Halt, cut, fold, model, needs};
use millpond_schemas::{DeadReason, Flush, Outcome, Rejection, UnixMillis};
use proptest::{
    collection,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use store::Store;

fn config() -> Config {
    let persistence = FileFailurePersistence::WithSource("regressions");
    Config { failure_persistence: Some(Box::new(persistence)), ..Config::default() }
}

/// A writer's life: reads up to `sizes` records at a time (in turn, for ever), folds and applies them.
struct Writer {
    sizes: Vec<usize>,
    /// Starts anew from the copy before every flush.
    restarts: bool,
    /// Deletes what is old before every flush.
    tidies: bool,
}

impl Writer {
    fn with_sizes(sizes: &[usize]) -> Self {
        Self { sizes: sizes.to_vec(), restarts: false, tidies: false }
    }

    fn run(&self, entries: &[Entry]) -> (Store, Vec<Flush>, Option<model::Halt>) {
        let mut store = Store::new(history::watermark());
        let (mut state, mut flushes, mut rest) = (store.state(), Vec::new(), entries);
        let mut sizes = self.sizes.iter().cycle();
        while !rest.is_empty() {
            if self.tidies {
                store.tidy();
            }
            if self.restarts {
                state = store.state();
            }
            let size = (*sizes.next().unwrap()).clamp(1, rest.len());
            let batch = &rest[..cut(&rest[..size])];
            assert!(!batch.is_empty(), "a flush holds at least one record");
            let given = store.read(&needs(&state, batch));
            let flush = match fold(&state, batch, &given) {
                Ok(flush) => flush,
                Err(Halt::VersionUnknown { .. }) => {
                    return (store, flushes, Some(model::Halt::VersionUnknown));
                }
                Err(Halt::KeyMissing(_)) => return (store, flushes, Some(model::Halt::KeyMissing)),
            };
            store.apply(&flush);
            state.advance(&flush);
            let folded = batch.iter().take_while(|entry| entry.offset <= flush.next.applied).count();
            rest = &rest[folded..];
            flushes.push(flush);
        }
        (store, flushes, None)
    }
}

/// The words of a refusal are the fold's own; everything else is the law.
fn wordless(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::DeadLettered(refusal) => {
            Outcome::DeadLettered(millpond_schemas::Refusal::new(refusal.reason, ""))
        }
        Outcome::Applied(_) | Outcome::Rejected(_) | Outcome::Duplicate { .. } => outcome.clone(),
    }
}

fn assert_agrees_with_model(store: &Store, history: &History) {
    let model = &history.model;
    assert_eq!(store.rows, model.rows);
    let plain = |(_, outcome): &(_, &Outcome)| !outcome.is_plain();
    let theirs: Vec<_> =
        model.outcomes.iter().filter(plain).map(|(at, outcome)| (*at, wordless(outcome))).collect();
    let ours: Vec<_> = store.exceptions.iter().map(|one| (one.offset, wordless(&one.outcome))).collect();
    assert_eq!(ours, theirs);
    assert_eq!(store.expired, model.expired.values().flatten().cloned().collect::<Vec<_>>());
    assert_eq!(store.seen, model.seen);
    assert_eq!(store.operations, model.operations);
    assert_eq!(store.dead_letters.len(), model.dead_letters.len());
    for (ours, theirs) in store.dead_letters.iter().zip(&model.dead_letters) {
        let place = |dead: &millpond_schemas::DeadLetter| (dead.offset, dead.time, dead.refusal.reason);
        assert_eq!((place(ours), &ours.raw), (place(theirs), &theirs.raw));
    }
    assert_eq!(store.watermark, model.watermark());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_by_one_equals_the_naive_model(steps in strategy::steps()) {
        let history = build(&steps);
        let (store, _, halt) = Writer::with_sizes(&[1]).run(&history.entries);
        assert_agrees_with_model(&store, &history);
        prop_assert_eq!(halt, history.halt);
    }

    #[test]
    fn one_batch_equals_the_naive_model(steps in strategy::steps()) {
        let history = build(&steps);
        let (store, _, halt) = Writer::with_sizes(&[usize::MAX]).run(&history.entries);
        assert_agrees_with_model(&store, &history);
        prop_assert_eq!(halt, history.halt);
    }

    #[test]
    fn any_split_equals_one_by_one(steps in strategy::steps(), sizes in collection::vec(1..20usize, 1..9)) {
        let history = build(&steps);
        let (split, _, halt) = Writer::with_sizes(&sizes).run(&history.entries);
        let (single, _, _) = Writer::with_sizes(&[1]).run(&history.entries);
        prop_assert_eq!(&split, &single);
        prop_assert_eq!(halt, history.halt);
    }

    #[test]
    fn restarts_change_nothing(steps in strategy::steps(), sizes in collection::vec(1..20usize, 1..9)) {
        let history = build(&steps);
        let (steady, flushes, _) = Writer::with_sizes(&sizes).run(&history.entries);
        let restarting = Writer { restarts: true, ..Writer::with_sizes(&sizes) };
        let (restarted, again, _) = restarting.run(&history.entries);
        prop_assert_eq!(steady, restarted);
        prop_assert_eq!(flushes, again);
    }

    #[test]
    fn deleting_what_is_old_changes_no_flush(steps in strategy::steps(), sizes in collection::vec(1..20usize, 1..9)) {
        let history = build(&steps);
        let (_, flushes, _) = Writer::with_sizes(&sizes).run(&history.entries);
        let tidy = Writer { restarts: true, tidies: true, ..Writer::with_sizes(&sizes) };
        prop_assert_eq!(flushes, tidy.run(&history.entries).1);
    }

    #[test]
    fn the_same_log_makes_the_same_flushes(steps in strategy::steps(), sizes in collection::vec(1..20usize, 1..9)) {
        let (once, again) = (build(&steps), build(&steps));
        let writer = Writer::with_sizes(&sizes);
        prop_assert_eq!(writer.run(&once.entries).1, writer.run(&again.entries).1);
    }

    #[test]
    fn time_never_runs_backwards(steps in strategy::steps()) {
        let history = build(&steps);
        let (_, flushes, _) = Writer::with_sizes(&[1]).run(&history.entries);
        let mut time = UnixMillis::EPOCH;
        for flush in flushes {
            prop_assert!(flush.next.time >= time);
            time = flush.next.time;
        }
    }
}

/// The laws would say little about outcomes that never occur.
#[test]
fn histories_reach_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..400 {
        let history = build(&strategy::steps().new_tree(&mut runner).unwrap().current());
        reached.extend(history.model.outcomes.values().map(kind));
        reached.extend(history.halt.map(|halt| halt.to_string()));
        let expired = history.model.expired.values().any(|keys| !keys.is_empty());
        reached.extend(expired.then(|| "expired".to_owned()));
    }
    let mut wanted: BTreeSet<String> = [
        "plain",
        "effect",
        "no-op",
        "long",
        "duplicate",
        "repeat",
        "expired",
        "version-unknown",
        "key-missing",
    ]
    .map(str::to_owned)
    .into();
    wanted.extend(Rejection::ALL.iter().map(|rejection| rejection.code().to_owned()));
    wanted.extend(DeadReason::ALL.iter().map(|reason| format!("dead {reason}")));
    assert_eq!(wanted.difference(&reached).collect::<Vec<_>>(), Vec::<&String>::new());
}

fn kind(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied(None) => "plain".to_owned(),
        Outcome::Applied(Some(effect)) if !effect.changed => "no-op".to_owned(),
        Outcome::Applied(Some(effect)) if effect.value.is_none() && !effect.content_type.is_empty() => {
            "long".to_owned()
        }
        Outcome::Applied(Some(_)) => "effect".to_owned(),
        Outcome::Rejected(rejected) => rejected.rejection.code().to_owned(),
        Outcome::Duplicate { original: None, .. } => "duplicate".to_owned(),
        Outcome::Duplicate { original: Some(_), .. } => "repeat".to_owned(),
        Outcome::DeadLettered(refusal) => format!("dead {}", refusal.reason),
    }
}
