//! `POST /batch` as a JSON array and as length-delimited records: the rules of NDJSON, in other clothes.

use anyhow::Result;
use bytes::Bytes;
use millpond_schemas::{
    Claim, Conditions, Control, ControlOp, Expiry, Generation, Keyring, LogId, Mutation, MutationId, Offset,
    Op, PartitionId, RecordKey, Tenant, TtlMode,
};
use millpond_tests::{
    http::{Answer, Http},
    server::Fresh,
};
use serde_json::{Value, json};

use super::{NDJSON, assert_problem, offset, put, value};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

async fn batch(http: &Http, form: &str, body: impl Into<Bytes>) -> Result<Answer> {
    http.post("/batch", form, body).send().await
}

async fn waited(http: &Http, form: &str, body: impl Into<Bytes>) -> Result<Answer> {
    http.post("/batch", form, body).header("prefer", "wait=30").send().await
}

fn mutation(key: &[u8], op: Op) -> Mutation {
    let tenant = Tenant::new("default").expect("it is a tenant's name");
    let key = RecordKey::new(&tenant, key).expect("the key is short");
    Mutation { key, id: None, conditions: Conditions::default(), op }
}

fn puts(value: &str) -> Op {
    Op::Put { value: value.to_owned().into(), content_type: "text/plain".into(), expiry: None }
}

