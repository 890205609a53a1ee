//! Queries against a server of the contract's shapes.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::{
    Error,
    test_server::{React, TestServer, respond},
};

const PAGE: &str = r#"{"items":[
    {"key":"a","value":"1","version":"1-0-4","content_type":"text/plain","size":1,
     "created_at":"2026-01-01T00:00:00.000Z","updated_at":"2026-01-01T00:00:00.000Z","expires_at":null},
    {"key_b64":"/w==","value_b64":"AP8=","version":"1-1-7"}],
    "missing":["x",{"key_b64":"/g=="}],"limit":2,"next_cursor":"c2","complete":true,
    "shards":[{"name":"shard-0","status":"answered"}],"positions":["1-0-9"]}"#;
const LAST: &str = r#"{"items":[],"missing":[],"next_cursor":null,"complete":false,
    "shards":[{"name":"shard-0","status":"answered"},{"name":"shard-1","status":"unavailable"}]}"#;

fn body(query: &Query) -> Value {
    serde_json::from_slice(&query.body(None)).unwrap()
}

#[test]
fn every_selection_is_a_body_of_the_contract() {
    let keys = Select::Keys(vec!["a".into(), Bytes::from_static(b"\xff")]);
    assert_eq!(body(&Query::new(keys)), json!({"keys": ["a", {"key_b64": "/w=="}], "include": ["value"]}));
    let prefix = Query {
        limit: Some(7),
        reverse: true,
        values: false,
        ..Query::new(Select::Prefix(Bytes::from_static(b"p\xfe")))
    };
    let expected = json!({"prefix_b64": "cP4=", "limit": 7, "reverse": true, "include": []});
    assert_eq!(body(&prefix), expected);
    let range = Select::Range { start: Some("b".into()), end: Some("d".into()) };
    let range = Query { meta: true, ..Query::new(range) };
    assert_eq!(body(&range), json!({"start": "b", "end": "d", "include": ["value", "meta"]}));
}

#[tokio::test]
async fn pages_follow_the_cursor_and_say_what_is_missing() {
    let server = TestServer::start(|seen| {
        let again = seen.body.windows(4).any(|window| window == br#""c2""#);
        respond(200, &[("content-type", "application/json")], if again { LAST } else { PAGE })
    })
    .await;
    let mut pages = server.client().pages(Query::new(Select::Prefix(Bytes::new())));
    let first = pages.next().await.unwrap().unwrap();
    assert!(first.complete);
    assert_eq!(first.items[1].key, Bytes::from_static(b"\xff"));
    assert_eq!(first.items[1].value.as_deref(), Some(&b"\0\xff"[..]));
    assert_eq!((first.items[0].meta.as_ref().unwrap().size, &first.items[1].meta), (1, &None));
    assert_eq!(first.missing, ["x".into(), Bytes::from_static(b"\xfe")]);
    let second = pages.next().await.unwrap().unwrap();
    assert_eq!((second.complete, second.unreachable), (false, vec!["shard-1".to_owned()]));
    assert_eq!(pages.next().await.unwrap(), None);
    assert_eq!(server.seen().len(), 2);
}

fn stream(body: &'static str) -> impl FnMut(&crate::test_server::Seen) -> React + Send + 'static {
    move |_| respond(200, &[("content-type", "application/x-ndjson")], body)
}

#[tokio::test]
async fn a_stream_gives_items_and_then_says_whether_that_was_all() {
    let server = TestServer::start(stream(
        "{\"key\":\"a\",\"value\":\"1\",\"version\":\"1-0-4\"}\n{\"key\":\"b\",\"version\":\"1-0-5\"}\n\
         {\"complete\":true,\"next_cursor\":null,\"missing\":[],\"shards\":[],\"positions\":[\"1-0-9\"]}\n",
    ))
    .await;
    let mut items = server.client().query_stream(&Query::new(Select::Prefix(Bytes::new()))).await.unwrap();
    let mut keys = Vec::new();
    while let Some(item) = items.next().await.unwrap() {
        assert_eq!(items.end(), None);
        keys.push(item.key);
    }
    assert_eq!(keys, ["a", "b"]);
    assert!(items.end().unwrap().complete);
    assert_eq!(items.next().await.unwrap(), None);
    assert_eq!(server.seen()[0].header("accept"), Some("application/x-ndjson"));
}

#[tokio::test]
async fn a_stream_that_was_cut_is_no_short_answer() {
    let whole = "{\"key\":\"a\",\"value\":\"1\",\"version\":\"1-0-4\"}\n";
    for body in ["", whole, "{\"key\":\"a\",\"value\":\"1\",\"version\":\"1-0-4\"}"] {
        let server = TestServer::start(stream(body)).await;
        let query = Query::new(Select::Prefix(Bytes::new()));
        let mut items = server.client().query_stream(&query).await.unwrap();
        if body == whole {
            assert!(items.next().await.unwrap().is_some());
        }
        assert!(matches!(items.next().await, Err(Error::Unknown { .. })), "{body}");
        assert_eq!(items.end(), None);
    }
}

#[tokio::test]
async fn an_answer_that_gives_a_key_twice_or_never_is_not_understood() {
    for body in [
        r#"{"items":[{"version":"1-0-1"}],"complete":true}"#,
        r#"{"items":[{"key":"a","key_b64":"YQ==","version":"1-0-1"}],"complete":true}"#,
        r#"{"items":[{"key_b64":"%","version":"1-0-1"}],"complete":true}"#,
        r#"{"items":[]}"#,
    ] {
        let server = TestServer::start(move |_| respond(200, &[], body)).await;
        let answer = server.client().query(&Query::new(Select::Prefix(Bytes::new()))).await;
        assert!(matches!(answer, Err(Error::Protocol(_))), "{body}");
    }
}

#[tokio::test]
async fn pages_without_a_limit_suit_what_was_found() {
    let value = "x".repeat(100 * 1024);
    let page = format!(
        r#"{{"items":[{{"key":"a","value":"{value}","version":"1-0-1"}}],"complete":true,"next_cursor":"c"}}"#
    );
    let server = TestServer::start(move |_| respond(200, &[], page.clone())).await;
    let mut pages = server.client().pages(Query::new(Select::Prefix(Bytes::new())));
    for _ in 0..3 {
        pages.next().await.unwrap();
    }
    let asked = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap()["limit"].clone();
    let limits: Vec<Value> = server.seen().iter().map(|seen| asked(&seen.body)).collect();
    assert_eq!(limits, [json!(50), json!(81), json!(81)]);
}

#[tokio::test]
async fn a_page_that_is_too_large_is_asked_for_with_fewer_rows() {
    let server = TestServer::start(|seen| {
        let asked: Value = serde_json::from_slice(&seen.body).unwrap();
        if asked["limit"] == 50 {
            respond(200, &[], vec![b' '; (64 << 20) + 1])
        } else {
            respond(200, &[], PAGE)
        }
    })
    .await;
    let mut pages = server.client().pages(Query::new(Select::Prefix(Bytes::new())));
    assert_eq!(pages.next().await.unwrap().unwrap().items.len(), 2);
    assert_eq!(server.seen().len(), 2);
}
