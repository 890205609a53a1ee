//! Queries: which rows, in which order, how they are told, and what is refused.
//!
//! Not here: paging (`paging.rs`). Invariant: `POST /kv/query`, `QUERY /kv` and `GET /kv` answer the same.

use anyhow::{Result, ensure};
use http::Method;
use millpond_tests::{
    http::{Answer, Http},
    server::Fresh,
};
use serde_json::{Value, json};

use super::{assert_problem, partition, put};

const JSON: &str = "application/json";

/// Puts keys, each with itself as its value, and waits until the last one is applied: a later read shows all.
pub(super) async fn fill(http: &Http, keys: &[&str]) -> Result<()> {
    for key in keys {
        put(http, &format!("/kv/{key}"), key).await?;
    }
    Ok(())
}

pub(super) async fn query(http: &Http, body: &Value) -> Result<Answer> {
    http.post("/kv/query", JSON, body.to_string()).send().await
}

/// A query that is answered whole.
pub(super) async fn whole(http: &Http, body: &Value) -> Result<Value> {
    let answer = query(http, body).await?;
    ensure!(answer.status == 200, "{answer:?}");
    let page = answer.json();
    ensure!(page["complete"] == true, "{page}");
    Ok(page)
}

/// The keys of a page, as text.
pub(super) fn keys(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["key"].as_str().unwrap_or("?").to_owned()).collect()
}

#[tokio::test]
async fn a_prefix_gives_its_keys_in_order_with_value_and_version() -> Result<()> {
    let server = Fresh::start().await?;
    fill(&server.http, &["user:b", "user:a", "user:c", "other", "user", "userz"]).await?;
    let version = put(&server.http, "/kv/user:a", "x").await?;
    let page = whole(&server.http, &json!({"prefix": "user:"})).await?;
    assert_eq!(keys(&page), ["user:a", "user:b", "user:c"]);
    assert_eq!(page["items"][0], json!({"key": "user:a", "value": "x", "version": version}));
    assert_eq!(page["next_cursor"], Value::Null);
    assert_eq!((&page["missing"], &page["limit"]), (&json!([]), &json!(100)));
    let names: Vec<_> = page["shards"].as_array().unwrap().clone();
    assert_eq!(
        names,
        [json!({"name":"shard-0","status":"answered"}), json!({"name":"shard-1","status":"answered"})]
    );
    let positions = page["positions"].as_array().unwrap();
    let of: Vec<&str> = positions.iter().map(|position| partition(position.as_str().unwrap())).collect();
    assert_eq!(of, ["0", "1", "2", "3", "4", "5", "6", "7"], "one for each partition");
    let token: Vec<&str> = positions.iter().map(|position| position.as_str().unwrap()).collect();
    let read = server.http.get("/kv/user:a").header("kv-min-position", &token.join(",")).send().await?;
    assert_eq!(read.text(), "x", "together they are a session token");
    Ok(())
}

#[tokio::test]
async fn all_three_ways_to_ask_answer_the_same() -> Result<()> {
    let server = Fresh::start().await?;
    fill(&server.http, &["a", "b1", "b2", "c", "query"]).await?;
    let body = json!({"prefix": "b", "reverse": true, "include": ["value", "meta"]});
    let post = whole(&server.http, &body).await?;
    assert_eq!(keys(&post), ["b2", "b1"]);
    let request = server.http.call(Method::from_bytes(b"QUERY")?, "/kv").body(body.to_string());
    let answer = request.header("content-type", "application/json; charset=utf-8").send().await?;
    assert_eq!(answer.json(), post);
    let get = server.http.get("/kv?prefix=b&reverse=true&include=value,meta").send().await?;
    assert_eq!(get.json(), post);
    assert_eq!(get.header("content-type"), "application/json");
    assert_eq!(get.header("cache-control"), "no-cache");
    let keys = server.http.get("/kv?keys=%5B%22a%22%2C%22nil%22%5D").send().await?.json();
    assert_eq!((&keys["items"][0]["key"], &keys["missing"]), (&json!("a"), &json!(["nil"])));
    assert_eq!(server.http.get("/kv/query").send().await?.text(), "query", "it is a key too");
    Ok(())
}

