//! What a write is answered before anything is applied.

use std::time::Duration;

use millpond_api::Config;
use millpond_schemas::Offset;
use serde_json::json;

use crate::pond::{P0, Pond, plainly};

#[tokio::test]
async fn a_blind_put_is_accepted_once_the_log_has_it() {
    let pond = Pond::start().await;
    let answer = pond.call("PUT /kv/a", &[("content-type", "text/plain")], b"hello").await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json(), json!({"position": "1-0-0", "status": "accepted"}));
    assert_eq!(answer.header("location"), "/mutations/1-0-0");
    assert_eq!(answer.header("kv-position"), "1-0-0");
    assert!(!answer.headers.contains_key("etag"));
    assert!(!answer.headers.contains_key("preference-applied"));
    assert_eq!(pond.end().await, 1);
    let answer = pond.call("DELETE /kv/a", &[], b"").await;
    assert_eq!((answer.status, answer.header("kv-position")), (202, "1-0-1"));
}

#[tokio::test]
async fn an_accepted_ttl_says_when_it_ends_by_the_time_of_the_log() {
    let pond = Pond::start().await;
    let answer = pond.call("PUT /kv/a?ttl=15m", &[], b"x").await;
    assert_eq!(answer.status, 202);
    let appended = pond.log.record(P0, Offset(0)).await.unwrap().unwrap().time;
    let ends = jiff::Timestamp::from_millisecond(appended.0 + 900_000).unwrap();
    assert_eq!(answer.header("kv-expires-at"), format!("{ends:.3}"));
    assert_eq!(answer.json()["expires_at"], format!("{ends:.3}"));
}

#[tokio::test]
async fn what_waits_too_long_is_accepted_and_says_where_to_ask() {
    let config = Config { write_wait: Duration::from_millis(50), ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    let increment = ("content-type", "application/vnd.millpond.op+json");
    for (head, headers, body) in [
        ("PUT /kv/a", &[("if-none-match", "*")][..], "x"),
        ("PUT /kv/a", &[("if-match", "\"1-0-0\"")], "x"),
        ("DELETE /kv/a", &[("if-match", "*")], ""),
        ("PUT /kv/a", &[("idempotency-key", "k")], "x"),
        ("PATCH /kv/a", &[increment], r#"{"op":"increment"}"#),
        ("PUT /ttl/a", &[], r#"{"ttl":"15m"}"#),
        ("DELETE /ttl/a", &[], ""),
    ] {
        let end = pond.end().await;
        let answer = pond.call(head, headers, body.as_bytes()).await;
        assert_eq!(answer.status, 202, "{head} {answer:?}");
        assert_eq!(answer.header("location"), format!("/mutations/1-0-{end}"));
    }
}

#[tokio::test]
async fn a_preference_outranks_the_default_and_is_said_to_be_applied() {
    let config = Config { write_wait: Duration::from_secs(30), ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    for prefer in ["respond-async", "wait=0"] {
        let answer = pond.call("PUT /kv/a", &[("if-match", "*"), ("prefer", prefer)], b"x").await;
        assert_eq!((answer.status, answer.header("preference-applied")), (202, "respond-async"));
    }
    let answer = pond.call("PUT /kv/a", &[("prefer", "wait=1")], b"x").await;
    assert_eq!((answer.status, answer.header("preference-applied")), (202, "wait=1"));
}

#[tokio::test]
async fn everything_that_can_be_refused_is_refused_before_the_log() {
    let pond = Pond::start().await;
    let merge = ("content-type", "application/merge-patch+json");
    let own = ("content-type", "application/vnd.millpond.op+json");
    for (head, headers, body, status, code) in [
        ("PUT /kv/a", &[("if-match", "W/\"1-0-0\"")][..], "", 400, "condition-invalid"),
        ("PUT /kv/a", &[("if-none-match", "\"1-0-0\"")], "", 400, "condition-invalid"),
        ("PUT /kv/a", &[("kv-ttl", "0")], "", 400, "ttl-invalid"),
        ("PUT /kv/a", &[("kv-ttl", "")], "", 400, "ttl-invalid"),
        ("PUT /kv/a?ttl=5", &[("kv-ttl", "6")], "", 400, "ttl-invalid"),
        ("PUT /kv/a", &[("kv-expires-at", "2001-01-01T00:00:00Z")], "", 400, "ttl-invalid"),
        ("DELETE /kv/a", &[("kv-ttl", "5")], "", 400, "ttl-invalid"),
        ("PATCH /kv/a", &[merge, ("kv-ttl", "5")], "{}", 400, "ttl-invalid"),
        ("PUT /kv/a", &[("idempotency-key", "")], "", 400, "idempotency-key-invalid"),
        ("PUT /kv/a", &[("kv-tenant", "Not A Tenant")], "", 400, "tenant-invalid"),
        ("PATCH /kv/a", &[], "{}", 415, "media-type-unsupported"),
        ("PATCH /kv/a", &[merge], r#"{"a":{"b":1,"b":2}}"#, 422, "value-invalid"),
        ("PATCH /kv/a", &[own], r#"{"op":"increment","to":5}"#, 400, "unknown-field"),
        ("PUT /ttl/a", &[], r#"{"ttl":"5 fortnights"}"#, 400, "ttl-invalid"),
        ("PUT /ttl/a", &[], r#"{"ttl":"15m","tll":1}"#, 400, "unknown-field"),
        ("PUT /ttl/a", &[], "{", 422, "value-invalid"),
    ] {
        let answer = pond.call(head, headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{head} {headers:?} {body}");
        assert_eq!(answer.json()["outcome"], "refused");
        assert_eq!(answer.json()["retryable"], false);
    }
    let answer = pond.call("PATCH /kv/a", &[merge], br#"{"a":{"b":1,"b":2}}"#).await;
    assert_eq!(answer.json()["pointer"], "/a/b");
    assert!(pond.call("PATCH /kv/a", &[], b"").await.header("accept-patch").contains("merge-patch"));
    assert_eq!(pond.end().await, 0);
}

#[tokio::test]
async fn a_log_that_takes_nothing_is_a_503_that_is_not_on_the_log() {
    let pond = Pond::start().await;
    assert_eq!(pond.call("PUT /kv/a", &[], b"x").await.status, 202);
    pond.log.close().await;
    let answer = pond.call("PUT /kv/a", &[], b"x").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "log-unavailable"));
    assert_eq!(answer.json()["outcome"], "not-accepted");
    assert_eq!(answer.json()["retryable"], true);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(pond.end().await, 1);
}

#[tokio::test]
async fn one_connection_writes_in_the_order_of_its_calls() {
    let pond = Pond::start().await;
    let mut wire = crate::wire::Wire::open(pond.address).await;
    for number in 0..100 {
        let answer = wire.call("PUT /kv/a", &[], number.to_string().as_bytes()).await;
        assert_eq!(answer.header("kv-position"), format!("1-0-{number}"));
    }
    pond.apply(&mut plainly).await;
    assert_eq!(wire.call("GET /kv/a", &[], b"").await.body, b"99");
}

#[tokio::test]
async fn tenants_keep_their_keys_apart() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[("kv-tenant", "one")], b"1").await;
    pond.call("PUT /kv/a", &[("kv-tenant", "two")], b"2").await;
    pond.apply(&mut plainly).await;
    assert_eq!(pond.call("GET /kv/a", &[("kv-tenant", "one")], b"").await.body, b"1");
    assert_eq!(pond.call("GET /kv/a", &[("kv-tenant", "two")], b"").await.body, b"2");
    assert_eq!(pond.call("GET /kv/a", &[], b"").await.status, 404);
}
