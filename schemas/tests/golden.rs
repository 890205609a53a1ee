//! Bytes made by foreign code: read into the values that they stand for, and written again to the bit.
//!
//! `golden/make.py` makes them with other libraries than ours, and says how.
#![expect(clippy::unwrap_used, reason = "a test may")]

use bytes::Bytes;
use millpond_schemas::{
    Audit, Change, Claim, Conditions, Control, ControlOp, DeadReason, Decoder, Effect, Exception, Expiry,
    Generation, Keyring, LogId, Mutation, MutationId, Offset, Op, Outcome, OutcomeRange, PartitionId,
    Position, Raw, Received, Record, RecordKey, Refusal, Rejected, Rejection, Shard, SkipTime, Topology,
    TtlMode, UnixMillis, Version, partition_of,
};
use serde_json::Value;

fn messages() -> Value {
    serde_json::from_str(include_str!("../golden/messages.json")).unwrap()
}

fn hex(value: &Value) -> Bytes {
    let text = value.as_str().unwrap().as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap();
    text.chunks(2).map(|pair| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap()).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).as_ref().try_into().unwrap()
}

fn each(messages: &Value, part: &str, mut check: impl FnMut(&str, &Value)) {
    let all = messages[part].as_array().unwrap();
    assert!(!all.is_empty());
    for message in all {
        check(message["name"].as_str().unwrap(), message);
    }
}

fn raw(message: &Value) -> Raw {
    let header = |header: &Value| (header[0].as_str().unwrap().into(), hex(&header[1]));
    Raw {
        key: (!message["key"].is_null()).then(|| hex(&message["key"])),
        headers: message["headers"].as_array().unwrap().iter().map(header).collect(),
        value: Some(hex(&message["value"])),
    }
}

fn keyring(messages: &Value) -> Keyring {
    Keyring::new(1, array(&messages["mac_keys"]["1"])).with(2, array(&messages["mac_keys"]["2"]))
}

fn decode(messages: &Value, partition: PartitionId, raw: Raw) -> Record {
    let log_id = LogId(array(&messages["log_id"]));
    let decoder = Decoder { log_id, partition, partitions: 8, keyring: keyring(messages) };
    decoder.decode(&Received { offset: Offset(42), time: UnixMillis(0), raw }).unwrap()
}

#[test]
fn partitions_are_those_of_foreign_clients() {
    let vectors: Value = serde_json::from_str(include_str!("../golden/partition-vectors.json")).unwrap();
    let numbers: Vec<u32> = serde_json::from_value(vectors["partitions"].clone()).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 1000 && numbers.len() >= 2);
    for vector in vectors {
        let of: Vec<u32> = numbers.iter().map(|count| partition_of(&hex(&vector[0]), *count).0).collect();
        assert_eq!(of, serde_json::from_value::<Vec<u32>>(vector[1].clone()).unwrap(), "{}", vector[0]);
    }
}

#[test]
fn foreign_mutations_are_read_and_written_to_the_bit() {
    let messages = messages();
    let mut names = Vec::new();
    each(&messages, "mutations", |name, message| {
        let raw = raw(message);
        let mutation = mutation(name);
        let partition = mutation.key.partition(8);
        assert_eq!(decode(&messages, partition, raw.clone()), Record::Mutation(mutation.clone()), "{name}");
        assert_eq!(mutation.encode() == raw, message["canonical"].as_bool().unwrap(), "{name}");
        names.push(name.to_owned());
    });
    for kind in ["put", "delete", "ttl-set", "increment", "append", "merge-patch", "json-patch"] {
        assert!(names.iter().any(|name| name == kind), "{kind}");
    }
}

fn mutation(name: &str) -> Mutation {
    let id =
        |durable| Some(MutationId { bytes: std::array::from_fn(|n| u8::try_from(n + 1).unwrap()), durable });
    let conditions = match name {
        "if-exists" => Conditions { exists: true, ..Conditions::default() },
        "if-absent" => Conditions { absent: true, ..Conditions::default() },
        "if-version" => Conditions { version: Some("1-3-42".into()), ..Conditions::default() },
        _ => Conditions::default(),
    };
    let id = match name {
        "id" => id(false),
        "id-durable" => id(true),
        _ => None,
    };
    let key = RecordKey::parse(Bytes::from_static(b"default/hello")).unwrap();
    Mutation { key, id, conditions, op: op(name) }
}

