//! The three forms against each other, and every body against none of them panicking.

use base64::{Engine, engine::general_purpose::STANDARD};
use millpond_schemas::{
    CONTENT_TYPE_DEFAULT, Conditions, Expiry, Op, TtlMode,
    limits::{TTL_MS_MAX, VALUE_BYTES_MAX},
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::*;
use crate::time;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const FORMS: [Form; 3] = [Form::Lines, Form::Array, Form::Records];

fn tenant() -> Tenant {
    Tenant::new("acme").unwrap()
}

/// What a body is read as: the mutations, and the number and code of what is refused.
type Read = Result<(Vec<Mutation>, Vec<(usize, Code)>), Code>;

fn read_with(form: Form, body: &Bytes, idempotency_key: Option<&str>) -> Read {
    let tenant = tenant();
    let context =
        Context { tenant: &tenant, body, now: NOW, idempotency_key, value_bytes_max: VALUE_BYTES_MAX };
    let batch = Batch::read(form, &context).map_err(|problem| problem.code())?;
    let refused =
        batch.operations.iter().filter_map(|one| Some((one.number, one.state.as_ref().err()?.code())));
    let refused = refused.collect();
    Ok((batch.mutations, refused))
}

fn read(form: Form, body: impl Into<Bytes>) -> Read {
    read_with(form, &body.into(), None)
}

fn mutation(key: &[u8], op: Op) -> Mutation {
    Mutation { key: RecordKey::new(&tenant(), key).unwrap(), id: None, conditions: Conditions::default(), op }
}

fn put(value: impl Into<Bytes>) -> Op {
    Op::Put { value: value.into(), content_type: CONTENT_TYPE_DEFAULT.into(), expiry: None }
}

fn varint(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes
}

fn framed(records: &[Bytes]) -> Vec<u8> {
    records.iter().flat_map(|record| [varint(record.len()), record.to_vec()].concat()).collect()
}

/// As a JSON object says it.
fn object(mutation: &Mutation) -> Value {
    let bytes = |name: &str, bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => (name.to_owned(), json!(text)),
        Err(_) => (format!("{name}_b64"), json!(STANDARD.encode(bytes))),
    };
    let expiry = |expiry: Option<Expiry>| match expiry {
        None => vec![],
        Some(Expiry::TtlMs(ms)) => vec![("ttl".to_owned(), json!(format!("{ms}ms")))],
        Some(Expiry::At(at)) => vec![("expires_at".to_owned(), json!(time::rfc3339(at)))],
    };
    let raw = |patch: &[u8]| vec![("patch".to_owned(), serde_json::from_slice(patch).unwrap())];
    let (op, members) = match &mutation.op {
        Op::Put { value, content_type, expiry: at } => {
            let members = vec![bytes("value", value), ("content_type".to_owned(), json!(&**content_type))];
            ("put", [members, expiry(*at)].concat())
        }
        Op::Delete => ("delete", vec![]),
        Op::Ttl { mode, expiry: at } => {
            let mode = match mode {
                TtlMode::Set => "set",
                TtlMode::Extend => "extend",
                TtlMode::OnlyLonger => "only_longer",
                TtlMode::OnlyShorter => "only_shorter",
                TtlMode::IfNone => "if_none",
            };
            ("ttl", [vec![("mode".to_owned(), json!(mode))], expiry(*at)].concat())
        }
        Op::Increment { by, initial } => {
            ("increment", vec![("by".to_owned(), json!(by)), ("initial".to_owned(), json!(initial))])
        }
        Op::Append { value } => ("append", vec![bytes("value", value)]),
        Op::MergePatch { patch } => ("merge-patch", raw(patch)),
        Op::JsonPatch { patch } => ("json-patch", raw(patch)),
    };
    let mut object = serde_json::Map::from_iter(members);
    object.extend([("op".to_owned(), json!(op)), bytes("key", mutation.key.key_bytes())]);
    if let Some(version) = &mutation.conditions.version {
        object.insert("if_version".to_owned(), json!(version));
    }
    if mutation.conditions.absent {
        object.insert("if_absent".to_owned(), json!(true));
    }
    object.into()
}

fn body(form: Form, mutations: &[Mutation]) -> Bytes {
    let objects = || mutations.iter().map(|one| object(one).to_string()).collect::<Vec<_>>();
    match form {
        Form::Lines => objects().join("\n").into(),
        Form::Array => format!("[{}]", objects().join(",")).into(),
        Form::Records => framed(&mutations.iter().map(Mutation::encode_with_key).collect::<Vec<_>>()).into(),
    }
}

fn without_ids(mutations: Vec<Mutation>) -> Vec<Mutation> {
    mutations.into_iter().map(|mutation| Mutation { id: None, ..mutation }).collect()
}

