//! What a client was told of its mutation's outcome, against the oracle's.
//!
//! Invariant: where less was told than is known, only what was told is compared.

use millpond_schemas::{Effect, Expiry, Mutation, Op, Outcome, Position, Rejected, UnixMillis};

use super::{
    oracle::{Oracle, Place, Says},
    verdict::{Found, Invariant},
};
use crate::history::{Told, Written};

/// Compares what was told of the mutation at a position where there is a record.
pub(super) fn outcome(oracle: &Oracle, line: usize, position: Position, told: &Told, found: &mut Found) {
    let (Some(partition), Some(place)) = (oracle.of(position.partition), oracle.place(position)) else {
        return;
    };
    let truth = partition.outcome(position.offset);
    let mut wrong = |invariant, what: String| found.add(invariant, line, || format!("at {position}: {what}"));
    match (&told.written, &truth) {
        (Written::Accepted, _) => {
            if let Some(wrong_expiry) = expiry(told, place, None) {
                wrong(Invariant::I4, wrong_expiry);
            }
        }
        (Written::Applied, Outcome::Applied(effect)) => {
            if let Some(what) = row(told, place, position, effect.as_ref()) {
                wrong(Invariant::I4, what);
            }
        }
        (Written::Rejected { code, current }, Outcome::Rejected(rejected)) => {
            if *code != rejected.rejection.code() {
                wrong(Invariant::I2, format!("told {code}, and it was {}", rejected.rejection.code()));
            } else if let Some(what) = current_version(current.as_deref(), rejected, position) {
                wrong(Invariant::I4, what);
            }
        }
        (Written::DeadLettered { reason }, Outcome::DeadLettered(refusal)) => {
            if *reason != refusal.reason.code() {
                wrong(Invariant::I2, format!("told {reason}, and it was {}", refusal.reason.code()));
            }
        }
        (Written::Duplicate { of }, Outcome::Duplicate { of: first, .. }) => {
            if *of != first.to_string() {
                wrong(Invariant::I3, format!("told to be a duplicate of {of}, and it was one of {first}"));
            }
        }
        (Written::Duplicate { of }, _) => {
            wrong(Invariant::I3, format!("told to be a duplicate of {of}, and it was {}", in_words(&truth)));
        }
        (told, Outcome::Duplicate { of, .. }) => {
            wrong(Invariant::I3, format!("told {told:?}, and it was a duplicate of {of}"));
        }
        (told, Outcome::Applied(_) | Outcome::Rejected(_) | Outcome::DeadLettered(_)) => {
            wrong(Invariant::I2, format!("told {told:?}, and it was {}", in_words(&truth)));
        }
    }
}

/// What is wrong with what was told of the row; none: nothing.
fn row(told: &Told, place: &Place, position: Position, effect: Option<&Effect>) -> Option<String> {
    let version = effect.map_or(position, |effect| effect.version.position(position.partition)).to_string();
    if let Some(shown) = &told.version
        && *shown != version
    {
        return Some(format!("told the version {shown}, and it is {version}"));
    }
    if let Some(effect) = effect {
        if let Some(shown) = &told.value
            && effect.value.as_ref() != Some(&shown.0)
        {
            return Some(format!("told the value {shown:?}, and it is {:?}", effect.value));
        }
        if told.changed.is_some_and(|changed| changed != effect.changed) {
            return Some(format!("told changed:{:?}, and it is {}", told.changed, effect.changed));
        }
    }
    expiry(told, place, effect)
}

/// What is wrong with the expiry that was told; none: nothing.
fn expiry(told: &Told, place: &Place, effect: Option<&Effect>) -> Option<String> {
    let shown = UnixMillis(told.expires_at_ms?);
    let sent = || match &place.says {
        Says::Mutation(mutation) => expiry_of_put(mutation).map(|expiry| expiry.at(place.time)),
        Says::Control | Says::Poison => None,
    };
    let truth = match effect {
        Some(effect) => effect.expires_at,
        // Only a put's is known before it is applied.
        None => Some(sent()?),
    };
    (truth != Some(shown)).then(|| format!("told that it expires at {shown}, and it does at {truth:?}"))
}

fn expiry_of_put(mutation: &Mutation) -> Option<Expiry> {
    match &mutation.op {
        Op::Put { expiry, .. } => *expiry,
        Op::Delete
        | Op::Ttl { .. }
        | Op::Increment { .. }
        | Op::Append { .. }
        | Op::MergePatch { .. }
        | Op::JsonPatch { .. } => None,
    }
}

fn current_version(shown: Option<&str>, rejected: &Rejected, position: Position) -> Option<String> {
    let truth = rejected.current.map(|version| version.position(position.partition).to_string());
    let differs = shown.is_some() && shown != truth.as_deref();
    differs.then(|| format!("told that the version was {shown:?}, and it was {truth:?}"))
}

fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied(_) => "applied".to_owned(),
        Outcome::Rejected(rejected) => format!("rejected ({})", rejected.rejection.code()),
        Outcome::Duplicate { of, .. } => format!("a duplicate of {of}"),
        Outcome::DeadLettered(refusal) => format!("dead-lettered ({})", refusal.reason.code()),
    }
}
