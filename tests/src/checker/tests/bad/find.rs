//! What a spoiler looks for that is not one event of a kind.
//!
//! Invariant: what is found is in every good history.

use std::collections::HashMap;

use super::pick;
use crate::history::{Change, Event, Intent, Key, Op, Read, Seen, Text, Told, WriteResult, Written};

pub(super) fn is_acked(op: &Op) -> bool {
    matches!(&op.result, WriteResult::Ok(told) if !told.duplicate)
}

/// Acked, and there is no other attempt of it.
pub(super) fn is_plainly_acked(op: &Op) -> bool {
    is_acked(op) && op.intent.idempotency_key.is_none() && value_of(&op.intent).is_some()
}

/// The value of a put or append that no other one has.
pub(super) fn value_of(intent: &Intent) -> Option<Text> {
    match &intent.change {
        Change::Put { value, .. } | Change::Append { value } => Some(value.clone())
            .filter(|value| value.0.starts_with(b"value-") && intent.idempotency_key.is_none()),
        _ => None,
    }
}

pub(super) fn put(events: &mut [Event], spoil: impl Fn(&mut Text, &mut String)) {
    let op = pick::op(events, |op| is_acked(op) && matches!(op.intent.change, Change::Put { .. }));
    let Change::Put { value, content_type, .. } = &mut op.intent.change else { unreachable!("it is one") };
    spoil(value, content_type);
}

pub(super) fn is_planted(event: &Event, number: i64) -> bool {
    matches!(event, Event::Op(Op { intent: Intent { change: Change::Increment { by, .. }, key, .. }, .. })
        if *by == number && key.0 == "twice")
}

pub(super) fn is_acked_event(event: &Event) -> bool {
    matches!(event, Event::Op(op) if is_acked(op))
}

pub(super) fn is_repeat(told: &Told) -> bool {
    matches!(told.written, Written::Duplicate { .. })
}

/// An operation that was told to repeat one that was applied, and its own position, which the look behind it tells.
pub(super) fn applied_repeat(events: &mut [Event]) -> (&mut Told, Option<String>) {
    let found = events.windows(2).position(|pair| {
        matches!(pair, [Event::Op(Op { result: WriteResult::Ok(told), .. }), Event::Look(look)]
            if told.duplicate && told.written == Written::Applied && is_repeat(&look.told))
    });
    let at = found.expect("a retry is looked up");
    let [Event::Op(Op { result: WriteResult::Ok(told), .. }), Event::Look(look)] = &mut events[at..at + 2]
    else {
        unreachable!("it fits")
    };
    (told, look.told.position.clone())
}

pub(super) fn lag(events: &mut [Event], spoil: impl Fn(&mut Vec<u64>, &mut u64)) {
    let found = events.iter_mut().find_map(|event| match event {
        Event::Lag(lag) => Some(lag),
        _ => None,
    });
    let lag = found.unwrap();
    spoil(&mut lag.records, &mut lag.acked);
}

/// The partition, as positions begin, and the highest offset that was acked in it.
pub(super) fn last_ack(events: &mut [Event]) -> (String, i64) {
    let mut highest: HashMap<String, i64> = HashMap::new();
    for event in events {
        if let Event::Op(Op { result: WriteResult::Ok(told), .. }) = event {
            let (partition, offset) = told.position.as_ref().unwrap().rsplit_once('-').unwrap();
            let highest = highest.entry(partition.to_owned()).or_default();
            *highest = (*highest).max(offset.parse().unwrap());
        }
    }
    highest.into_iter().max_by_key(|(_, offset)| *offset).unwrap()
}

/// A read of a version that a later read saw replaced; and that later one's position.
pub(super) fn superseded(events: &[Event]) -> (Read, String) {
    let reads = events.iter().filter_map(|event| match event {
        Event::Read(read) => Some(read),
        _ => None,
    });
    let shown: Vec<(&Read, &Key)> = reads
        .filter_map(|read| match &read.seen {
            Seen::Found(key) => Some((read, key)),
            Seen::Absent { .. } | Seen::Failed { .. } => None,
        })
        .collect();
    let pair = shown.iter().find_map(|(read, key)| {
        let later =
            shown.iter().find(|(other, later)| other.key == read.key && later.version != key.version)?;
        Some(((*read).clone(), later.1.position.clone()))
    });
    pair.expect("some key is read twice")
}

pub(super) fn murmur(record_key: &str) -> u32 {
    millpond_schemas::partition_of(record_key.as_bytes(), 2).0
}
