//! `POST /batch` as a whole: counts, limits, order, waits, duplicates.

use std::collections::BTreeMap;

use anyhow::Result;
use millpond_tests::{
    http::{Answer, Http},
    server::Fresh,
};
use serde_json::{Value, json};

use super::{NDJSON, assert_problem, offset, partition, put, value};

async fn batch(http: &Http, body: impl Into<String>) -> Result<Answer> {
    http.post("/batch", NDJSON, body.into()).send().await
}

async fn waited(http: &Http, body: impl Into<String>) -> Result<Answer> {
    http.post("/batch", NDJSON, body.into()).header("prefer", "wait=30").send().await
}

fn puts(count: usize) -> String {
    let line = |n| format!("{{\"op\":\"put\",\"key\":\"k{n}\",\"value\":\"{n}\"}}\n");
    (0..count).map(line).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn ten_thousand_operations_are_taken_at_once_with_a_session_token() -> Result<()> {
    let server = Fresh::start().await?;
    let answer = batch(&server.http, puts(10_000)).await?;
    let body = answer.json();
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(
        (&body["accepted"], &body["failed"], &body["errors"]),
        (&json!(10_000), &json!(0), &json!([]))
    );
    assert!(body.get("results").is_none(), "nobody waited");
    let token = answer.header("kv-position").to_owned();
    let positions: Vec<&str> = token.split(',').collect();
    assert_eq!(body["positions"], json!(positions));
    let by_partition: BTreeMap<&str, &str> = positions.iter().map(|one| (partition(one), *one)).collect();
    assert_eq!((by_partition.len(), positions.len()), (8, 8), "one of each partition");
    for n in [0, 4_999, 9_999] {
        let read = server.http.get(&format!("/kv/k{n}")).header("kv-min-position", &token).send().await?;
        assert_eq!(read.text(), n.to_string());
        let highest = by_partition[partition(read.header("kv-position"))];
        assert!(offset(read.header("kv-position")) >= offset(highest));
    }
    Ok(())
}

#[tokio::test]
async fn one_operation_or_one_byte_too_many_and_nothing_is_taken() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    let many = batch(&server.http, format!("{{\"op\":\"delete\",\"key\":\"a\"}}\n{}", puts(10_000))).await?;
    assert_problem(&many, (413, "batch-too-large"), "refused");
    assert_eq!(many.json()["limit"], 10_000);
    let line = "{\"op\":\"delete\",\"key\":\"a\"}\n".to_owned();
    let long = batch(&server.http, line.clone() + &" ".repeat(16 * 1024 * 1024)).await?;
    assert_problem(&long, (413, "batch-too-large"), "refused");
    assert_eq!(long.json()["limit"], 16_777_216);
    let after = put(&server.http, "/kv/a", "2").await?;
    assert_eq!(offset(&after), offset(&before) + 1);
    let blank = " ".repeat(16 * 1024 * 1024 - line.len());
    assert_eq!(batch(&server.http, line + &blank).await?.status, 202, "exactly the limit");
    Ok(())
}

#[tokio::test]
async fn sixteen_mebibytes_of_values_are_taken() -> Result<()> {
    let server = Fresh::start().await?;
    let value = "v".repeat(512 * 1024 - 64);
    let line = |n| format!("{{\"op\":\"put\",\"key\":\"big{n}\",\"value\":\"{value}\"}}\n");
    let lines = (0..32).map(line).collect::<Vec<_>>().concat();
    assert!(lines.len() <= 16 * 1024 * 1024);
    assert_eq!(waited(&server.http, lines).await?.status, 200);
    assert_eq!(server.http.get("/kv/big31").send().await?.body.len(), value.len());
    Ok(())
}

#[tokio::test]
async fn a_batch_without_an_operation_is_refused() -> Result<()> {
    let server = Fresh::start().await?;
    for body in ["", "\n", " \r\n\r\n\t\n"] {
        assert_problem(&batch(&server.http, body).await?, (400, "batch-empty"), "refused");
    }
    Ok(())
}

#[tokio::test]
async fn one_bad_line_in_a_thousand_fails_alone_and_is_named() -> Result<()> {
    let server = Fresh::start().await?;
    let mut lines: Vec<String> = puts(1000).lines().map(str::to_owned).collect();
    "{\"id\":\"c6\",\"op\":\"put\",\"key\":\"k6\",\"value\":6}".clone_into(&mut lines[6]);
    let answer = batch(&server.http, lines.join("\n")).await?;
    let body = answer.json();
    assert_eq!(answer.status, 207);
    assert_eq!((&body["accepted"], &body["failed"]), (&json!(999), &json!(1)));
    let error = &body["errors"][0];
    assert_eq!((&error["line"], &error["id"]), (&json!(7), &json!("c6")));
    assert_eq!((&error["status"], &error["code"]), (&json!(400), &json!("value-invalid")));
    assert_eq!(error["outcome"], "refused");
    assert_eq!(body["errors"].as_array().map(Vec::len), Some(1));
    assert_eq!(value(&server.http, "/kv/k6").await?, None);
    assert_eq!(value(&server.http, "/kv/k999").await?.as_deref(), Some("999"));
    Ok(())
}

