//! Turns steps into a log: real bytes, real MACs, the real decoder, and the naive model beside them.
//!
//! Invariant: the same steps make the same log.

use bytes::Bytes;
use millpond_fold::{
    Entry,
    model::{Halt, Model},
};
use millpond_schemas::{
    ByteString, Conditions, Control, ControlOp, Decoder, Expiry, FORMAT_RECORD, Generation, HEADER_FORMAT,
    HEADER_MAC, Keyring, LogId, Mutation, Offset, Op, PartitionId, Raw, Received, Record, RecordKey,
    UnixMillis, Watermark,
    limits::{CONTROL_OFFSETS_MAX, HEADERS_MAX},
};

use super::strategy::{Bad, Condition, KEYS, Plan, Step, What};

const LOG_ID: LogId = LogId([7; 16]);
const PARTITION: PartitionId = PartitionId(1);
const PARTITIONS: u32 = 4;
const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// A log up to its end, or to the record at which every fold must halt, that one included.
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    pub(crate) model: Model,
    pub(crate) halt: Option<Halt>,
}

pub(crate) fn watermark() -> Watermark {
    Watermark::empty(PARTITION, Generation::FIRST, LOG_ID)
}

pub(crate) fn build(steps: &[Step]) -> History {
    let mut builder = Builder::new();
    for step in steps {
        let entry = builder.entry(step);
        builder.entries.push(entry.clone());
        if let Err(halt) = builder.model.apply(&entry) {
            return History { entries: builder.entries, model: builder.model, halt: Some(halt) };
        }
    }
    History { entries: builder.entries, model: builder.model, halt: None }
}

struct Builder {
    decoder: Decoder,
    keys: Vec<RecordKey>,
    stray: RecordKey,
    entries: Vec<Entry>,
    model: Model,
    offset: Offset,
    append_time: UnixMillis,
}

impl Builder {
    fn new() -> Self {
        let candidates = (0u32..).flat_map(|n| ["a", "a-b", "b"].map(|tenant| format!("{tenant}/{n}")));
        let mut candidates = candidates.map(|key| RecordKey::parse(key.into()).unwrap());
        let keys =
            candidates.by_ref().filter(|key| key.partition(PARTITIONS) == PARTITION).take(KEYS).collect();
        let stray = candidates.find(|key| key.partition(PARTITIONS) != PARTITION).unwrap();
        let keyring = Keyring::new(1, [1; 32]);
        Self {
            decoder: Decoder { log_id: LOG_ID, partition: PARTITION, partitions: PARTITIONS, keyring },
            keys,
            stray,
            entries: Vec::new(),
            model: Model::new(PARTITION, Generation::FIRST, LOG_ID),
            offset: Offset(0),
            append_time: START,
        }
    }

    fn entry(&mut self, step: &Step) -> Entry {
        let offset = Offset(self.offset.0 + step.gap);
        let time = UnixMillis(self.append_time.0 + step.advance_ms);
        self.offset = offset;
        let raw = self.raw(&step.what);
        (self.offset, self.append_time) = (offset.next(), time);
        let mut entry = Entry::new(&self.decoder, Received { offset, time, raw });
        (entry.skipped, entry.time_skipped) = (step.skipped, step.time_skipped);
        entry
    }

    fn raw(&self, what: &What) -> Raw {
        match what {
            What::Mutation(plan) => self.mutation(plan),
            What::Control(id, op) => self.control(*id, op.clone()),
            What::Repeat(back) => match self.entries.len().checked_sub(*back) {
                Some(at) => self.entries[at].raw.clone(),
                None => self.bad(Bad::Garbage),
            },
            What::Bad(bad) => self.bad(*bad),
        }
    }

    fn mutation(&self, plan: &Plan) -> Raw {
        let key = self.keys[plan.key].clone();
        let position = self.model.rows.get(&key).map(|row| row.version.position(PARTITION).to_string());
        let mut conditions = Conditions::default();
        match plan.condition {
            Condition::Nothing => {}
            Condition::Exists => conditions.exists = true,
            Condition::Absent => conditions.absent = true,
            Condition::Current => conditions.version = position,
            Condition::Bogus(version) => conditions.version = Some(version.to_owned()),
        }
        let mutation = Mutation { key, id: plan.id, conditions, op: self.absolute(plan.op.clone()) };
        let plain = plain(&mutation).filter(|_| plan.plain);
        let raw = plain.unwrap_or_else(|| mutation.encode());
        self.comes_back(&raw, &Record::Mutation(mutation));
        raw
    }

    /// What is encoded is what is decoded.
    fn comes_back(&self, raw: &Raw, record: &Record) {
        let received = Received { offset: self.offset, time: START, raw: raw.clone() };
        assert_eq!(self.decoder.decode(&received).as_ref(), Ok(record));
    }

    fn absolute(&self, mut op: Op) -> Op {
        if let Op::Put { expiry: Some(Expiry::At(at)), .. } | Op::Ttl { expiry: Some(Expiry::At(at)), .. } =
            &mut op
        {
            let now = self.model.time.max(self.append_time);
            *at = if at.0 < 10_000 { UnixMillis(now.0 + at.0) } else { *at };
        }
        op
    }