#[tokio::test]
async fn the_key_query_takes_every_method_that_a_key_takes() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/query", "1").await?;
    let patch = server.http.call(Method::PATCH, "/kv/query").body(r#"{"op":"increment"}"#);
    assert_eq!(patch.header("content-type", super::OWN).send().await?.text(), "2");
    assert_eq!(server.http.call(Method::HEAD, "/kv/query").send().await?.status, 200);
    assert_eq!(server.http.delete("/kv/query").header("prefer", "wait=30").send().await?.status, 204);
    assert_eq!(server.http.get("/kv/query").send().await?.status, 404);
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
        let answer = server.http.call(method, "/kv").body("x").send().await?;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (405, "method-not-allowed"));
        assert_eq!(answer.header("allow"), "GET, HEAD, QUERY");
    }
    let head = server.http.call(Method::HEAD, "/kv?limit=1").send().await?;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    Ok(())
}

#[tokio::test]
async fn keys_are_told_once_in_order_and_the_absent_ones_named() -> Result<()> {
    let server = Fresh::start().await?;
    fill(&server.http, &["b", "a", "%ff", "gone", "old"]).await?;
    server.http.delete("/kv/gone").header("prefer", "wait=30").send().await?;
    let binary = server.http.put("/kv/bin", vec![0xff, 0]).header("prefer", "wait=30").send().await?;
    assert_eq!(binary.status, 200);
    let asked =
        json!({"keys": ["gone", "b", "nil", {"key_b64": "/w=="}, "a", "b", {"key_b64": "AA=="}, "bin"]});
    let page = whole(&server.http, &asked).await?;
    let items = page["items"].as_array().unwrap();
    let told: Vec<_> = items.iter().map(|item| (&item["key"], &item["key_b64"])).collect();
    let (none, text, b64) = (Value::Null, ["a", "b", "bin"].map(|key| json!(key)), json!("/w=="));
    assert_eq!(told, [(&text[0], &none), (&text[1], &none), (&text[2], &none), (&none, &b64)]);
    assert_eq!((&items[2]["value"], &items[2]["value_b64"]), (&none, &json!("/wA=")));
    assert_eq!(page["missing"], json!(["\u{0}", "gone", "nil"]));
    let few = whole(&server.http, &json!({"keys": ["a"]})).await?;
    assert_eq!(few["shards"].as_array().unwrap().len(), 1, "only the shard of the key was asked");
    assert_eq!(few["positions"].as_array().unwrap().len(), 1);
    let none = whole(&server.http, &json!({"keys": []})).await?;
    assert_eq!((&none["items"], &none["missing"], &none["shards"]), (&json!([]), &json!([]), &json!([])));
    Ok(())
}