/// Each after its length as a varint.
fn framed(records: impl IntoIterator<Item = Bytes>) -> Vec<u8> {
    let mut body = Vec::new();
    for record in records {
        let mut length = record.len();
        while length >= 0x80 {
            body.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        body.push(u8::try_from(length).expect("seven bits"));
        body.extend_from_slice(&record);
    }
    body
}

fn records(mutations: &[Mutation]) -> Vec<u8> {
    framed(mutations.iter().map(Mutation::encode_with_key))
}

fn results(answer: &Answer) -> Vec<Value> {
    answer.json()["results"].as_array().cloned().unwrap_or_default()
}

/// A control record as the log would carry it, whose MAC nobody can check here.
fn control() -> Result<Bytes> {
    let claim = Claim {
        copy: "mine".to_owned(),
        generation: Generation::FIRST,
        partitions: 8,
        fold_version: 1,
        format_max: 100,
        value_bytes_max: 1 << 30,
        purge_grace_ms: 0,
        mac_key_id: 1,
    };
    let control = Control {
        id: [1; 16],
        log_id: LogId([1; 16]),
        partition: PartitionId(0),
        end_seen: Offset(0),
        mac_key_id: 1,
        op: ControlOp::Claim(claim),
    };
    Ok(control.encode(&Keyring::new(1, [1; 32]))?.value.unwrap_or_default())
}

#[tokio::test]
async fn every_operation_is_answered_alike_in_all_three_forms() -> Result<()> {
    let objects = [
        r#"{"op":"put","key":"a","value":"1","content_type":"text/plain","ttl":"1h"}"#,
        r#"{"op":"put","key":"a","value":"x","if_absent":true}"#,
        r#"{"op":"increment","key":"a","by":4}"#,
        r#"{"op":"append","key":"a","value":"0"}"#,
        r#"{"op":"ttl","key":"a","ttl":"2h","mode":"only_longer"}"#,
        r#"{"op":"ttl","key":"none","ttl":"2h"}"#,
        r#"{"op":"merge-patch","key":"j","patch":{"n":1.50}}"#,
        r#"{"op":"json-patch","key":"j","patch":[{"op":"remove","path":"/m"}]}"#,
        r#"{"op":"put","key":"a","value":"y","if_version":"1-0-0"}"#,
        r#"{"op":"delete","key":"a"}"#,
    ];
    let when = |conditions, mutation| Mutation { conditions, ..mutation };
    let two_hours = Some(Expiry::TtlMs(7_200_000));
    let longer = Op::Ttl { mode: TtlMode::OnlyLonger, expiry: two_hours };
    let put = |expiry| Op::Put { value: "1".into(), content_type: "text/plain".into(), expiry };
    let first = Conditions { version: Some("1-0-0".to_owned()), ..Conditions::default() };
    let absent = Conditions { absent: true, ..Conditions::default() };
    let remove = r#"[{"op":"remove","path":"/m"}]"#;
    let mutations = [
        mutation(b"a", put(Some(Expiry::TtlMs(3_600_000)))),
        when(absent, mutation(b"a", puts("x"))),
        mutation(b"a", Op::Increment { by: 4, initial: 0 }),
        mutation(b"a", Op::Append { value: "0".into() }),
        mutation(b"a", longer),
        mutation(b"none", Op::Ttl { mode: TtlMode::Set, expiry: two_hours }),
        mutation(b"j", Op::MergePatch { patch: r#"{"n":1.50}"#.into() }),
        mutation(b"j", Op::JsonPatch { patch: remove.into() }),
        when(first, mutation(b"a", puts("y"))),
        mutation(b"a", Op::Delete),
    ];
    let forms = [
        (NDJSON, objects.join("\n").into_bytes()),
        (JSON, format!("[{}]", objects.join(",")).into_bytes()),
        (PROTOBUF, records(&mutations)),
    ];
    for (form, body) in forms {
        let server = Fresh::start().await?;
        let answer = waited(&server.http, form, body).await?;
        assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (207, "wait=30"));
        let told = answer.json();
        assert_eq!((&told["accepted"], &told["failed"]), (&json!(6), &json!(4)), "{form}: {told}");
        let results = results(&answer);
        let status: Vec<u64> = results.iter().map(|one| one["status"].as_u64().unwrap_or_default()).collect();
        assert_eq!(status, [200, 412, 200, 200, 200, 404, 200, 409, 412, 204], "{form}: {told}");
        let lines: Vec<u64> = results.iter().map(|one| one["line"].as_u64().unwrap_or_default()).collect();
        assert_eq!(lines, (1..=10).collect::<Vec<u64>>());
        assert_eq!((&results[2]["value"], &results[3]["value"]), (&json!("5"), &json!("50")), "{form}");
        assert_eq!(results[6]["value"], r#"{"n":1.50}"#, "{form}: the patch's own bytes");
        assert!(results[0]["expires_at"].is_string() && results[4]["expires_at"].is_string(), "{told}");
        assert!(results[0]["expires_at"].as_str() < results[4]["expires_at"].as_str(), "{told}");
        assert_eq!(told["errors"].as_array().map(Vec::len), Some(4));
        assert_eq!(told["positions"], json!(answer.header("kv-position").split(',').collect::<Vec<_>>()));
    }
    Ok(())
}

#[tokio::test]
async fn a_malformed_array_or_framing_is_400_and_nothing_of_it_is_accepted() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    let good = r#"{"op":"delete","key":"a"}"#;
    let record = records(&[mutation(b"a", Op::Delete)]);
    for (form, body) in [
        (JSON, Vec::new()),
        (JSON, good.into()),
        (JSON, format!("[{good},").into()),
        (JSON, format!("[{good},{{\"LEAKED\":}}]").into()),
        (JSON, format!("[{good}]{good}").into()),
        (JSON, format!("[{good},{{\"op\":\"merge-patch\",\"key\":\"a\",\"patch\":NaN}}]").into()),
        (JSON, [format!("[{good},\"").as_bytes(), b"\xff\"]"].concat()),
        (PROTOBUF, [&record[..], &[9]].concat()),
        (PROTOBUF, [&record[..], &[0xff; 10]].concat()),
        (PROTOBUF, record[..record.len() - 1].to_vec()),
        (PROTOBUF, format!("[{good}]").into()),
    ] {
        let answer = waited(&server.http, form, body).await?;
        assert_problem(&answer, (400, "body-invalid"), "refused");
        assert!(!answer.text().contains("LEAKED"));
    }
    for (form, body) in [(JSON, " [ ] "), (PROTOBUF, "")] {
        assert_problem(&batch(&server.http, form, body).await?, (400, "batch-empty"), "refused");
    }
    assert_eq!(offset(&put(&server.http, "/kv/a", "2").await?), offset(&before) + 1);
    Ok(())
}

#[tokio::test]
async fn ten_thousand_operations_are_taken_and_one_more_is_not() -> Result<()> {
    let server = Fresh::start().await?;
    let object = |n| format!("{{\"op\":\"put\",\"key\":\"k{n}\",\"value\":\"{n}\"}}");
    let array = |count| format!("[{}]", (0..count).map(object).collect::<Vec<_>>().join(",")).into_bytes();
    let record = |n: usize| mutation(format!("r{n}").as_bytes(), puts(&n.to_string()));
    let records = |count| records(&(0..count).map(record).collect::<Vec<_>>());
    for (form, most, more) in
        [(JSON, array(10_000), array(10_001)), (PROTOBUF, records(10_000), records(10_001))]
    {
        let refused = batch(&server.http, form, more).await?;
        assert_problem(&refused, (413, "batch-too-large"), "refused");
        assert_eq!(refused.json()["limit"], 10_000);
        let answer = waited(&server.http, form, most).await?;
        assert_eq!((answer.status.as_u16(), &answer.json()["accepted"]), (200, &json!(10_000)));
        assert_eq!(results(&answer).len(), 10_000);
    }
    assert_eq!(value(&server.http, "/kv/k9999").await?.as_deref(), Some("9999"));
    assert_eq!(value(&server.http, "/kv/r9999").await?.as_deref(), Some("9999"));
    assert_eq!(value(&server.http, "/kv/r10000").await?, None);
    Ok(())
}

#[tokio::test]
async fn one_bad_operation_in_a_thousand_fails_alone_and_is_named() -> Result<()> {
    let server = Fresh::start().await?;
    let object = |n: usize| match n {
        6 => r#"{"id":"c6","op":"put","key":"k6","value":"x","ttl":"never"}"#.to_owned(),
        _ => format!("{{\"op\":\"put\",\"key\":\"k{n}\",\"value\":\"{n}\"}}"),
    };
    let array = format!("[{}]", (0..1000).map(object).collect::<Vec<_>>().join(","));
    let record = |n: usize| {
        let expiry = (n == 6).then_some(Expiry::TtlMs(1));
        let op = Op::Put { value: n.to_string().into(), content_type: "".into(), expiry };
        mutation(format!("k{n}").as_bytes(), op)
    };
    let records = records(&(0..1000).map(record).collect::<Vec<_>>());
    for (form, body) in [(JSON, array.into_bytes()), (PROTOBUF, records)] {
        let answer = batch(&server.http, form, body).await?;
        let told = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &told["accepted"], &told["failed"]),
            (207, &json!(999), &json!(1))
        );
        let error = &told["errors"][0];
        assert_eq!(
            (&error["line"], &error["status"], &error["code"]),
            (&json!(7), &json!(400), &json!("ttl-invalid"))
        );
        assert_eq!(error["outcome"], "refused");
        if form == JSON {
            assert_eq!((&error["id"], &error["pointer"]), (&json!("c6"), &json!("/6/ttl")));
        }
    }
    assert_eq!(value(&server.http, "/kv/k6").await?, None);
    assert_eq!(value(&server.http, "/kv/k999").await?.as_deref(), Some("999"));
    assert_eq!(server.http.get("/kv/k999").send().await?.header("content-type"), "application/octet-stream");
    Ok(())
}