    fn control(&self, id: Option<u8>, op: ControlOp) -> Raw {
        let control = self.unsigned(id, op);
        let raw = control.encode(&self.decoder.keyring).unwrap();
        self.comes_back(&raw, &Record::Control(control));
        raw
    }

    fn unsigned(&self, id: Option<u8>, op: ControlOp) -> Control {
        let own = (u128::from(self.offset.0.cast_unsigned()) + (1 << 64)).to_be_bytes();
        Control {
            id: id.map_or(own, |id| [id; 16]),
            log_id: LOG_ID,
            partition: PARTITION,
            end_seen: Offset(self.offset.0 - self.offset.0 % 3),
            mac_key_id: 1,
            op,
        }
    }

    fn bad(&self, bad: Bad) -> Raw {
        let key = Some(self.keys[0].bytes().clone());
        let (value, format) = (Some(Bytes::from_static(b"v")), (HEADER_FORMAT, FORMAT_RECORD));
        match bad {
            Bad::Garbage => raw(key, vec![format], Some(Bytes::from_static(b"\xff\xff"))),
            Bad::EmptyValue => raw(key, vec![format], None),
            Bad::NoOperation => raw(key, vec![format], Some(Bytes::from_static(&[0x08, 100]))),
            // Field 1, a varint of two bytes.
            Bad::Format(number) => {
                let low = u8::try_from(number % 128).unwrap() | 0x80;
                raw(None, vec![format], Some(vec![0x08, low, u8::try_from(number / 128).unwrap()].into()))
            }
            Bad::NoKey => raw(None, vec![], value),
            Bad::KeyInvalid => raw(Some(Bytes::from_static(b"NO/k")), vec![], value),
            // Field 5, two bytes: the key `no`.
            Bad::KeyMismatch => {
                raw(key, vec![format], Some(Bytes::from_static(&[0x2a, 2, b'n', b'o', 0x8a, 0x01, 0])))
            }
            Bad::WrongPartition => raw(Some(self.stray.bytes().clone()), vec![], value),
            Bad::ManyHeaders => raw(key, vec![("x", b"y"); HEADERS_MAX + 1], value),
            Bad::Ttl => raw(key, vec![("kv-ttl-ms", b"999")], value),
            Bad::Header => raw(key, vec![("kv-id", b"short")], value),
            Bad::Form => raw(key, vec![(HEADER_FORMAT, b"avro")], value),
            Bad::NoMac
            | Bad::WrongMac
            | Bad::OtherPartition
            | Bad::OtherLog
            | Bad::WithKey
            | Bad::TooOld
            | Bad::FromTheFuture
            | Bad::KeyMissing => self.forged(bad),
        }
    }

    fn forged(&self, bad: Bad) -> Raw {
        let mut control = self.unsigned(None, ControlOp::Sweep { rows_max: 9 });
        let mut keyring = self.decoder.keyring.clone();
        match bad {
            Bad::WrongMac => keyring = Keyring::new(1, [2; 32]),
            Bad::OtherPartition => control.partition = PartitionId(2),
            Bad::OtherLog => control.log_id = LogId([8; 16]),
            Bad::TooOld => control.end_seen = Offset(self.offset.0 - CONTROL_OFFSETS_MAX - 1),
            Bad::FromTheFuture => control.end_seen = self.offset.next(),
            Bad::KeyMissing => {
                control.mac_key_id = 9;
                keyring = Keyring::new(9, [9; 32]);
            }
            _ => {}
        }
        let mut raw = control.encode(&keyring).unwrap();
        match bad {
            Bad::NoMac => raw.headers.retain(|(name, _)| name != HEADER_MAC),
            Bad::WithKey => raw.key = Some(self.keys[0].bytes().clone()),
            _ => {}
        }
        raw
    }
}

fn raw(key: Option<Bytes>, headers: Vec<(&str, &'static [u8])>, value: Option<Bytes>) -> Raw {
    let headers = headers.into_iter().map(|(name, value)| (name.into(), Bytes::from_static(value))).collect();
    Raw { key, headers, value }
}

/// The plain form of a put or delete.
fn plain(mutation: &Mutation) -> Option<Raw> {
    let mut headers: Vec<(ByteString, Bytes)> = Vec::new();
    let mut header = |name: &str, value: String| headers.push((name.into(), value.into()));
    let value = match &mutation.op {
        Op::Put { value, content_type, expiry } => {
            header("content-type", content_type.to_string());
            match expiry {
                Some(Expiry::TtlMs(ms)) => header("kv-ttl-ms", ms.to_string()),
                Some(Expiry::At(at)) => header("kv-expires-at-ms", at.to_string()),
                None => {}
            }
            Some(value.clone())
        }
        Op::Delete => None,
        _ => return None,
    };
    match &mutation.conditions {
        Conditions { exists: true, .. } => header("kv-if-match", "*".to_owned()),
        Conditions { version: Some(version), .. } => header("kv-if-match", format!("\"{version}\"")),
        _ => {}
    }
    if mutation.conditions.absent {
        header("kv-if-none-match", "*".to_owned());
    }
    if let Some(id) = mutation.id {
        header("kv-durable", id.durable.to_string());
        header("kv-id", format!("{:032X}", u128::from_be_bytes(id.bytes)));
    }
    Some(Raw { key: Some(mutation.key.bytes().clone()), headers, value })
}
