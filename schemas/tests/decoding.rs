//! What the decoder makes of the plain form, of every record that can never apply, and of foreign bytes.
#![expect(clippy::unwrap_used, reason = "a test may")]

use bytes::Bytes;
use millpond_schemas::{
    ByteString, Conditions, Control, ControlOp, DeadReason, DecodeError, Decoder, Expiry, FORMAT_RECORD,
    HEADER_FORMAT, HEADER_MAC, KeyMissing, Keyring, LogId, Mutation, MutationId, Offset, Op, PartitionId,
    Raw, Received, Record, RecordKey, TtlMode, UnixMillis, limits,
};
use proptest::{collection::vec, option, prelude::*};

const OFFSET: Offset = Offset(100_000);
const KEY: &str = "default/hello";

fn keyring() -> Keyring {
    Keyring::new(1, [1; 32])
}

/// Of a log with one partition, so that every key belongs here.
fn decoder() -> Decoder {
    Decoder { log_id: LogId([7; 16]), partition: PartitionId(0), partitions: 1, keyring: keyring() }
}

fn decode_by(decoder: &Decoder, raw: Raw) -> Result<Record, DecodeError> {
    decoder.decode(&Received { offset: OFFSET, time: UnixMillis(0), raw })
}

fn decode(raw: Raw) -> Result<Record, DecodeError> {
    decode_by(&decoder(), raw)
}

fn plain(headers: &[(&str, &[u8])], value: Option<&'static [u8]>) -> Raw {
    let header = |(name, value): &(&str, &[u8])| ((*name).into(), Bytes::copy_from_slice(value));
    Raw {
        key: Some(KEY.into()),
        headers: headers.iter().map(header).collect(),
        value: value.map(Bytes::from_static),
    }
}

fn record(value: impl Into<Bytes>) -> Raw {
    Raw { value: Some(value.into()), ..plain(&[(HEADER_FORMAT, FORMAT_RECORD)], None) }
}

fn mutation(op: Op) -> Mutation {
    let key = RecordKey::parse(KEY.into()).unwrap();
    Mutation { key, id: None, conditions: Conditions::default(), op }
}

fn put(value: &'static str) -> Op {
    Op::Put { value: value.into(), content_type: "application/octet-stream".into(), expiry: None }
}