#[tokio::test]
async fn all_lines_bad_is_still_207() -> Result<()> {
    let server = Fresh::start().await?;
    for answer in [batch(&server.http, "x\ny\n").await?, waited(&server.http, "x\ny\n").await?] {
        let body = answer.json();
        assert_eq!(answer.status, 207);
        assert_eq!(
            (&body["accepted"], &body["failed"], &body["positions"]),
            (&json!(0), &json!(2), &json!([]))
        );
        assert!(!answer.headers.contains_key("kv-position"));
    }
    Ok(())
}

#[tokio::test]
async fn operations_on_one_key_apply_in_the_order_of_their_lines() -> Result<()> {
    let server = Fresh::start().await?;
    let lines = [
        r#"{"op":"put","key":"a","value":"1"}"#,
        r#"{"op":"increment","key":"a","by":4}"#,
        r#"{"op":"append","key":"a","value":"0"}"#,
        r#"{"op":"put","key":"a","value":"x","if_absent":true}"#,
        r#"{"op":"delete","key":"a"}"#,
        r#"{"op":"put","key":"a","value":"last","if_absent":true}"#,
    ];
    let answer = waited(&server.http, lines.join("\n")).await?;
    let results = answer.json()["results"].take();
    let told: Vec<(u64, Option<&str>)> = results
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| (one["status"].as_u64().unwrap_or_default(), one["value"].as_str()))
        .collect();
    assert_eq!(
        told,
        [(200, None), (200, Some("5")), (200, Some("50")), (412, None), (204, None), (201, None)]
    );
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("last"));
    Ok(())
}

#[tokio::test]
async fn a_waited_batch_has_a_result_for_every_line_as_the_single_call_would() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/there", "abc").await?;
    let lines = [
        r#"{"id":1,"op":"put","key":"a","value":"1","ttl":"1h"}"#,
        "",
        r#"{"id":"two","op":"put","key":"a","value":"2","if_version":"1-0-0"}"#,
        r#"{"op":"increment","key":"there"}"#,
        r#"{"op":"ttl","key":"a","ttl":"2h","mode":"only_shorter"}"#,
        r#"{"op":"ttl","key":"none","ttl":"2h"}"#,
        "not JSON",
        r#"{"id":null,"op":"merge-patch","key":"j","patch":{"n":1.50}}"#,
        r#"{"op":"delete","key":"never"}"#,
    ];
    let answer = waited(&server.http, lines.join("\r\n")).await?;
    let body = answer.json();
    assert_eq!(answer.status, 207);
    assert_eq!(answer.header("preference-applied"), "wait=30");
    assert_eq!((&body["accepted"], &body["failed"]), (&json!(4), &json!(4)));
    let results = body["results"].as_array().cloned().unwrap_or_default();
    let lines_and_status: Vec<(&Value, &Value)> =
        results.iter().map(|one| (&one["line"], &one["status"])).collect();
    let expected = [(1, 200), (3, 412), (4, 409), (5, 200), (6, 404), (7, 400), (8, 200), (9, 204)]
        .map(|(l, s)| (json!(l), json!(s)));
    assert_eq!(lines_and_status, expected.iter().map(|(l, s)| (l, s)).collect::<Vec<_>>());
    let failed: Vec<&Value> = results.iter().filter(|one| one["status"].as_u64() >= Some(400)).collect();
    assert_eq!(body["errors"].as_array().map(|errors| errors.iter().collect::<Vec<_>>()), Some(failed));
    assert_eq!((&results[0]["id"], &results[1]["id"]), (&json!(1), &json!("two")));
    assert!(results[0]["expires_at"].is_string(), "{}", results[0]);
    assert_eq!(
        (&results[1]["code"], &results[1]["outcome"]),
        (&json!("condition-failed"), &json!("rejected"))
    );
    assert_eq!(results[1]["current"], results[0]["position"]);
    assert_eq!((&results[2]["code"], &results[4]["code"]), (&json!("wrong-type"), &json!("not-found")));
    assert_eq!((&results[3]["changed"], &results[3]["version"]), (&json!(false), &results[0]["position"]));
    assert_eq!(results[5]["code"], "body-invalid");
    assert_eq!(
        (&results[6]["value"], &results[6]["version"]),
        (&json!(r#"{"n":1.50}"#), &results[6]["position"])
    );
    Ok(())
}

#[tokio::test]
async fn a_batch_waits_only_when_it_is_told_to() -> Result<()> {
    let server = Fresh::start().await?;
    let line = r#"{"op":"increment","key":"n","idempotency_key":"k"}"#;
    let answer = batch(&server.http, line).await?;
    assert_eq!((answer.status.as_u16(), answer.json().get("results")), (202, None));
    for prefer in ["respond-async", "wait=0"] {
        let answer = server.http.post("/batch", NDJSON, line).header("prefer", prefer).send().await?;
        assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, "respond-async"));
    }
    let answer = waited(&server.http, line).await?;
    assert_eq!((answer.status.as_u16(), &answer.json()["results"][0]["value"]), (200, &json!("1")));
    Ok(())
}