#[tokio::test]
async fn what_has_expired_or_was_deleted_never_shows() -> Result<()> {
    let server = Fresh::start().await?;
    fill(&server.http, &["x:a", "x:b?ttl=15m", "x:c"]).await?;
    server.http.delete("/kv/x:c").header("prefer", "wait=30").send().await?;
    put(&server.http, "/kv/x:d?ttl=1s", "soon").await?;
    while server.http.get("/kv/x:d").send().await?.status != 404 {}
    let page = whole(&server.http, &json!({"prefix": "x:", "include": ["meta"]})).await?;
    assert_eq!(keys(&page), ["x:a", "x:b"]);
    assert!(page["items"][1]["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{page}");
    let named = whole(&server.http, &json!({"keys": ["x:c", "x:d"]})).await?;
    assert_eq!((&named["items"], &named["missing"]), (&json!([]), &json!(["x:c", "x:d"])));
    Ok(())
}

#[tokio::test]
async fn include_says_what_is_told() -> Result<()> {
    let server = Fresh::start().await?;
    let version = put(&server.http, "/kv/a", "hello").await?;
    let item = async |include: Value| -> Result<Value> {
        Ok(whole(&server.http, &json!({"prefix": "", "include": include})).await?["items"][0].clone())
    };
    assert_eq!(item(json!([])).await?, json!({"key": "a", "version": version}));
    assert_eq!(item(json!(["value"])).await?, json!({"key": "a", "value": "hello", "version": version}));
    let meta = item(json!(["meta"])).await?;
    let expected = server.http.get("/meta/a").send().await?.json();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&meta[name], value, "{name}");
    }
    assert_eq!(meta["value"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn bounds_are_inclusive_below_and_exclusive_above() -> Result<()> {
    let server = Fresh::start().await?;
    fill(&server.http, &["a", "b", "c", "%fe", "%ff%ff"]).await?;
    let range = async |body: Value| -> Result<usize> {
        let page = whole(&server.http, &body).await?;
        Ok(page["items"].as_array().unwrap().len())
    };
    assert_eq!(keys(&whole(&server.http, &json!({"start": "a", "end": "c"})).await?), ["a", "b"]);
    assert_eq!(keys(&whole(&server.http, &json!({"end": "b"})).await?), ["a"]);
    assert_eq!(range(json!({"start": "b"})).await?, 4);
    assert_eq!(range(json!({"start_b64": "/w=="})).await?, 1);
    assert_eq!(range(json!({"prefix_b64": "/w=="})).await?, 1);
    assert_eq!(range(json!({"start": "c", "end": "a"})).await?, 0);
    assert_eq!(range(json!({})).await?, 5);
    Ok(())
}

#[tokio::test]
async fn a_tenant_sees_its_own_keys_alone() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/mine", "x").await?;
    let request = server.http.get("/kv").header("kv-tenant", "other").send().await?;
    assert_eq!(request.json()["items"], json!([]));
    let named = server.http.get("/kv?keys=%5B%22mine%22%5D").header("kv-tenant", "other").send().await?;
    assert_eq!(named.json()["missing"], json!(["mine"]));
    Ok(())
}

#[tokio::test]
async fn what_is_no_query_is_refused_by_name() -> Result<()> {
    let server = Fresh::start().await?;
    let many: Vec<String> = (0..=1000).map(|n| n.to_string()).collect();
    for (body, status, code) in [
        ("{", 400, "body-invalid"),
        ("[]", 400, "body-invalid"),
        (r#"{"prefixes":"a"}"#, 400, "unknown-field"),
        (r#"{"index":{"name":"x"}}"#, 400, "unknown-field"),
        (r#"{"include":["all"]}"#, 400, "unknown-field"),
        (r#"{"keys":["a"],"prefix":"a"}"#, 400, "body-invalid"),
        (r#"{"keys":[""]}"#, 400, "key-invalid"),
        (r#"{"limit":0}"#, 400, "limit-invalid"),
        (r#"{"limit":"7"}"#, 400, "limit-invalid"),
        (r#"{"cursor":"abc"}"#, 400, "cursor-invalid"),
        (r#"{"consistency":"weak"}"#, 400, "consistency-invalid"),
        (r#"{"consistency":"session"}"#, 400, "position-invalid"),
    ] {
        let answer = query(&server.http, &serde_json::from_str(body).unwrap_or(Value::Null)).await?;
        let answer = if serde_json::from_str::<Value>(body).is_ok() {
            answer
        } else {
            server.http.post("/kv/query", JSON, body.to_owned()).send().await?
        };
        assert_problem(&answer, (status, code), "none");
    }
    let answer = query(&server.http, &json!({ "keys": many })).await?;
    assert_problem(&answer, (413, "too-many-keys"), "none");
    assert_eq!(answer.json()["limit"], 1000);
    for (path, code) in [
        ("/kv?limit=0", "limit-invalid"),
        ("/kv?limit=ten", "limit-invalid"),
        ("/kv?limit=", "limit-invalid"),
        ("/kv?offset=5", "unknown-field"),
        ("/kv?reverse=yes", "body-invalid"),
        ("/kv?keys=a", "body-invalid"),
        ("/kv?prefix=a&prefix=b", "unknown-field"),
    ] {
        assert_problem(&server.http.get(path).send().await?, (400, code), "none");
    }
    let clamped = server.http.get("/kv?limit=1000000000").send().await?.json();
    assert_eq!(clamped["limit"], 1000, "clamped, and said");
    Ok(())
}

#[tokio::test]
async fn a_query_says_what_its_content_is() -> Result<()> {
    let server = Fresh::start().await?;
    for content_type in [None, Some("text/plain")] {
        let request = server.http.call(Method::from_bytes(b"QUERY")?, "/kv").body("{}");
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        let answer = request.send().await?;
        assert_problem(&answer, (415, "media-type-unsupported"), "none");
        assert_eq!(answer.header("accept-query"), "application/json");
    }
    assert_eq!(server.http.call(Method::POST, "/kv/query").body("{}").send().await?.status, 200);
    let refused = server.http.get("/kv").header("accept", "text/html").send().await?;
    assert_problem(&refused, (406, "not-acceptable"), "none");
    Ok(())
}