fn put(value: impl Into<Bytes>, content_type: &str, expiry: Option<Expiry>) -> Op {
    Op::Put { value: value.into(), content_type: content_type.into(), expiry }
}

fn op(name: &str) -> Op {
    let ttl = |mode, ms| Op::Ttl { mode, expiry: Some(Expiry::TtlMs(ms)) };
    match name {
        "put-empty" => put("", "application/octet-stream", None),
        "put-any-bytes" => put((0..=255).collect::<Vec<u8>>(), "x/y", None),
        "put-ttl" => put("1", "text/plain", Some(Expiry::TtlMs(1000))),
        "put-expires" => put("1", "text/plain", Some(Expiry::At(UnixMillis(253_402_300_799_999)))),
        "delete" | "if-version" => Op::Delete,
        "ttl-never" => Op::Ttl { mode: TtlMode::Set, expiry: None },
        "ttl-set" => Op::Ttl { mode: TtlMode::Set, expiry: Some(Expiry::At(UnixMillis(0))) },
        "ttl-extend" => ttl(TtlMode::Extend, 315_576_000_000),
        "ttl-only-longer" => ttl(TtlMode::OnlyLonger, 60_000),
        "ttl-only-shorter" => ttl(TtlMode::OnlyShorter, 60_000),
        "ttl-if-none" => ttl(TtlMode::IfNone, 60_000),
        "increment" => Op::Increment { by: -5, initial: i64::MAX },
        "increment-zero" => Op::Increment { by: 0, initial: 0 },
        "append" => Op::Append { value: Bytes::from_static(b"\x00\xff") },
        "merge-patch" => Op::MergePatch { patch: "{\"a\":null}".into() },
        "json-patch" => Op::JsonPatch { patch: "[{\"op\":\"remove\",\"path\":\"/a\"}]".into() },
        _ if name.starts_with("put") || name.starts_with("id") || name.starts_with("if") => {
            put("world", "text/plain", None)
        }
        _ => panic!("no value is known for {name}"),
    }
}

#[test]
fn foreign_control_records_are_read_and_written_to_the_bit() {
    let messages = messages();
    let mut kinds = 0;
    each(&messages, "controls", |name, message| {
        let raw = raw(message);
        let control = control(&messages, name);
        let decoded = decode(&messages, PartitionId(3), raw.clone());
        assert_eq!(decoded, Record::Control(control.clone()), "{name}");
        assert_eq!(control.encode(&keyring(&messages)).unwrap(), raw, "{name}");
        kinds += 1;
    });
    assert_eq!(kinds, 5);
}

fn control(messages: &Value, name: &str) -> Control {
    let op = match name {
        "genesis" => ControlOp::Genesis { generation: Generation(1), partitions: 8 },
        "claim" => ControlOp::Claim(Claim {
            copy: "shard-1".into(),
            generation: Generation(1),
            partitions: 8,
            fold_version: 1,
            format_max: 100,
            value_bytes_max: 524_288,
            purge_grace_ms: 604_800_000,
            mac_key_id: 2,
        }),
        "sweep" => ControlOp::Sweep { rows_max: 1000 },
        "purge" => ControlOp::Purge { rows_max: 1 },
        "seal" => ControlOp::Seal { next_generation: Generation(2) },
        _ => panic!("no value is known for {name}"),
    };
    Control {
        id: std::array::from_fn(|n| u8::try_from(n + 16).unwrap()),
        log_id: LogId(array(&messages["log_id"])),
        partition: PartitionId(3),
        end_seen: Offset(if name == "genesis" { 0 } else { 41 }),
        mac_key_id: if name == "sweep" { 2 } else { 1 },
        op,
    }
}

#[test]
fn foreign_outcomes_are_read_and_written_to_the_bit() {
    each(&messages(), "outcomes", |name, message| {
        let bytes = hex(&message["value"]);
        assert_eq!(Outcome::decode(bytes.clone()), Ok(outcome(name)), "{name}");
        assert_eq!(outcome(name).encode(), bytes, "{name}");
    });
}

