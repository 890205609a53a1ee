//! What producers send: mutations drawn from a seed, and batches of them.
//!
//! Invariant: the batches of both forms ask for the same.

use std::fmt::Write;

use bytes::Bytes;
use millpond_schemas::{
    CONTENT_TYPE_DEFAULT, Conditions, Expiry, Mutation, MutationId, Op, RecordKey, Tenant, TtlMode,
};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

/// Different keys of each kind among the mixed ones: several mutations meet on one, also within a flush.
const KEYS: u32 = 200;

/// The put of a key that no other number has, without an id.
pub(crate) fn put(number: usize, random: &mut StdRng) -> Mutation {
    // An odd factor keeps them apart, and out of order.
    let scattered = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (key, op) = (format!("user-{scattered:016x}"), value(random, 256));
    Mutation { key: record_key(&key), id: None, conditions: Conditions::default(), op }
}

/// Any mutation, of one of few keys, with an id.
pub(crate) fn any(number: usize, random: &mut StdRng) -> Mutation {
    let key = random.random_range(0..KEYS);
    let (kind, op) = match random.random_range(0..16) {
        0..8 => {
            let bytes = random.random_range(16..512);
            ("blob", value(random, bytes))
        }
        8 => ("blob", Op::Delete),
        9 => ("blob", Op::Ttl { mode: TtlMode::Set, expiry: Some(Expiry::TtlMs(3_600_000)) }),
        10..13 => ("counter", Op::Increment { by: random.random_range(1..1000), initial: 0 }),
        13 => ("text", Op::Append { value: text(random, 24) }),
        _ => ("document", Op::MergePatch { patch: document(random) }),
    };
    let conditions = Conditions { absent: random.random_ratio(1, 8), ..Conditions::default() };
    let id = MutationId { bytes: (number as u128 + 1).to_be_bytes(), durable: random.random_ratio(1, 8) };
    Mutation { key: record_key(&format!("{kind}-{key:06}")), id: Some(id), conditions, op }
}

fn record_key(key: &str) -> RecordKey {
    let tenant = Tenant::new("default").expect("it is a tenant's name");
    RecordKey::new(&tenant, key.as_bytes()).expect("it is short")
}

fn value(random: &mut StdRng, bytes: usize) -> Op {
    Op::Put { value: text(random, bytes), content_type: CONTENT_TYPE_DEFAULT.into(), expiry: None }
}

fn text(random: &mut StdRng, bytes: usize) -> Bytes {
    (0..bytes).map(|_| random.random_range(b'a'..=b'z')).collect()
}

fn document(random: &mut StdRng) -> Bytes {
    let (member, number) = (random.random_range(0..8), random.random_range(0..1_000_000));
    json!({ "name": "a document", format!("member-{member}"): { "number": number } }).to_string().into()
}

/// A JSON object a line.
pub(crate) fn lines(batch: &[Mutation]) -> Bytes {
    let mut body = String::new();
    for mutation in batch {
        writeln!(body, "{}", object(mutation)).expect("a string takes it");
    }
    body.into()
}

fn object(mutation: &Mutation) -> Value {
    let utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).expect("the input is text").to_owned();
    let mut object = json!({ "op": mutation.op.name(), "key": utf8(mutation.key.key_bytes()) });
    match &mutation.op {
        Op::Put { value, .. } | Op::Append { value } => object["value"] = utf8(value).into(),
        Op::Ttl { .. } => object["ttl"] = "3600s".into(),
        Op::Increment { by, .. } => object["by"] = (*by).into(),
        Op::MergePatch { patch } | Op::JsonPatch { patch } => {
            object["patch"] = serde_json::from_slice(patch).expect("the input is JSON");
        }
        Op::Delete => {}
    }
    if mutation.conditions.absent {
        object["if_absent"] = true.into();
    }
    object
}

/// `millpond.v1.Record`s, each after its length as a varint.
pub(crate) fn records(batch: &[Mutation]) -> Bytes {
    let mut body = Vec::new();
    for mutation in batch {
        let record = mutation.encode_with_key();
        let mut length = record.len();
        while length >= 0x80 {
            body.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        body.push(u8::try_from(length).expect("seven bits"));
        body.extend_from_slice(&record);
    }
    body.into()
}
