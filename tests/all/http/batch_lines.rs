//! The lines of a batch: every operation, every member, every refusal.

use anyhow::Result;
use millpond_tests::{
    http::{Answer, Http},
    server::Fresh,
};
use serde_json::{Value, json};

use super::{NDJSON, offset, put, value};

async fn waited(http: &Http, lines: &[&str]) -> Result<Answer> {
    http.post("/batch", NDJSON, lines.join("\n")).header("prefer", "wait=30").send().await
}

#[tokio::test]
async fn keys_and_values_are_any_bytes_by_base64() -> Result<()> {
    let server = Fresh::start().await?;
    let lines = [
        r#"{"op":"put","key_b64":"AP8v","value_b64":"/wAB"}"#,
        r#"{"op":"put","key":"..","value":"dots"}"#,
        r#"{"op":"put","key":"a//b/","value":"slashes"}"#,
        r#"{"op":"put","key":"\u0000\"","value":"\u00e9\n\u0000"}"#,
        r#"{"op":"append","key_b64":"AP8v","value_b64":"/g=="}"#,
        r#"{"op":"put","key":"empty","value":""}"#,
    ];
    let answer = waited(&server.http, &lines).await?;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["results"][4]["value_b64"], "/wAB/g==");
    for (path, bytes) in [
        ("%00%ff%2f", &b"\xff\x00\x01\xfe"[..]),
        ("..", b"dots"),
        ("a//b/", b"slashes"),
        ("%00%22", b"\xc3\xa9\n\x00"),
        ("empty", b""),
    ] {
        let read = server.http.get(&format!("/kv/{path}")).send().await?;
        assert_eq!((read.status.as_u16(), read.body.as_ref()), (200, bytes), "{path}");
        assert_eq!(read.header("content-type"), "application/octet-stream");
    }
    Ok(())
}