#[tokio::test]
async fn no_record_takes_control_or_another_format_and_its_neighbours_go_on() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    let good = mutation(b"a", puts("good")).encode_with_key();
    let newer = [&[0x08, 0xc8, 0x01][..], &good[2..]].concat();
    let keyless = mutation(b"a", Op::Delete).encode().value.unwrap_or_default();
    let body = framed([control()?, newer.into(), keyless, "garbage".into(), Bytes::new(), good]);
    let answer = waited(&server.http, PROTOBUF, body).await?;
    let codes: Vec<String> =
        results(&answer).iter().map(|one| one["code"].as_str().unwrap_or("none").to_owned()).collect();
    let expected = ["body-invalid", "body-invalid", "key-invalid", "body-invalid", "key-invalid", "none"];
    assert_eq!((answer.status.as_u16(), codes), (207, expected.map(str::to_owned).to_vec()), "{answer:?}");
    assert_eq!(offset(answer.header("kv-position")), offset(&before) + 1, "only the last one is on the log");
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("good"));
    Ok(())
}

#[tokio::test]
async fn no_bytes_of_a_records_key_name_another_tenant() -> Result<()> {
    let server = Fresh::start().await?;
    let theirs = server.http.put("/kv/x", "theirs").header("kv-tenant", "b").header("prefer", "wait=30");
    assert_eq!(theirs.send().await?.status, 200);
    let body = records(&[mutation(b"b/x", puts("mine")), mutation(b"../b/x", Op::Delete)]);
    let mine =
        server.http.post("/batch", PROTOBUF, body).header("kv-tenant", "a").header("prefer", "wait=30");
    assert_eq!(mine.send().await?.status, 200);
    let read =
        |tenant: &'static str, path: &'static str| server.http.get(path).header("kv-tenant", tenant).send();
    assert_eq!(read("a", "/kv/b/x").await?.text(), "mine");
    assert_eq!(read("b", "/kv/x").await?.text(), "theirs");
    assert_eq!(read("a", "/kv/x").await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn an_array_or_records_sent_again_with_their_idempotency_key_change_nothing() -> Result<()> {
    let server = Fresh::start().await?;
    let increment = || mutation(b"records", Op::Increment { by: 1, initial: 0 });
    let array = r#"[{"op":"increment","key":"array"},{"op":"increment","key":"array"}]"#;
    for (form, key, body) in
        [(JSON, "array", array.into()), (PROTOBUF, "records", records(&[increment(), increment()]))]
    {
        let send = || {
            let call = server.http.post("/batch", form, body.clone()).header("idempotency-key", "again");
            call.header("prefer", "wait=30").send()
        };
        let (first, again) = (results(&send().await?), results(&send().await?));
        for (first, again) in first.iter().zip(&again) {
            assert_eq!((&first["position"], &first["value"]), (&again["position"], &again["value"]));
            assert_eq!((first.get("duplicate"), &again["duplicate"]), (None, &json!(true)));
        }
        assert_eq!(value(&server.http, &format!("/kv/{key}")).await?.as_deref(), Some("2"));
    }
    Ok(())
}

#[tokio::test]
async fn a_record_with_an_id_counts_once_and_a_durable_one_as_an_idempotency_key_does() -> Result<()> {
    let server = Fresh::start().await?;
    let increment = |key: &'static [u8], id| Mutation {
        id: Some(id),
        ..mutation(key, Op::Increment { by: 5, initial: 0 })
    };
    let window = increment(b"window", MutationId { bytes: [7; 16], durable: false });
    let plain = mutation(b"durable", Op::Delete);
    let durable = increment(b"durable", MutationId::of_idempotency_key(&plain.key, "k"));
    for again in [false, true] {
        let results =
            results(&waited(&server.http, PROTOBUF, records(&[window.clone(), durable.clone()])).await?);
        assert_eq!((&results[1]["value"], results[1]["duplicate"] == true), (&json!("5"), again));
    }
    assert_eq!(value(&server.http, "/kv/window").await?.as_deref(), Some("5"));
    let single = server.http.patch("/kv/durable", super::OWN, r#"{"op":"increment","by":5}"#);
    let single = single.header("idempotency-key", "k").send().await?;
    assert_eq!((single.header("kv-duplicate"), single.text().as_str()), ("true", "5"), "one key, one door");
    let other = Mutation { op: Op::Increment { by: 6, initial: 0 }, ..durable };
    let error = waited(&server.http, PROTOBUF, records(&[other])).await?.json()["errors"][0].take();
    assert_eq!((&error["status"], &error["code"]), (&json!(422), &json!("idempotency-conflict")));
    Ok(())
}

#[tokio::test]
async fn a_patch_that_could_never_apply_is_422_with_a_pointer_in_every_form() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "{}").await?;
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    let lone = r#"{"a":"\ud800"}"#;
    for (patch, pointer) in
        [(deep.as_str(), "/patch/0/0"), (r#"{"a":{"b":1,"b":2}}"#, "/patch/a/b"), (lone, "/patch")]
    {
        let object = format!("{{\"op\":\"merge-patch\",\"key\":\"a\",\"patch\":{patch}}}");
        let record = mutation(b"a", Op::MergePatch { patch: patch.to_owned().into() });
        for (form, body, parent) in [
            (NDJSON, object.clone().into_bytes(), ""),
            (JSON, format!("[{object}]").into_bytes(), "/0"),
            (PROTOBUF, records(&[record]), ""),
        ] {
            let error = batch(&server.http, form, body).await?.json()["errors"][0].take();
            assert_eq!(
                (&error["status"], &error["code"]),
                (&json!(422), &json!("value-invalid")),
                "{form}: {error}"
            );
            let told = error["pointer"].as_str().unwrap_or_default();
            assert!(told.starts_with(&format!("{parent}{pointer}")), "{form}: {told}");
        }
    }
    for patch in ["{\"a\":NaN}", "{", "\u{0}"] {
        let record = mutation(b"a", Op::MergePatch { patch: patch.to_owned().into() });
        let error = batch(&server.http, PROTOBUF, records(&[record])).await?.json()["errors"][0].take();
        assert_eq!((&error["status"], &error["code"]), (&json!(422), &json!("value-invalid")), "{error}");
        assert!(error["pointer"].as_str().is_some_and(|pointer| pointer.starts_with("/patch")), "{error}");
    }
    assert_eq!(offset(&put(&server.http, "/kv/a", "2").await?), offset(&before) + 1);
    Ok(())
}
