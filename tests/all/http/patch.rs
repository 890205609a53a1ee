//! PATCH: increment, append, merge patch, JSON patch; what they make, what rejects them, what refuses them.

use anyhow::{Result, ensure};
use millpond_tests::{
    http::{Answer, Http},
    server::Fresh,
};
use serde_json::json;

use super::{JSON_PATCH, MERGE, OWN, assert_problem, offset, put, value};

async fn patch(http: &Http, path: &str, content_type: &str, body: &str) -> Result<Answer> {
    http.patch(path, content_type, body.to_owned()).send().await
}

/// The new value of a patch that succeeds.
async fn patched(http: &Http, path: &str, content_type: &str, body: &str) -> Result<String> {
    let answer = patch(http, path, content_type, body).await?;
    ensure!(answer.status == 200, "{body}: {answer:?}");
    ensure!(answer.header("etag") == format!("\"{}\"", answer.header("kv-position")), "{answer:?}");
    ensure!(value(http, path).await? == Some(answer.text()), "the result is what a GET gives");
    Ok(answer.text())
}

#[tokio::test]
async fn increment_starts_from_initial_and_counts_in_decimal() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    for (body, result) in [
        (r#"{"op":"increment"}"#, "1"),
        (r#"{"op":"increment","by":5}"#, "6"),
        (r#"{"op":"increment","by":-10,"initial":1000}"#, "-4"),
        (r#"{"op":"increment","by":0}"#, "-4"),
        (r#"{"op":"increment","by":9223372036854775807}"#, "9223372036854775803"),
    ] {
        assert_eq!(patched(http, "/kv/n", OWN, body).await?, result, "{body}");
    }
    let answer = patch(http, "/kv/n", OWN, r#"{"op":"increment","by":5}"#).await?;
    assert_problem(&answer, (409, "increment-overflow"), "rejected");
    assert_eq!(patched(http, "/kv/m", OWN, r#"{"op":"increment","by":5,"initial":37}"#).await?, "42");
    assert_eq!(http.get("/kv/m").send().await?.header("content-type"), "text/plain");
    Ok(())
}

#[tokio::test]
async fn append_joins_bytes_and_makes_an_absent_key() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    assert_eq!(patched(http, "/kv/a", OWN, r#"{"op":"append","value":"é"}"#).await?, "é");
    assert_eq!(patched(http, "/kv/a", OWN, r#"{"op":"append","value":""}"#).await?, "é");
    let answer = patch(http, "/kv/a", OWN, r#"{"op":"append","value_b64":"/wA="}"#).await?;
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, &b"\xc3\xa9\xff\0"[..]));
    assert_eq!(http.get("/kv/a").send().await?.body, answer.body);
    Ok(())
}

#[tokio::test]
async fn a_merge_patch_applies_to_nothing_and_keeps_every_digit() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    assert_eq!(patched(http, "/kv/a", MERGE, r#"{"a":1,"b":{"c":null}}"#).await?, r#"{"a":1,"b":{}}"#);
    assert_eq!(http.get("/kv/a").send().await?.header("content-type"), "application/json");
    let big = r#"{"a":null,"n":12345678901234567890123.10}"#;
    assert_eq!(patched(http, "/kv/a", MERGE, big).await?, r#"{"b":{},"n":12345678901234567890123.10}"#);
    Ok(())
}

#[tokio::test]
async fn a_json_patch_is_all_or_nothing() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    put(http, "/kv/a", r#"{"a":1}"#).await?;
    let both = r#"[{"op":"test","path":"/a","value":1},{"op":"add","path":"/b","value":[1,2]}]"#;
    assert_eq!(patched(http, "/kv/a", JSON_PATCH, both).await?, r#"{"a":1,"b":[1,2]}"#);
    for (body, code) in [
        (r#"[{"op":"add","path":"/x","value":1},{"op":"test","path":"/a","value":2}]"#, "patch-test-failed"),
        (r#"[{"op":"add","path":"/x","value":1},{"op":"remove","path":"/none"}]"#, "patch-path-missing"),
    ] {
        assert_problem(&patch(http, "/kv/a", JSON_PATCH, body).await?, (409, code), "rejected");
    }
    assert_eq!(value(http, "/kv/a").await?.as_deref(), Some(r#"{"a":1,"b":[1,2]}"#));
    let root = r#"[{"op":"add","path":"","value":{"new":true}}]"#;
    assert_eq!(patched(http, "/kv/absent", JSON_PATCH, root).await?, r#"{"new":true}"#);
    let answer = patch(http, "/kv/none", JSON_PATCH, r#"[{"op":"add","path":"/a","value":1}]"#).await?;
    assert_problem(&answer, (409, "wrong-type"), "rejected");
    Ok(())
}

#[tokio::test]
async fn an_operation_on_the_wrong_type_is_409_rejected_and_on_the_log() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    put(http, "/kv/a", "not a number, not JSON").await?;
    for (content_type, body) in [
        (OWN, r#"{"op":"increment"}"#),
        (MERGE, r#"{"a":1}"#),
        (JSON_PATCH, r#"[{"op":"add","path":"/a","value":1}]"#),
    ] {
        let answer = patch(http, "/kv/a", content_type, body).await?;
        assert_problem(&answer, (409, "wrong-type"), "rejected");
        let known = http.get(&format!("/mutations/{}", answer.header("kv-position"))).send().await?.json();
        assert_eq!((&known["status"], &known["problem"]["code"]), (&json!("rejected"), &json!("wrong-type")));
    }
    assert_eq!(value(http, "/kv/a").await?.as_deref(), Some("not a number, not JSON"));
    Ok(())
}

#[tokio::test]
async fn growth_past_the_limit_is_rejected_where_it_happens() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    put(http, "/kv/a", &"x".repeat(512 * 1024)).await?;
    let answer = patch(http, "/kv/a", OWN, r#"{"op":"append","value":"y"}"#).await?;
    assert_problem(&answer, (409, "value-too-large"), "rejected");
    let most = format!(r#"{{"op":"append","value":"{}"}}"#, "x".repeat(512 * 1024 + 1));
    assert_problem(&patch(http, "/kv/b", OWN, &most).await?, (413, "value-too-large"), "refused");
    Ok(())
}

#[tokio::test]
async fn a_result_above_4_kib_is_204_with_its_etag() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    for (bytes, status) in [(4096, 200), (4097, 204)] {
        let body = format!(r#"{{"op":"append","value":"{}"}}"#, "x".repeat(bytes));
        let answer = patch(http, &format!("/kv/{bytes}"), OWN, &body).await?;
        assert_eq!((answer.status.as_u16(), answer.body.is_empty()), (status, status == 204));
        assert_eq!(answer.header("etag"), format!("\"{}\"", answer.header("kv-position")));
        assert_eq!(http.get(&format!("/kv/{bytes}")).send().await?.header("etag"), answer.header("etag"));
    }
    Ok(())
}

#[tokio::test]
async fn a_patch_keeps_ttl_content_type_and_created_at() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    let call = http
        .put("/kv/a?ttl=1h", "1")
        .header("content-type", "application/x-count")
        .header("prefer", "wait=5");
    assert_eq!(call.send().await?.status, 200);
    let before = http.get("/meta/a").send().await?.json();
    let answer = patch(http, "/kv/a", OWN, r#"{"op":"increment"}"#).await?;
    assert_eq!(answer.header("content-type"), "application/x-count");
    assert_eq!(before["expires_at"], answer.header("kv-expires-at"));
    let after = http.get("/meta/a").send().await?.json();
    for kept in ["expires_at", "content_type", "created_at"] {
        assert_eq!(before[kept], after[kept], "{kept}");
    }
    let ttl = http.patch("/kv/a", OWN, r#"{"op":"increment"}"#).header("kv-ttl", "5").send().await?;
    assert_problem(&ttl, (400, "ttl-invalid"), "refused");
    Ok(())
}

#[tokio::test]
async fn a_patch_takes_conditions_and_preferences_like_any_write() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    let version = put(http, "/kv/n", "1").await?;
    let call = |etag: String| http.patch("/kv/n", OWN, r#"{"op":"increment"}"#).header("if-match", &etag);
    let answer = call(format!("\"{version}\"")).send().await?;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "2"));
    assert_problem(&call(format!("\"{version}\"")).send().await?, (412, "condition-failed"), "rejected");
    let answer = call(answer.header("etag").to_owned()).header("prefer", "respond-async").send().await?;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (202, &json!("accepted")));
    assert_eq!(value(http, "/kv/n").await?.as_deref(), Some("3"));
    let new = http.patch("/kv/new", OWN, r#"{"op":"increment"}"#).header("if-none-match", "*").send().await?;
    assert_eq!((new.status.as_u16(), new.text().as_str()), (200, "1"));
    Ok(())
}

#[tokio::test]
async fn a_patch_of_no_kind_is_415_and_told_which_there_are() -> Result<()> {
    let server = Fresh::start().await?;
    for content_type in ["application/json", "text/plain", ""] {
        let answer = patch(&server.http, "/kv/a", content_type, "{}").await?;
        assert_problem(&answer, (415, "media-type-unsupported"), "refused");
        for kind in [OWN, MERGE, JSON_PATCH] {
            assert!(answer.header("accept-patch").contains(kind));
        }
    }
    let charset = format!("{MERGE}; charset=utf-8");
    assert_eq!(patch(&server.http, "/kv/a", &charset, "{}").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_patch_that_could_never_apply_is_422_with_a_pointer_and_not_logged() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    let before = put(http, "/kv/a", "{}").await?;
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    for (content_type, body, pointer) in [
        (MERGE, "{", None),
        (MERGE, "", None),
        (MERGE, r#"{"a":NaN}"#, None),
        (MERGE, r#"{"a":"\ud800"}"#, None),
        (MERGE, r#"{"a":{"b":1,"b":2}}"#, Some("/a/b")),
        (MERGE, deep.as_str(), None),
        (JSON_PATCH, r#"{"op":"add"}"#, None),
        (JSON_PATCH, r#"[{"op":"add","path":"/a"}]"#, None),
        (JSON_PATCH, r#"[{"op":"explode","path":"/a"}]"#, None),
        (OWN, r#"{"op":"explode"}"#, Some("/op")),
        (OWN, r#"{"op":"increment","by":1.5}"#, Some("/by")),
        (OWN, r#"{"op":"increment","by":"1"}"#, Some("/by")),
        (OWN, r#"{"op":"increment","by":9223372036854775808}"#, Some("/by")),
        (OWN, r#"{"op":"append","value":5}"#, Some("/value")),
        (OWN, r#"{"op":"append"}"#, Some("/value")),
        (OWN, r#"{"op":"append","value_b64":"?"}"#, Some("/value_b64")),
    ] {
        let answer = patch(http, "/kv/a", content_type, body).await?;
        assert_problem(&answer, (422, "value-invalid"), "refused");
        assert!(answer.json()["pointer"].is_string(), "{body}: {answer:?}");
        if let Some(pointer) = pointer {
            assert_eq!(answer.json()["pointer"], pointer, "{body}");
        }
    }
    let answer = patch(http, "/kv/a", OWN, r#"{"op":"increment","to":5}"#).await?;
    assert_problem(&answer, (400, "unknown-field"), "refused");
    assert_eq!(offset(&put(http, "/kv/a", "{}").await?), offset(&before) + 1, "nothing was logged between");
    Ok(())
}