#[tokio::test]
async fn every_operation_can_stand_on_a_line() -> Result<()> {
    let server = Fresh::start().await?;
    let lines = [
        r#"{"op":"put","key":"p","value":"{}","content_type":"application/json","expires_at":"2030-01-01T00:00:00Z"}"#,
        r#"{"op":"merge-patch","key":"p","patch":{"a":[1,2]}}"#,
        r#"{"op":"json-patch","key":"p","patch":[{"op":"add","path":"/a/-","value":3}]}"#,
        r#"{"op":"ttl","key":"p","ttl":900,"mode":"only_shorter"}"#,
        r#"{"op":"increment","key":"n","by":2,"initial":40}"#,
        r#"{"op":"append","key":"s","value":"tail"}"#,
        r#"{"op":"delete","key":"d"}"#,
    ];
    let answer = waited(&server.http, &lines).await?;
    let results = answer.json()["results"].take();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(results[0]["expires_at"], "2030-01-01T00:00:00.000Z");
    assert_eq!((&results[2]["value"], &results[4]["value"]), (&json!(r#"{"a":[1,2,3]}"#), &json!("42")));
    assert_eq!(results[3]["changed"], true);
    let read = server.http.get("/kv/p").send().await?;
    assert_eq!((read.text().as_str(), read.header("content-type")), (r#"{"a":[1,2,3]}"#, "application/json"));
    assert_eq!(results[3]["expires_at"], read.header("kv-expires-at"));
    Ok(())
}

#[tokio::test]
async fn a_value_is_a_string_and_nothing_is_written_anew_behind_the_users_back() -> Result<()> {
    let server = Fresh::start().await?;
    let text = r#"{ "n" : 1.0, "n" : 1e400 }"#;
    let line = json!({"op": "put", "key": "a", "value": text}).to_string();
    assert_eq!(waited(&server.http, &[&line]).await?.status, 200);
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some(text));
    for other in ["1", "true", "null", "{\"a\":1}", "[1]"] {
        let line = format!("{{\"op\":\"put\",\"key\":\"a\",\"value\":{other}}}");
        let answer = waited(&server.http, &[&line]).await?;
        let error = &answer.json()["errors"][0];
        assert_eq!((&error["status"], &error["code"]), (&json!(400), &json!("value-invalid")), "{other}");
    }
    Ok(())
}

#[tokio::test]
async fn a_line_that_is_refused_gets_what_the_single_call_would_have_got_and_keeps_its_id() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    let long = format!(r#""op":"put","key":"{}","value":"""#, "k".repeat(1025));
    let large = format!(r#""op":"put","key":"a","value":"{}""#, "v".repeat(512 * 1024 + 1));
    let patch = format!(r#""op":"merge-patch","key":"a","patch":"{}""#, "v".repeat(512 * 1024));
    for (members, status, code) in [
        (r#""op":"put","key":"a","value":"","unknown":1"#, 400, "unknown-field"),
        (r#""op":"delete","key":"a","value":"x""#, 400, "unknown-field"),
        (r#""op":"increment","key":"a","ttl":"1h""#, 400, "unknown-field"),
        (r#""op":"explode","key":"a""#, 400, "body-invalid"),
        (r#""key":"a","value":"x""#, 400, "body-invalid"),
        (r#""op":"put","value":"x""#, 400, "key-invalid"),
        (r#""op":"put","key":"","value":"x""#, 400, "key-invalid"),
        (r#""op":"put","key":5,"value":"x""#, 400, "key-invalid"),
        (r#""op":"put","key":"a","key_b64":"YQ==","value":"x""#, 400, "key-invalid"),
        (r#""op":"put","key_b64":"?","value":"x""#, 400, "key-invalid"),
        (long.as_str(), 400, "key-invalid"),
        (r#""op":"put","key":"a""#, 400, "value-invalid"),
        (r#""op":"put","key":"a","value":"x","value_b64":"eA==""#, 400, "value-invalid"),
        (r#""op":"put","key":"a","value":"\ud800""#, 400, "value-invalid"),
        (large.as_str(), 413, "value-too-large"),
        (patch.as_str(), 413, "value-too-large"),
        (r#""op":"put","key":"a","value":"x","ttl":"5 fortnights""#, 400, "ttl-invalid"),
        (
            r#""op":"put","key":"a","value":"x","ttl":"1h","expires_at":"2030-01-01T00:00:00Z""#,
            400,
            "ttl-invalid",
        ),
        (r#""op":"ttl","key":"a""#, 400, "ttl-invalid"),
        (r#""op":"ttl","key":"a","ttl":"1h","mode":"longer""#, 400, "ttl-invalid"),
        (r#""op":"put","key":"a","value":"x","content_type":"é""#, 400, "content-type-invalid"),
        (r#""op":"put","key":"a","value":"x","if_version":"""#, 400, "condition-invalid"),
        (r#""op":"put","key":"a","value":"x","if_absent":"yes""#, 400, "body-invalid"),
        (r#""op":"put","key":"a","value":"x","if_version":null"#, 400, "body-invalid"),
        (r#""op":"put","key":"a","value":"x","ttl":null"#, 400, "ttl-invalid"),
        (r#""op":"increment","key":"a","by":null"#, 422, "value-invalid"),
        (r#""op":"put","key":"a","value":"x","idempotency_key":"""#, 400, "idempotency-key-invalid"),
        (r#""op":"increment","key":"a","by":1.5"#, 422, "value-invalid"),
        (r#""op":"increment","key":"a","by":"1""#, 422, "value-invalid"),
        (r#""op":"merge-patch","key":"a","patch":{"a":1,"a":2}"#, 422, "value-invalid"),
        (r#""op":"json-patch","key":"a","patch":[{"op":"add"}]"#, 422, "value-invalid"),
    ] {
        let line = format!("{{\"id\":{{\"n\":[7]}},{members}}}");
        let answer = waited(&server.http, &[&line]).await?;
        let error = answer.json()["errors"][0].take();
        let shown = &line[..line.len().min(120)];
        assert_eq!((&error["status"], &error["code"]), (&json!(status), &json!(code)), "{shown}");
        assert_eq!((&error["line"], &error["id"]), (&json!(1), &json!({"n": [7]})), "{shown}");
        assert_eq!(error["outcome"], "refused", "{shown}");
    }
    let after = put(&server.http, "/kv/a", "2").await?;
    assert_eq!(offset(&after), offset(&before) + 1, "nothing was logged between");
    Ok(())
}

#[tokio::test]
async fn a_pointer_leads_into_the_line() -> Result<()> {
    let server = Fresh::start().await?;
    for (line, pointer) in [
        (r#"{"op":"merge-patch","key":"a","patch":{"a":{"b":1,"b":2}}}"#, "/patch/a/b"),
        (r#"{"op":"put","key":"a","value":"x","ttl":"never"}"#, "/ttl"),
        (r#"{"op":"put","key":"a","value":"x","expires_at":"never"}"#, "/expires_at"),
        (r#"{"op":"increment","key":"a","by":1.5}"#, "/by"),
    ] {
        let answer = waited(&server.http, &[line]).await?;
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_object_is_a_bad_line_and_no_byte_of_it_comes_back() -> Result<()> {
    let server = Fresh::start().await?;
    let lines = [
        "[]",
        "[\"an id\",\"delete\",\"a\"]",
        "\"LEAKED\"",
        "{\"op\":\"LEAKED\"",
        "{\"LEAKED\":1}",
        "{} {}",
        "\u{feff}{}",
        "nul",
        "{\"op\":1}",
    ];
    let answer = waited(&server.http, &lines).await?;
    assert_eq!((answer.status.as_u16(), &answer.json()["failed"]), (207, &json!(lines.len())));
    assert!(!answer.text().contains("LEAKED"), "{answer:?}");
    let numbers: Vec<Value> =
        answer.json()["errors"].as_array().into_iter().flatten().map(|error| error["line"].clone()).collect();
    assert_eq!(numbers, (1..=lines.len()).map(|n| json!(n)).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn lines_end_in_lf_or_crlf_and_blank_ones_count() -> Result<()> {
    let server = Fresh::start().await?;
    let body = "\r\n\n  {\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"} \r\n\t\r\n{\"id\":\"x\",\"op\":\"delete\"}\n\nbad";
    let answer = waited(&server.http, &[body]).await?;
    let lines: Vec<Value> =
        answer.json()["results"].as_array().into_iter().flatten().map(|one| one["line"].clone()).collect();
    assert_eq!(lines, [json!(3), json!(5), json!(7)]);
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("1"));
    Ok(())
}