#[tokio::test]
async fn a_line_with_an_idempotency_key_counts_once_however_often_it_is_sent() -> Result<()> {
    let server = Fresh::start().await?;
    let line = r#"{"op":"increment","key":"n","by":5,"idempotency_key":"k"}"#;
    let answer = waited(&server.http, format!("{line}\n{line}\n")).await?;
    let results = answer.json()["results"].take();
    assert_eq!(answer.status, 200);
    assert_eq!(results[0]["position"], results[1]["position"]);
    assert_eq!((&results[0]["value"], &results[1]["value"]), (&json!("5"), &json!("5")));
    assert_eq!((results[0].get("duplicate"), &results[1]["duplicate"]), (None, &json!(true)));
    let single = server.http.patch("/kv/n", super::OWN, r#"{"op":"increment","by":5}"#);
    let single = single.header("idempotency-key", "k").send().await?;
    assert_eq!((single.header("kv-duplicate"), single.text().as_str()), ("true", "5"), "one key, one door");
    let other = waited(&server.http, r#"{"op":"increment","key":"n","by":6,"idempotency_key":"k"}"#).await?;
    assert_eq!(other.json()["errors"][0]["code"], "idempotency-conflict");
    assert_eq!(other.json()["errors"][0]["status"], 422);
    assert_eq!(value(&server.http, "/kv/n").await?.as_deref(), Some("5"));
    Ok(())
}

#[tokio::test]
async fn a_batch_that_is_sent_again_with_its_idempotency_key_changes_nothing() -> Result<()> {
    let server = Fresh::start().await?;
    let lines = "{\"op\":\"increment\",\"key\":\"n\"}\n\n{\"op\":\"increment\",\"key\":\"n\"}\nbad\n";
    let send = |prefer: &'static str| {
        let call = server.http.post("/batch", NDJSON, lines).header("idempotency-key", "batch 1");
        call.header("prefer", prefer).send()
    };
    assert_eq!(send("wait=0").await?.status, 207);
    let (first, again) = (send("wait=30").await?.json(), send("wait=30").await?.json());
    assert_eq!(first["results"], again["results"]);
    for (index, result) in ["1", "2"].iter().enumerate() {
        assert_eq!(
            (&again["results"][index]["value"], &again["results"][index]["duplicate"]),
            (&json!(result), &json!(true))
        );
    }
    assert_eq!(value(&server.http, "/kv/n").await?.as_deref(), Some("2"), "each line has a key of its own");
    Ok(())
}

#[tokio::test]
async fn a_line_that_is_rejected_again_says_that_it_repeats() -> Result<()> {
    let server = Fresh::start().await?;
    server.http.put("/kv/there", "x").header("Prefer", "wait=30").send().await?;
    let line = r#"{"op":"put","key":"there","value":"y","if_absent":true,"idempotency_key":"once"}"#;
    let result = async || -> Result<_> { Ok(waited(&server.http, line).await?.json()["results"][0].clone()) };
    let (first, again) = (result().await?, result().await?);
    assert_eq!((&first["status"], first.get("duplicate")), (&json!(412), None));
    assert_eq!((&again["status"], &again["duplicate"]), (&json!(412), &json!(true)));
    assert_eq!(again["position"], first["position"]);
    Ok(())
}

#[tokio::test]
async fn another_content_type_is_415_and_told_which_there_is() -> Result<()> {
    let server = Fresh::start().await?;
    for content_type in ["application/protobuf", "application/xml", "text/plain", "json", ""] {
        let answer = server.http.post("/batch", content_type, puts(1)).send().await?;
        assert_problem(&answer, (415, "media-type-unsupported"), "refused");
        let all = "application/x-ndjson, application/json, application/x-protobuf";
        assert_eq!(answer.header("accept-post"), all);
    }
    let none = server.http.call(http::Method::POST, "/batch").body(puts(1)).send().await?;
    assert_problem(&none, (415, "media-type-unsupported"), "refused");
    let charset = format!("{NDJSON}; charset=utf-8");
    assert_eq!(server.http.post("/batch", &charset, puts(1)).send().await?.status, 202);
    Ok(())
}
