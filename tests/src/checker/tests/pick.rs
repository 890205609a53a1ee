//! Finds the event that is to be spoilt.
//!
//! Invariant: there is one; else the good history is too poor.

use crate::history::{
    Consistency, Copy, Event, Intent, Key, LogBounds, LogRecord, Look, Op, Read, Seen, Told, WriteResult,
};

/// The first operation that fits, and its place.
pub(super) fn op(events: &mut [Event], fits: impl Fn(&Op) -> bool) -> &mut Op {
    let found = events.iter_mut().find_map(|event| match event {
        Event::Op(op) if fits(op) => Some(op),
        _ => None,
    });
    found.expect("the good history has such an operation")
}

/// The first answer to an operation that fits.
pub(super) fn told(events: &mut [Event], fits: impl Fn(&Intent, &Told) -> bool) -> &mut Told {
    let fits = |op: &Op| matches!(&op.result, WriteResult::Ok(told) if fits(&op.intent, told));
    match &mut op(events, fits).result {
        WriteResult::Ok(told) => told,
        WriteResult::Failed { .. } | WriteResult::Unknown { .. } => unreachable!("it fits"),
    }
}

/// The first look that fits.
pub(super) fn look(events: &mut [Event], fits: impl Fn(&Told) -> bool) -> &mut Look {
    let found = events.iter_mut().find_map(|event| match event {
        Event::Look(look) if fits(&look.told) => Some(look),
        _ => None,
    });
    found.expect("the good history has such a look")
}

/// The first read that fits.
pub(super) fn read(events: &mut [Event], fits: impl Fn(&Read) -> bool) -> &mut Read {
    let found = events.iter_mut().find_map(|event| match event {
        Event::Read(read) if fits(read) => Some(read),
        _ => None,
    });
    found.expect("the good history has such a read")
}

/// The first key shown that fits.
pub(super) fn shown(events: &mut [Event], fits: impl Fn(&Read, &Key) -> bool) -> &mut Key {
    let fits = |one: &Read| matches!(&one.seen, Seen::Found(key) if fits(one, key));
    match &mut read(events, fits).seen {
        Seen::Found(key) => key,
        Seen::Absent { .. } | Seen::Failed { .. } => unreachable!("it fits"),
    }
}

/// The first copy of this name.
pub(super) fn copy<'a>(events: &'a mut [Event], name: &str) -> &'a mut Copy {
    let found = events.iter_mut().find_map(|event| match event {
        Event::Copy(copy) if copy.name == name => Some(copy),
        _ => None,
    });
    found.expect("the good history has this copy")
}

/// The first record that fits.
pub(super) fn record(events: &mut [Event], fits: impl Fn(&LogRecord) -> bool) -> &mut LogRecord {
    let found = events.iter_mut().find_map(|event| match event {
        Event::Log(record) if fits(record) => Some(record),
        _ => None,
    });
    found.expect("the good history has such a record")
}

/// The first partition's bounds.
pub(super) fn bounds(events: &mut [Event]) -> &mut LogBounds {
    let found = events.iter_mut().find_map(|event| match event {
        Event::Bounds(bounds) => Some(bounds),
        _ => None,
    });
    found.expect("the good history has bounds")
}

/// Removes the first event that fits.
pub(super) fn remove(events: &mut Vec<Event>, fits: impl Fn(&Event) -> bool) -> Event {
    let at = events.iter().position(fits).expect("the good history has such an event");
    events.remove(at)
}

/// A position, some offsets on.
pub(super) fn moved(position: &str, by: i64) -> String {
    let (partition, offset) = position.rsplit_once('-').unwrap();
    format!("{partition}-{}", offset.parse::<i64>().unwrap() + by)
}

/// Whether a read carries a session's tokens.
pub(super) fn is_session(read: &Read) -> bool {
    read.consistency == Consistency::Session && read.session.is_some()
}