fn reason(raw: Raw) -> DeadReason {
    match decode(raw) {
        Err(DecodeError::Refused(refusal)) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn mutation_of(raw: Raw) -> Mutation {
    match decode(raw) {
        Ok(Record::Mutation(mutation)) => mutation,
        other => panic!("no mutation: {other:?}"),
    }
}

#[test]
fn a_record_without_headers_is_a_put_or_a_delete() {
    assert_eq!(mutation_of(plain(&[], Some(b"v"))), mutation(put("v")));
    assert_eq!(mutation_of(plain(&[], Some(b""))), mutation(put("")));
    assert_eq!(mutation_of(plain(&[], None)), mutation(Op::Delete));
    let carried = plain(&[("traceparent", b"00-1"), ("anything", b"\xff")], Some(b"v"));
    assert_eq!(mutation_of(carried), mutation(put("v")));
}

#[test]
fn plain_headers_say_what_an_envelope_says() {
    let headers: [(&str, &[u8]); 6] = [
        ("content-type", b"text/plain"),
        ("kv-ttl-ms", b"1000"),
        ("kv-if-match", b"\"1-0-5\""),
        ("kv-if-none-match", b"*"),
        ("kv-id", b"0102030405060708090a0b0c0d0e0f10"),
        ("kv-durable", b"true"),
    ];
    let bytes = std::array::from_fn(|n| u8::try_from(n + 1).unwrap());
    let wanted = Mutation {
        id: Some(MutationId { bytes, durable: true }),
        conditions: Conditions { exists: false, absent: true, version: Some("1-0-5".into()) },
        ..mutation(Op::Put {
            value: "v".into(),
            content_type: "text/plain".into(),
            expiry: Some(Expiry::TtlMs(1000)),
        })
    };
    assert_eq!(mutation_of(plain(&headers, Some(b"v"))), wanted);
    assert_eq!(mutation_of(wanted.encode()), wanted);
    let one = |name, value: &'static [u8]| mutation_of(plain(&[(name, value)], Some(b"v")));
    assert_eq!(one("kv-if-match", b"1-0-5").conditions.version.as_deref(), Some("1-0-5"));
    assert!(one("kv-if-match", b"*").conditions.exists);
    assert_eq!(one("kv-id", &[5; 16]).id, Some(MutationId { bytes: [5; 16], durable: false }));
    assert_eq!(one("kv-id", &[0; 16]).id, None);
    assert_eq!(one("kv-id", &[b'0'; 32]).id, None);
    let moment = Op::Put {
        value: "v".into(),
        content_type: "application/octet-stream".into(),
        expiry: Some(Expiry::At(UnixMillis(0))),
    };
    assert_eq!(one("kv-expires-at-ms", b"0").op, moment);
}

#[test]
fn of_headers_with_one_name_the_last_counts() {
    let twice = plain(&[("content-type", b"a/b"), ("content-type", b"c/d")], Some(b""));
    let op = Op::Put { value: Bytes::new(), content_type: "c/d".into(), expiry: None };
    assert_eq!(mutation_of(twice), mutation(op));
}

#[test]
fn plain_headers_that_make_no_sense_are_refused() {
    let one = |name, value: &[u8]| reason(plain(&[(name, value)], Some(b"v")));
    for (name, value) in [
        ("kv-id", &b"short"[..]),
        ("kv-id", &[b'g'; 32]),
        ("kv-id", b"+102030405060708090a0b0c0d0e0f10"),
        ("kv-durable", b"yes"),
        ("kv-durable", b"true"),
        ("kv-if-match", b""),
        ("kv-if-match", b"\"\""),
        ("kv-if-match", &[b'1'; limits::CONDITION_BYTES_MAX + 1]),
        ("kv-if-none-match", b"1-0-5"),
        ("content-type", b"\xff"),
        ("content-type", b"text/plain\0"),
        ("content-type", b"text/plain\r\nx: y"),
        ("content-type", "text/é".as_bytes()),
        ("content-type", &[b'x'; limits::CONTENT_TYPE_BYTES_MAX + 1]),
    ] {
        assert_eq!(one(name, value), DeadReason::HeaderInvalid, "{name}");
    }
    for (name, value) in [
        ("kv-ttl-ms", &b"999"[..]),
        ("kv-ttl-ms", b"315576000001"),
        ("kv-ttl-ms", b"-1"),
        ("kv-ttl-ms", b"1s"),
        ("kv-ttl-ms", b""),
        ("kv-expires-at-ms", b"-1"),
        ("kv-expires-at-ms", b"253402300800000"),
    ] {
        assert_eq!(one(name, value), DeadReason::TtlInvalid, "{name}");
    }
    let both = plain(&[("kv-ttl-ms", b"1000"), ("kv-expires-at-ms", b"5")], Some(b"v"));
    assert_eq!(reason(both), DeadReason::TtlInvalid);
}

#[test]
fn keys_are_refused_with_their_reason() {
    let keyed = |key: Option<&'static str>| Raw { key: key.map(Bytes::from), ..plain(&[], Some(b"v")) };
    assert_eq!(reason(keyed(None)), DeadReason::MissingKey);
    for key in ["", "hello", "/hello", "default/", "Default/a"] {
        assert_eq!(reason(keyed(Some(key))), DeadReason::KeyInvalid, "{key}");
    }
    let elsewhere = Decoder { partitions: 1000, partition: PartitionId(999), ..decoder() };
    let Err(DecodeError::Refused(refusal)) = decode_by(&elsewhere, keyed(Some(KEY))) else {
        panic!("refused")
    };
    assert_eq!(refusal.reason, DeadReason::WrongPartition);
    assert!(refusal.detail.contains("partitioner=murmur2_random"), "{}", refusal.detail);
    // Field 5, two bytes.
    let mut named = put_bytes();
    named.extend(b"\x2a\x02no");
    assert_eq!(reason(record(named)), DeadReason::KeyMismatch);
}

fn put_bytes() -> Vec<u8> {
    mutation(put("v")).encode().value.unwrap().to_vec()
}

#[test]
fn records_that_say_nothing_are_refused() {
    assert_eq!(reason(record("")), DeadReason::EmptyMutation);
    assert_eq!(reason(Raw { value: None, ..record("") }), DeadReason::EmptyMutation);
    assert_eq!(reason(record(vec![0x08, 100])), DeadReason::EmptyMutation);
    assert_eq!(reason(record("\u{7f}\u{7f}")), DeadReason::Undecodable);
    let form = plain(&[(HEADER_FORMAT, b"avro")], Some(b"v"));
    assert_eq!(reason(form), DeadReason::UnsupportedFormat);
}

#[test]
fn a_newer_major_format_is_left_to_the_fold() {
    // Field 1, a varint: 200 and 199.
    assert_eq!(decode(record(vec![0x08, 0xc8, 0x01])), Err(DecodeError::FormatUnknown(200)));
    let mut minor = put_bytes();
    minor.extend([0x08, 0xc7, 0x01]);
    assert_eq!(mutation_of(record(minor)), mutation(put("v")));
}

#[test]
fn headers_are_bounded_in_number_and_bytes() {
    let many = |count| plain(&vec![("x", &b"y"[..]); count], Some(b"v"));
    assert!(decode(many(limits::HEADERS_MAX)).is_ok());
    assert_eq!(reason(many(limits::HEADERS_MAX + 1)), DeadReason::TooLarge);
    let long = |bytes: usize| plain(&[("x", vec![b'y'; bytes].as_slice())], Some(b"v"));
    assert!(decode(long(limits::HEADER_BYTES_MAX - 1)).is_ok());
    assert_eq!(reason(long(limits::HEADER_BYTES_MAX)), DeadReason::TooLarge);
}

#[test]
fn envelopes_that_can_never_apply_are_refused() {
    let refusal = |op| reason(mutation(op).encode());
    let ttl = |mode, expiry| Op::Ttl { mode, expiry };
    let at = Some(Expiry::At(UnixMillis(5)));
    assert_eq!(refusal(ttl(TtlMode::Extend, at)), DeadReason::TtlInvalid);
    for mode in [TtlMode::Extend, TtlMode::OnlyLonger, TtlMode::OnlyShorter, TtlMode::IfNone] {
        assert_eq!(refusal(ttl(mode, None)), DeadReason::TtlInvalid, "{mode:?}");
    }
    assert_eq!(refusal(ttl(TtlMode::Set, Some(Expiry::TtlMs(0)))), DeadReason::TtlInvalid);
    // Field 18 with field 1 (the mode) = 9.
    assert_eq!(reason(record(vec![0x92, 0x01, 2, 0x08, 9])), DeadReason::Undecodable);
    for patch in ["", "{", "{\"a\":1,\"a\":2}", "NaN"] {
        assert_eq!(refusal(Op::MergePatch { patch: patch.into() }), DeadReason::Undecodable, "{patch}");
    }
    for patch in ["{}", "[{\"op\":\"add\",\"path\":\"/a\"}]", "[{\"op\":\"frob\",\"path\":\"\"}]"] {
        assert_eq!(refusal(Op::JsonPatch { patch: patch.into() }), DeadReason::Undecodable, "{patch}");
    }
    // Field 2, three bytes.
    let content_type = "a\0".into();
    assert_eq!(
        refusal(Op::Put { value: Bytes::new(), content_type, expiry: None }),
        DeadReason::HeaderInvalid
    );
    let mut id = put_bytes();
    id.extend([0x12, 3, 1, 2, 3]);
    assert_eq!(reason(record(id)), DeadReason::Undecodable);
    let version = Some("1".repeat(limits::CONDITION_BYTES_MAX + 1));
    let conditions = Conditions { version, ..Conditions::default() };
    let long = Mutation { conditions, ..mutation(Op::Delete) };
    assert_eq!(reason(long.encode()), DeadReason::Undecodable);
}

fn sweep() -> Control {
    Control {
        id: [3; 16],
        log_id: LogId([7; 16]),
        partition: PartitionId(0),
        end_seen: OFFSET,
        mac_key_id: 1,
        op: ControlOp::Sweep { rows_max: 10 },
    }
}

fn forged(raw: Raw) -> bool {
    match decode(raw) {
        Ok(Record::Control(_)) => false,
        Err(DecodeError::Refused(refusal)) if refusal.reason == DeadReason::ForgedControlRecord => true,
        other => panic!("neither a control record nor a forged one: {other:?}"),
    }
}

#[test]
fn a_control_record_counts_only_with_the_right_mac_over_its_very_bytes() {
    let signed = sweep().encode(&keyring()).unwrap();
    assert_eq!(decode(signed.clone()), Ok(Record::Control(sweep())));
    assert!(forged(sweep().encode(&Keyring::new(1, [2; 32])).unwrap()), "another key");
    let mut bare = signed.clone();
    bare.headers.retain(|(name, _)| name != HEADER_MAC);
    assert!(forged(bare), "no MAC");
    let value = signed.value.clone().unwrap();
    for at in 0..value.len() {
        let mut bytes = value.to_vec();
        bytes[at] ^= 1;
        let changed = Raw { value: Some(bytes.into()), ..signed.clone() };
        assert!(!matches!(decode(changed), Ok(Record::Control(_))), "byte {at}");
    }
    // The same message in other bytes: its format once more.
    let again = [value.as_ref(), &[0x08, 100]].concat();
    assert!(forged(Raw { value: Some(again.into()), ..signed.clone() }), "a re-encoding");
    assert!(forged(Raw { key: Some(KEY.into()), ..signed }), "with a key");
}

#[test]
fn a_control_record_counts_only_at_its_place() {
    let at = |change: fn(&mut Control)| {
        let mut control = sweep();
        change(&mut control);
        control.encode(&keyring()).unwrap()
    };
    assert!(forged(at(|control| control.log_id = LogId([8; 16]))), "another log");
    assert!(forged(at(|control| control.partition = PartitionId(1))), "another partition");
    assert!(!forged(at(|control| control.end_seen = Offset(OFFSET.0 - limits::CONTROL_OFFSETS_MAX))));
    assert!(
        forged(at(|control| control.end_seen = Offset(OFFSET.0 - limits::CONTROL_OFFSETS_MAX - 1))),
        "too old"
    );
    assert!(forged(at(|control| control.end_seen = OFFSET.next())), "from the future");
    assert!(forged(at(|control| control.end_seen = Offset(i64::MIN))), "absurdly old");
    assert!(forged(at(|control| control.id = [0; 16])), "without an id");
}

#[test]
fn a_control_record_by_a_key_that_is_not_held_is_nobodys_to_judge() {
    let control = Control { mac_key_id: 9, ..sweep() };
    let raw = control.encode(&Keyring::new(9, [9; 32])).unwrap();
    assert_eq!(decode(raw.clone()), Err(DecodeError::KeyUnknown(KeyMissing { id: 9 })));
    let holds = Decoder { keyring: keyring().with(9, [9; 32]), ..decoder() };
    assert_eq!(decode_by(&holds, raw), Ok(Record::Control(control.clone())));
    assert_eq!(control.encode(&keyring()), Err(KeyMissing { id: 9 }));
}

#[test]
fn a_control_part_on_a_mutation_makes_it_a_forgery() {
    // Field 6, empty.
    let mut bytes = put_bytes();
    bytes.extend([0x32, 0]);
    assert!(forged(record(bytes)));
    // Field 34, a Sweep, without a control part.
    assert!(forged(record(vec![0x92, 0x02, 0])));
}

fn foreign_header() -> impl Strategy<Value = (ByteString, Bytes)> {
    let names =
        ["kv-format", "kv-mac", "kv-id", "kv-durable", "kv-ttl-ms", "kv-if-match", "content-type", "x"];
    let values =
        ["record", "true", "*", "1000", "\"1-0-1\"", "\"\"", ""].map(|text| text.as_bytes().to_vec());
    let value = prop_oneof![prop::sample::select(values.to_vec()), vec(any::<u8>(), 0..34)];
    (prop::sample::select(names.to_vec()), value).prop_map(|(name, value)| (name.into(), value.into()))
}

fn foreign_value() -> impl Strategy<Value = Vec<u8>> {
    let control = sweep().encode(&keyring()).unwrap().value.unwrap().to_vec();
    let some = prop::sample::select(vec![put_bytes(), control]);
    let bent =
        (some, vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(|(mut bytes, changes)| {
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        });
    prop_oneof![vec(any::<u8>(), 0..60), bent]
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(
        key in option::of(prop_oneof![Just(KEY.as_bytes().to_vec()), vec(any::<u8>(), 0..20)]),
        headers in vec(foreign_header(), 0..5),
        value in option::of(foreign_value()),
        offset in any::<i64>(),
    ) {
        let raw = Raw { key: key.map(Bytes::from), headers, value: value.map(Bytes::from) };
        let decoded = decoder().decode(&Received { offset: Offset(offset), time: UnixMillis(0), raw: raw.clone() });
        if let Ok(Record::Mutation(mutation)) = decoded {
            prop_assert_eq!(decode(mutation.encode()), Ok(Record::Mutation(mutation)), "what is read can be written");
        }
        let _ = raw.digest();
    }
}
