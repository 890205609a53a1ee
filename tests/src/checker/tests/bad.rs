//! Ways to spoil a good history by one event, and the promise that each one breaks.
//!
//! Invariant: each is a bug that a client or an operator could see.

mod find;

use self::find::{
    applied_repeat, is_acked, is_acked_event, is_plainly_acked, is_planted, is_repeat, lag, last_ack, murmur,
    put, superseded, value_of,
};
use super::{good::SKEW_MS, pick};
use crate::{
    checker::Invariant::{self, I1, I2, I3, I4, I5, I6, I7, I8, I9, I10},
    history::{
        Change, Consistency, Event, Intent, Key, Op, Published, Read, Seen, Told, WriteResult, Written,
    },
};

/// What is done to a history.
type Spoil = fn(&mut Vec<Event>);

pub(super) const ALL: &[(&str, Invariant, Spoil)] = &[
    ("lost ack", I1, |events| {
        let told = pick::told(events, |_, told| told.position.is_some());
        told.position = told.position.take().map(|position| pick::moved(&position, 100_000));
    }),
    ("acked value differs", I1, |events| put(events, |value, _| *value = "another".into())),
    ("acked content type differs", I1, |events| put(events, |_, content_type| content_type.push('x'))),
    ("acked key differs", I1, |events| pick::op(events, is_acked).intent.key = "key-other".into()),
    ("acked condition was dropped", I1, |events| {
        let op = pick::op(events, |op| is_acked(op) && !op.intent.if_absent);
        op.intent.if_absent = true;
    }),
    ("acked id is another", I1, |events| {
        let op = pick::op(events, |op| is_acked(op) && op.intent.idempotency_key.is_some());
        op.intent.idempotency_key = Some("another".into());
    }),
    ("durable id became a random one", I1, |events| {
        let op = pick::op(events, |op| is_acked(op) && op.intent.idempotency_key.is_some());
        op.intent.idempotency_key = None;
    }),
    ("two acks at one position", I1, |events| {
        let op = pick::op(events, is_acked).clone();
        events.push(Event::Op(op));
    }),
    ("line of a batch is nowhere", I1, |events| {
        let mut op = pick::op(events, is_acked).clone();
        op.intent = Intent::put("key-1", "never on the log");
        op.result = WriteResult::Ok(Told { position: None, ..Told::accepted("") });
        events.push(Event::Op(op));
    }),
    ("record that nobody sent", I1, |events| {
        pick::remove(
            events,
            |event| matches!(event, Event::Op(op) if is_acked(op) && value_of(&op.intent).is_some()),
        );
    }),
    ("record changed on the log", I1, |events| {
        let value =
            value_of(&pick::op(events, |op| is_acked(op) && value_of(&op.intent).is_some()).intent).unwrap();
        let text = String::from_utf8(value.0.to_vec()).unwrap();
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let record =
            pick::record(events, |record| record.value.as_ref().is_some_and(|value| holds(&value.0)));
        let mut bytes = record.value.take().unwrap().0.to_vec();
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        bytes[at] ^= 1;
        record.value = Some(bytes::Bytes::from(bytes).into());
    }),
    ("refused write is on the log", I2, |events| {
        let failed = WriteResult::Failed { status: 400, code: "ttl-invalid".into() };
        pick::op(events, is_plainly_acked).result = failed;
    }),
    ("not-accepted write is on the log", I2, |events| {
        let planted = |op: &Op| matches!(&op.result, WriteResult::Unknown { code, .. } if code == "planted");
        pick::op(events, planted).result = WriteResult::Failed { status: 503, code: "backpressure".into() };
    }),
    ("rejected write took effect", I2, |events| {
        let told = pick::told(events, |_, told| told.written == Written::Applied && !told.duplicate);
        told.written = Written::Rejected { code: "condition-failed".into(), current: None };
    }),
    ("write without effect was told applied", I2, |events| {
        let told = pick::told(events, |_, told| matches!(told.written, Written::Rejected { .. }));
        told.written = Written::Applied;
    }),
    ("rejected for another reason", I2, |events| {
        let told = pick::told(events, |_, told| matches!(told.written, Written::Rejected { .. }));
        told.written = Written::Rejected { code: "patch-test-failed".into(), current: None };
    }),
    ("dead letter of another reason", I2, |events| {
        let look = pick::look(events, |told| matches!(told.written, Written::DeadLettered { .. }));
        look.told.written = Written::DeadLettered { reason: "too-large".into() };
    }),
    ("dead letter told applied", I2, |events| {
        let look = pick::look(events, |told| matches!(told.written, Written::DeadLettered { .. }));
        look.told.written = Written::Applied;
    }),
    ("unknown write took effect twice", I3, |events| {
        pick::remove(events, |event| is_planted(event, 7) && !is_acked_event(event));
    }),
    ("acked write took effect twice", I3, |events| {
        pick::remove(events, |event| is_planted(event, 11) && !is_acked_event(event));
    }),
    ("told a repeat, and there is none", I3, |events| {
        let told = pick::told(events, |intent, told| {
            intent.idempotency_key.is_none() && told.written == Written::Applied && !told.duplicate
        });
        told.duplicate = true;
    }),
    ("idempotent retry applied twice", I3, |events| {
        let (told, own) = applied_repeat(events);
        *told = Told { position: own, duplicate: false, ..told.clone() };
    }),
    ("repeat names a wrong position", I3, |events| {
        let look = pick::look(events, is_repeat);
        let Written::Duplicate { of } = &mut look.told.written else { unreachable!("it is a repeat") };
        *of = pick::moved(of, 1);
    }),
    ("first write told a repeat", I3, |events| {
        let look = pick::look(events, |told| told.written == Written::Applied);
        look.told.written = Written::Duplicate { of: "1-0-1".into() };
    }),
    ("value never written", I4, |events| {
        pick::shown(events, |_, _| true).value = Some("never written".into());
    }),
    ("right value at a wrong position", I4, |events| {
        let (read, earlier) = superseded(events);
        pick::shown(events, |one, _| *one == read).position = earlier;
    }),
    ("absence of a live key", I4, |events| {
        let read =
            pick::read(events, |read| matches!(&read.seen, Seen::Found(key) if key.expires_at_ms.is_none()));
        let position = read.seen.position().unwrap().to_owned();
        read.seen = Seen::Absent { position };
    }),
    ("key that was never written", I4, |events| {
        let read = pick::read(events, |read| matches!(&read.seen, Seen::Found(_)));
        // Of the same partition, so that only the key is wrong.
        let of = |key: &str| murmur(&format!("default/{key}"));
        let own = of(std::str::from_utf8(&read.key.0).unwrap());
        read.key = (0..1000).map(|n| format!("nobody-{n}")).find(|key| of(key) == own).unwrap().into();
    }),
    ("version shown differs", I4, |events| {
        let key = pick::shown(events, |_, _| true);
        key.version = pick::moved(&key.version, 1);
    }),
    ("content type shown differs", I4, |events| {
        pick::shown(events, |_, _| true).content_type = Some("image/png".into());
    }),
    ("expiry shown differs", I4, |events| {
        let key = pick::shown(events, |_, key| key.expires_at_ms.is_some());
        key.expires_at_ms = key.expires_at_ms.map(|at| at + 1);
    }),
    ("expiry is not shown", I4, |events| {
        pick::shown(events, |_, key| key.expires_at_ms.is_some()).expires_at_ms = None;
    }),
    ("state of another partition", I4, |events| {
        let key = pick::shown(events, |_, key| key.position.starts_with("1-0-"));
        key.position = key.position.replacen("1-0-", "1-1-", 1);
    }),
    ("doubled increment", I4, |events| {
        let told = pick::told(events, |intent, told| {
            matches!(intent.change, Change::Increment { .. }) && told.value.is_some()
        });
        let number: i64 = std::str::from_utf8(&told.value.as_ref().unwrap().0).unwrap().parse().unwrap();
        told.value = Some((2 * number).to_string().into());
    }),
    ("ETag told differs", I4, |events| {
        let told = pick::told(events, |_, told| told.version.is_some());
        told.version = told.version.take().map(|version| pick::moved(&version, 1));
    }),
    ("expiry told differs", I4, |events| {
        let told =
            pick::told(events, |_, told| told.expires_at_ms.is_some() && told.written == Written::Accepted);
        told.expires_at_ms = told.expires_at_ms.map(|at| at + 1000);
    }),
    ("no-op told as a change", I4, |events| {
        let told = pick::told(events, |_, told| told.changed.is_some());
        told.changed = told.changed.map(|changed| !changed);
    }),
    ("version of a failed condition differs", I4, |events| {
        let told =
            pick::told(events, |_, told| matches!(told.written, Written::Rejected { current: Some(_), .. }));
        let Written::Rejected { current, .. } = &mut told.written else { unreachable!("it is one") };
        *current = Some("1-0-0".into());
    }),
    ("read below its token", I5, |events| {
        let read = pick::read(events, |read| pick::is_session(read) && read.min_position.is_some());
        read.min_position =
            read.seen.position().map(|position| format!("1-9-9,{}", pick::moved(position, 1)));
    }),
    ("a copy that has applied nothing answered a token", I5, |events| {
        let read = pick::read(events, |read| read.seen.position().is_some_and(str::is_empty));
        read.min_position = Some(format!("1-{}-0", murmur("default/twice")));
    }),
    ("strong read of an old state", I5, |events| {
        let (partition, acked) = last_ack(events);
        let old = |read: &Read| {
            read.consistency == Consistency::Eventual
                && read.seen.position().is_some_and(|position| {
                    let (of, offset) = position.rsplit_once('-').unwrap();
                    of == partition && offset.parse::<i64>().unwrap() < acked
                })
        };
        let mut read = pick::read(events, old).clone();
        read.consistency = Consistency::Strong;
        let end_us = read.end_us - read.start_us;
        read.start_us = i64::MAX / 2;
        read.end_us = read.start_us + end_us;
        events.push(Event::Read(read));
    }),
    ("session goes back", I6, |events| {
        let mut read = pick::read(events, pick::is_session).clone();
        read.min_position = None;
        events.push(Event::Read(read));
    }),
    ("session's write goes back", I6, |events| {
        let op = pick::remove(
            events,
            |event| matches!(event, Event::Op(op) if is_acked(op) && op.session.is_some()),
        );
        events.push(op);
    }),
    ("row of a replica differs", I7, |events| {
        pick::copy(events, "replica").sums.rows.sum.replace_range(0..1, "x");
    }),
    ("row of the primary is missing", I7, |events| pick::copy(events, "primary").sums.rows.count -= 1),
    ("operations of a rebuild differ", I7, |events| {
        pick::copy(events, "rebuild").sums.operations.as_mut().unwrap().sum.push('0');
    }),
    ("id of the window is missing", I7, |events| {
        pick::copy(events, "primary").sums.seen.as_mut().unwrap().count -= 1;
    }),
    ("outcome kept differs", I7, |events| {
        pick::copy(events, "replica").sums.outcomes.as_mut().unwrap().sum.push('0');
    }),
    ("dead letter kept twice", I7, |events| {
        pick::copy(events, "primary").sums.dead_letters.as_mut().unwrap().count += 1;
    }),
    ("rows of another offset", I7, |events| {
        let rows = pick::copy(events, "replica").sums.rows.clone();
        pick::copy(events, "primary").sums.rows = rows;
    }),
    ("watermark past the end", I8, |events| pick::copy(events, "primary").applied += 1_000),
    ("watermark on another record", I8, |events| {
        pick::copy(events, "primary").digest.replace_range(0..2, "zz");
    }),
    ("watermark over a gap", I8, |events| pick::copy(events, "primary").digest_offset -= 1),
    ("watermark of another time", I8, |events| pick::copy(events, "replica").time_ms += 1),
    ("gap in the log", I8, |events| {
        pick::remove(events, |event| matches!(event, Event::Log(record) if record.offset == 40));
    }),
    ("log lost its tail", I8, |events| pick::bounds(events).end -= 1),
    ("record was another one before", I8, |events| {
        let mut record = pick::record(events, |record| record.offset == 40).clone();
        record.time_ms += 1;
        events.push(Event::Log(record));
    }),
    ("state past the end was read", I8, |events| {
        let key = pick::shown(events, |_, _| true);
        key.position = pick::moved(&key.position, 100_000);
    }),
    ("dead letter without a row", I8, |events| {
        drop(pick::copy(events, "primary").dead_letters.as_mut().unwrap().remove(0));
    }),
    ("row of a dead letter that is none", I8, |events| {
        pick::copy(events, "primary").dead_letters.as_mut().unwrap()[0].offset += 1;
    }),
    ("published, and no dead letter", I8, |events| {
        events.push(Event::Published(Published { partition: 1, offset: 3, reason: "undecodable".into() }));
    }),
    ("expired key visible", I9, |events| {
        let read =
            pick::read(events, |read| matches!(&read.seen, Seen::Found(key) if key.expires_at_ms.is_some()));
        let Seen::Found(Key { expires_at_ms: Some(at), .. }) = &read.seen else { unreachable!("it is one") };
        read.start_us = (at + i64::try_from(SKEW_MS).unwrap() + 1) * 1000;
        read.end_us = read.start_us + 1000;
    }),
    ("key missing before its expiry", I9, |events| {
        let read = pick::read(events, |read| {
            read.consistency == Consistency::Eventual
                && matches!(&read.seen, Seen::Found(key) if key.expires_at_ms.is_some())
        });
        let Seen::Found(Key { expires_at_ms: Some(at), .. }) = &read.seen else { unreachable!("it is one") };
        read.end_us = (at - i64::try_from(SKEW_MS).unwrap() - 3) * 1000;
        read.start_us = read.end_us - 1000;
        let position = read.seen.position().unwrap().to_owned();
        read.seen = Seen::Absent { position };
    }),
    ("partition lags after healing", I10, |events| lag(events, |records, _| records[1] = 3)),
    ("no write is acked after healing", I10, |events| lag(events, |_, acked| *acked = 0)),
];

/// What makes a history prove nothing.
pub(super) const VOID: &[(&str, Spoil)] = &[
    ("no fault", |events| events.retain(|event| !matches!(event, Event::Fault(_)))),
    ("no log", |events| events.retain(|event| !matches!(event, Event::Log(_)))),
    ("no bounds", |events| events.retain(|event| !matches!(event, Event::Bounds(_)))),
    ("no topology", |events| events.retain(|event| !matches!(event, Event::Topology(_)))),
    ("no copy", |events| events.retain(|event| !matches!(event, Event::Copy(_)))),
    ("no copy of a partition", |events| {
        events.retain(|event| !matches!(event, Event::Copy(copy) if copy.partition == 1));
    }),
    ("nobody looked after healing", |events| events.retain(|event| !matches!(event, Event::Lag(_)))),
    ("log without its beginning", |events| {
        events.retain(|event| !matches!(event, Event::Log(record) if record.offset < 5));
    }),
    ("fewer than half succeeded", |events| {
        let failed = pick::op(events, |op| matches!(op.result, WriteResult::Failed { .. })).clone();
        events.extend(std::iter::repeat_n(Event::Op(failed), 5_000));
    }),
];