fn outcome(name: &str) -> Outcome {
    let version = |offset| Version::new(Generation(1), Offset(offset));
    let effect = Effect {
        changed: true,
        version: version(7),
        expires_at: Some(UnixMillis(5)),
        value: Some("42".into()),
        content_type: "text/plain".into(),
    };
    let rejected = |rejection, current| Outcome::Rejected(Rejected { rejection, current });
    let of =
        |offset| Position { generation: Generation(1), partition: PartitionId(3), offset: Offset(offset) };
    let failed = rejected(Rejection::ConditionFailed, Some(version(6)));
    match name {
        "plain" => Outcome::Applied(None),
        "effect" => Outcome::Applied(Some(effect)),
        "effect-unchanged" => Outcome::Applied(Some(Effect {
            changed: false,
            version: version(0),
            expires_at: None,
            value: None,
            content_type: String::new(),
        })),
        "effect-empty-value" => Outcome::Applied(Some(Effect {
            version: version(0),
            expires_at: None,
            value: Some(Bytes::new()),
            ..effect
        })),
        "rejected" => failed,
        "rejected-absent" => rejected(Rejection::NotFound, None),
        "duplicate" => Outcome::Duplicate { of: of(5), original: None },
        "duplicate-durable" => Outcome::Duplicate { of: of(0), original: Some(Box::new(failed)) },
        "dead-lettered" => Outcome::DeadLettered(Refusal::new(DeadReason::Undecodable, "why")),
        _ => panic!("no value is known for {name}"),
    }
}

#[test]
fn foreign_outcome_ranges_are_read_and_written_to_the_bit() {
    let failed = Outcome::Rejected(Rejected { rejection: Rejection::WrongType, current: None });
    let plain = OutcomeRange {
        generation: Generation(1),
        partition: PartitionId(0),
        from: Offset(0),
        to: Offset(0),
        time: UnixMillis(1),
        exceptions: vec![],
        expired: vec![],
    };
    let id = std::array::from_fn(|n| u8::try_from(n + 1).unwrap());
    let key = |text: &'static str| RecordKey::parse(text.into()).unwrap();
    let full = OutcomeRange {
        partition: PartitionId(3),
        from: Offset(100),
        to: Offset(109),
        time: UnixMillis(1_700_000_000_000),
        exceptions: vec![
            Exception { offset: Offset(100), id: Some(id), outcome: failed.clone() },
            Exception { offset: Offset(109), id: None, outcome: failed },
        ],
        expired: vec![key("default/a"), key("default/b")],
        ..plain.clone()
    };
    each(&messages(), "ranges", |name, message| {
        let range = if name == "range" { &full } else { &plain };
        let bytes = hex(&message["value"]);
        assert_eq!(OutcomeRange::decode(bytes.clone()).as_ref(), Ok(range), "{name}");
        assert_eq!(range.encode(), bytes, "{name}");
    });
}

#[test]
fn a_foreign_topology_is_read_and_written_to_the_bit() {
    let messages = messages();
    let at =
        |partition, offset| Position { generation: Generation(1), partition: PartitionId(partition), offset };
    let topology = Topology {
        epoch: 4,
        generation: Generation(1),
        log_id: LogId(array(&messages["log_id"])),
        shards: vec![
            Shard { name: "s0".into(), primary: "s0.sqlite".into(), replicas: vec![] },
            Shard {
                name: "s1".into(),
                primary: "db-1:5432".into(),
                replicas: vec!["db-2:5432".into(), "db-3:5432".into()],
            },
        ],
        placement: vec![0, 1, 0, 1],
        skips: vec![at(2, Offset(9))],
        skip_times: vec![SkipTime { from: at(3, Offset(5)), to: Offset(7) }],
    };
    each(&messages, "topologies", |name, message| {
        let bytes = hex(&message["value"]);
        let change = Change { replaces: 3, topology: topology.clone(), audit: None };
        assert_eq!(Topology::decode_change(bytes.clone()), Ok(change), "{name}");
        assert_eq!(topology.encode_change(None), bytes, "{name}");
    });
    let audit =
        Audit { who: "root@db-1".into(), at: UnixMillis(7), what: "skip 1-2-9".into(), why: "poison".into() };
    let change = Topology::decode_change(topology.encode_change(Some(&audit)));
    assert_eq!(change, Ok(Change { replaces: 3, topology, audit: Some(audit) }));
}