#[test]
fn values_are_slices_of_the_body_in_every_form() {
    let text = Bytes::from(format!("\"{}\"", "v".repeat(300)));
    let plain = Bytes::from("v".repeat(300));
    let sent = [
        mutation(b"a", put(plain.clone())),
        mutation(b"b", Op::Append { value: plain }),
        mutation(b"c", Op::MergePatch { patch: text }),
        mutation(b"d", Op::JsonPatch { patch: r#"[{"op":"remove","path":"/a"}]"#.into() }),
    ];
    for form in FORMS {
        let body = body(form, &sent);
        let (mutations, refused) = read_with(form, &body, None).unwrap();
        assert_eq!((mutations.len(), refused), (4, vec![]), "{form:?}");
        for mutation in mutations {
            let (Op::Put { value, .. }
            | Op::Append { value }
            | Op::MergePatch { patch: value }
            | Op::JsonPatch { patch: value }) = mutation.op
            else {
                panic!("another operation");
            };
            assert!(body.as_ptr_range().contains(&value.as_ptr()), "{form:?}: a copy");
        }
    }
}

#[test]
fn operations_are_counted_before_any_is_looked_into() {
    let some = |form: Form, count: usize| match form {
        Form::Lines => "x\n".repeat(count),
        Form::Array => format!("[{}]", vec!["1"; count].join(",")),
        Form::Records => "\0".repeat(count),
    };
    for form in FORMS {
        assert_eq!(read(form, some(form, 0)), Err(Code::BatchEmpty), "{form:?}");
        assert_eq!(read(form, some(form, BATCH_OPERATIONS_MAX + 1)), Err(Code::BatchTooLarge), "{form:?}");
        let (mutations, refused) = read(form, some(form, BATCH_OPERATIONS_MAX)).unwrap();
        assert_eq!((mutations.len(), refused.len()), (0, BATCH_OPERATIONS_MAX), "{form:?}");
        assert_eq!(refused.last().unwrap().0, BATCH_OPERATIONS_MAX);
    }
    // An array that is not even closed is given up at its limit.
    assert_eq!(read(Form::Array, "[0,".to_owned() + &"0,".repeat(20_000)), Err(Code::BatchTooLarge));
}

#[test]
fn a_malformed_array_is_refused_whole_and_an_element_of_another_shape_alone() {
    let good = object(&mutation(b"a", put("v"))).to_string();
    for bad in [
        String::new(),
        good.clone(),
        format!("[{good}"),
        format!("[{good},]"),
        format!("[{good}]]"),
        format!("[{good}] {good}"),
        format!("[{good},{{\"op\":}}]"),
        format!("\u{feff}[{good}]"),
        "null".to_owned(),
        "\"[]\"".to_owned(),
    ] {
        assert_eq!(read(Form::Array, bad.clone()), Err(Code::BodyInvalid), "{bad}");
    }
    assert_eq!(read(Form::Array, &b"[\"\xff\"]"[..]), Err(Code::BodyInvalid));
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let (mutations, refused) =
        read(Form::Array, format!(" [ 7 ,null, {good} , [\"i\",\"delete\",\"a\"], \"x\", {deep} ]\n"))
            .unwrap();
    assert_eq!(without_ids(mutations), [mutation(b"a", put("v"))]);
    assert_eq!(refused, [1, 2, 4, 5, 6].map(|number| (number, Code::BodyInvalid)));
}

#[test]
fn malformed_framing_is_refused_whole_and_a_bad_record_alone() {
    let good = mutation(b"a", put("v")).encode_with_key();
    let framed_good = framed(std::slice::from_ref(&good));
    for bad in [
        &[0x80][..],
        &[5],
        &[0xff; 9],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ] {
        assert_eq!(read(Form::Records, [&framed_good, bad].concat()), Err(Code::BodyInvalid), "{bad:?}");
    }
    // A length may be spelled longer than it must.
    let padded = [&[u8::try_from(good.len()).unwrap() | 0x80, 0x80, 0][..], &good].concat();
    let body = [framed(&["garbage".into()]), padded, framed(&[Bytes::new()])].concat();
    let (mutations, refused) = read(Form::Records, body).unwrap();
    assert_eq!(without_ids(mutations), [mutation(b"a", put("v"))]);
    assert_eq!(refused, [(1, Code::BodyInvalid), (3, Code::KeyInvalid)]);
}

#[test]
fn a_record_is_refused_as_a_line_is() {
    let expiry = |expiry| Op::Put { value: "v".into(), content_type: "a/b".into(), expiry: Some(expiry) };
    let typed =
        |content_type: &str| Op::Put { value: "v".into(), content_type: content_type.into(), expiry: None };
    let ttl = |mode, expiry| Op::Ttl { mode, expiry };
    let large = Bytes::from(vec![b'"'; VALUE_BYTES_MAX + 1]);
    let version = |version: String| Mutation {
        conditions: Conditions { version: Some(version), ..Conditions::default() },
        ..mutation(b"a", Op::Delete)
    };
    for (sent, code) in [
        (mutation(b"a", put(large.clone())), Code::ValueTooLarge),
        (mutation(b"a", Op::Append { value: large }), Code::ValueTooLarge),
        (mutation(b"a", expiry(Expiry::TtlMs(999))), Code::TtlInvalid),
        (mutation(b"a", expiry(Expiry::TtlMs(TTL_MS_MAX + 1))), Code::TtlInvalid),
        (mutation(b"a", expiry(Expiry::At(NOW.plus_ms(999)))), Code::TtlInvalid),
        (mutation(b"a", expiry(Expiry::At(NOW.plus_ms(TTL_MS_MAX + 1)))), Code::TtlInvalid),
        (mutation(b"a", ttl(TtlMode::Set, Some(Expiry::At(NOW)))), Code::TtlInvalid),
        (mutation(b"a", ttl(TtlMode::Extend, Some(Expiry::At(NOW.plus_ms(5000))))), Code::TtlInvalid),
        (mutation(b"a", ttl(TtlMode::IfNone, None)), Code::TtlInvalid),
        (mutation(b"a", typed("\n")), Code::ContentTypeInvalid),
        (mutation(b"a", typed(&"x".repeat(256))), Code::ContentTypeInvalid),
        (mutation(b"a", Op::MergePatch { patch: "{\"a\":1,\"a\":2}".into() }), Code::ValueInvalid),
        (mutation(b"a", Op::JsonPatch { patch: "{}".into() }), Code::ValueInvalid),
        (version("1".repeat(256)), Code::ConditionInvalid),
    ] {
        let read = read(Form::Records, framed(&[sent.encode_with_key()])).unwrap();
        assert_eq!(read, (vec![], vec![(1, code)]), "{:?}", sent.op);
    }
}

#[test]
fn an_id_is_the_operations_own_or_of_the_requests_key_and_its_number() {
    let own = MutationId { bytes: [7; 16], durable: false };
    let sent = [Mutation { id: Some(own), ..mutation(b"a", Op::Delete) }, mutation(b"b", Op::Delete)];
    let ids = |form, key| {
        let (mutations, _) = read_with(form, &body(form, &sent), key).unwrap();
        mutations.into_iter().map(|mutation| mutation.id.unwrap()).collect::<Vec<_>>()
    };
    let of = |index: usize, text: &str| MutationId::of_idempotency_key(&sent[index].key, text);
    assert_eq!(ids(Form::Records, None)[0], own);
    assert_eq!(ids(Form::Records, Some("k")), [MutationId { durable: true, ..own }, of(1, "k:2")]);
    for form in [Form::Lines, Form::Array] {
        assert_eq!(ids(form, Some("k")), [of(0, "k:1"), of(1, "k:2")], "{form:?}");
        assert!(ids(form, None).iter().all(|id| !id.durable));
    }
}

fn ops() -> impl Strategy<Value = Op> {
    let value =
        || prop_oneof!["\\PC{0,40}".prop_map(Bytes::from), vec(any::<u8>(), 0..40).prop_map(Bytes::from)];
    let expiry = prop_oneof![
        (1000..=TTL_MS_MAX).prop_map(Expiry::TtlMs),
        (1000..=TTL_MS_MAX).prop_map(|ms| Expiry::At(NOW.plus_ms(ms))),
    ];
    let mode = prop_oneof![Just(TtlMode::Set), Just(TtlMode::OnlyLonger), Just(TtlMode::IfNone)];
    prop_oneof![
        (value(), "[ -~]{1,20}", prop::option::of(expiry.clone())).prop_map(
            |(value, content_type, expiry)| Op::Put { value, content_type: content_type.into(), expiry }
        ),
        Just(Op::Delete),
        (mode, expiry).prop_map(|(mode, expiry)| Op::Ttl { mode, expiry: Some(expiry) }),
        (any::<i64>(), any::<i64>()).prop_map(|(by, initial)| Op::Increment { by, initial }),
        value().prop_map(|value| Op::Append { value }),
        "[a-z]{0,9}".prop_map(|text| Op::MergePatch { patch: json!({ "a": text }).to_string().into() }),
    ]
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let conditions = (any::<bool>(), prop::option::of("[0-9-]{1,20}"))
        .prop_map(|(absent, version)| Conditions { exists: false, absent, version });
    (vec(any::<u8>(), 1..40), ops(), conditions)
        .prop_map(|(key, op, conditions)| Mutation { conditions, ..mutation(&key, op) })
}

proptest! {
    #[test]
    fn the_three_forms_say_the_same(sent in vec(mutations(), 1..20)) {
        for form in FORMS {
            let (mutations, refused) = read(form, body(form, &sent)).unwrap();
            prop_assert_eq!(refused, vec![], "{:?}", form);
            prop_assert_eq!(&without_ids(mutations), &sent, "{:?}", form);
        }
    }

    #[test]
    fn any_bytes_never_panic(body in vec(any::<u8>(), 0..300)) {
        for form in FORMS {
            let _read = read(form, body.clone());
        }
    }

    #[test]
    fn changed_bytes_never_panic_and_every_operation_is_told(
        sent in vec(mutations(), 1..20), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for form in FORMS {
            let mut body = body(form, &sent).to_vec();
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            let frames = records::frames(&body).map(|frames| frames.len());
            if let (Ok((mutations, refused)), Form::Records) = (read(form, body), form) {
                prop_assert_eq!(mutations.len() + refused.len(), frames.unwrap());
            }
        }
    }
}
