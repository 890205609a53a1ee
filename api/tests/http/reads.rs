//! Reads: fresh enough, and honest about it.

use std::time::Duration;

use millpond_api::Config;
use serde_json::{Value, json};

use crate::pond::{Pond, plainly};

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

#[tokio::test]
async fn what_was_put_comes_back_byte_for_byte() {
    let pond = Pond::start().await;
    let bytes: Vec<u8> = (0..=255).collect();
    pond.call("PUT /kv/a", &[("content-type", "image/x-odd; a=\"b\"")], &bytes).await;
    pond.call("PUT /kv/b", &[], b"").await;
    pond.apply(&mut plainly).await;
    let answer = pond.call("GET /kv/a", &[], b"").await;
    assert_eq!((answer.status, answer.body), (200, bytes));
    assert_eq!(answer.headers["content-type"], "image/x-odd; a=\"b\"");
    assert_eq!(answer.headers["etag"], "\"1-0-0\"");
    assert_eq!(answer.headers["kv-position"], "1-0-1");
    assert_eq!(answer.headers["kv-staleness-ms"], "0");
    assert!(answer.headers["last-modified"].ends_with(" GMT"));
    let answer = pond.call("GET /kv/b", &[], b"").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[("content-type", "text/plain")], b"hello").await;
    pond.apply(&mut plainly).await;
    let mut get = pond.call("GET /kv/a", &[("x-request-id", "1")], b"").await;
    let mut head = pond.call("HEAD /kv/a", &[("x-request-id", "1")], b"").await;
    get.headers.remove("date");
    head.headers.remove("date");
    assert_eq!(head.headers, get.headers);
    assert_eq!(head.header("content-length"), "5");
}

#[tokio::test]
async fn a_client_that_has_the_version_gets_304() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[], b"x").await;
    pond.apply(&mut plainly).await;
    for etag in ["\"1-0-0\"", "W/\"1-0-0\"", "*", "\"a\", \"1-0-0\""] {
        let answer = pond.call("GET /kv/a", &[("if-none-match", etag)], b"").await;
        assert_eq!((answer.status, answer.header("etag"), answer.body.len()), (304, "\"1-0-0\"", 0));
        assert_eq!(answer.header("kv-position"), "1-0-0");
    }
    assert_eq!(pond.call("GET /kv/a", &[("if-none-match", "\"1-0-1\"")], b"").await.status, 200);
    assert_eq!(pond.call("GET /kv/a", &[("if-none-match", "1-0-0")], b"").await.code(), "condition-invalid");
    assert_eq!(pond.call("GET /kv/b", &[("if-none-match", "*")], b"").await.status, 404);
}

#[tokio::test]
async fn a_miss_says_what_was_read() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[], b"x").await;
    pond.call("DELETE /kv/a", &[], b"").await;
    pond.apply(&mut plainly).await;
    for key in ["a", "never"] {
        let answer = pond.call(&format!("GET /kv/{key}"), &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not-found"));
        assert_eq!((answer.header("kv-position"), answer.header("kv-staleness-ms")), ("1-0-1", "0"));
        assert_eq!(answer.json()["outcome"], "none");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_shows_what_was_put_before_it() {
    let pond = std::sync::Arc::new(Pond::start().await);
    let writer = {
        let pond = std::sync::Arc::clone(&pond);
        tokio::spawn(async move {
            let mut changes = pond.log.changes();
            while changes.changed().await.is_ok() {
                pond.apply(&mut plainly).await;
            }
        })
    };
    let mut wire = crate::wire::Wire::open(pond.address).await;
    let mut shown = 0;
    for round in 0..100 {
        let value = round.to_string();
        assert_eq!(wire.call("PUT /kv/a", &[], value.as_bytes()).await.status, 202);
        let answer = wire.call("GET /kv/a", &[], b"").await;
        if answer.header("kv-staleness-ms") == "0" {
            assert_eq!((answer.status, answer.body), (200, value.into_bytes()));
            shown += 1;
        } else {
            // A busy machine took longer than a read waits: the answer is older, and says so.
            assert_ne!(answer.header("kv-position"), format!("1-0-{round}"));
        }
    }
    assert!(shown > 50, "only {shown} of 100 were shown");
    writer.abort();
}

#[tokio::test]
async fn behind_a_writer_that_is_down_the_answer_is_older_and_says_so() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[], b"old").await;
    pond.apply(&mut plainly).await;
    pond.call("PUT /kv/a", &[], b"new").await;
    let answer = pond.call("GET /kv/a", &[], b"").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"old"[..]));
    assert_eq!(answer.header("kv-position"), "1-0-0");
    let staleness = number(answer.header("kv-staleness-ms"));
    assert!((100..20_000).contains(&staleness), "it waited 100 ms for the write: {staleness}");
}

#[tokio::test]
async fn a_session_read_waits_for_its_token_and_gives_up_honestly() {
    let config = Config { read_wait: Duration::from_millis(200), ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    for _ in 0..3 {
        pond.call("PUT /kv/a", &[], b"x").await;
    }
    let token = [("kv-min-position", "1-0-2")];
    let answer = pond.call("GET /kv/a", &token, b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "position-not-reached"));
    assert_eq!((&answer.json()["lag_records"], &answer.json()["retryable"]), (&json!(3), &json!(true)));
    pond.apply(&mut plainly).await;
    let answer = pond.call("GET /kv/a", &token, b"").await;
    assert_eq!((answer.status, answer.header("kv-position")), (200, "1-0-2"));
    for (token, code) in [
        ("1-0-3", "position-invalid"),
        ("1-0-0, 1-7-0", "position-invalid"),
        ("2-0-0", "position-invalid"),
        ("nonsense", "position-invalid"),
        ("", "position-invalid"),
    ] {
        let answer = pond.call("GET /kv/a", &[("kv-min-position", token)], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{token}");
    }
    assert_eq!(pond.call("GET /kv/a?consistency=session", &[], b"").await.code(), "position-invalid");
    assert_eq!(pond.call("GET /kv/a?consistency=exact", &[], b"").await.code(), "consistency-invalid");
}

#[tokio::test]
async fn a_strong_read_is_not_older_than_the_log() {
    let config = Config { read_wait: Duration::from_millis(200), ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    assert_eq!(pond.call("GET /kv/b?consistency=strong", &[], b"").await.status, 404);
    pond.call("PUT /kv/a", &[], b"x").await;
    let strong = [("cache-control", "no-cache")];
    assert_eq!(pond.call("GET /kv/b?consistency=strong", &[], b"").await.status, 504);
    assert_eq!(pond.call("GET /kv/b", &strong, b"").await.status, 504);
    assert_eq!(pond.call("GET /kv/b", &[], b"").await.status, 404);
    pond.apply(&mut plainly).await;
    assert_eq!(pond.call("GET /kv/a", &strong, b"").await.status, 200);
}

#[tokio::test]
async fn a_waiting_read_sees_what_was_applied_though_nobody_said_so() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[], b"x").await;
    let mut wire = crate::wire::Wire::open(pond.address).await;
    wire.send(crate::wire::request("GET /kv/a", &[("kv-min-position", "1-0-0")], b"")).await;
    pond.metric_is("millpond_api_waiters", 1.0).await;
    pond.apply_silently(&mut plainly).await;
    assert_eq!(wire.receive().await.unwrap().status, 200);
}

#[tokio::test]
async fn meta_and_ttl_tell_everything_but_the_value() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a?ttl=15m", &[("content-type", "text/plain")], b"hello").await;
    pond.call("PUT /kv/b", &[], b"").await;
    pond.apply(&mut plainly).await;
    let answer = pond.call("GET /meta/a", &[], b"").await;
    let mut meta = answer.json();
    let expires_at = meta["expires_at"].take();
    assert_eq!(meta["created_at"].take(), meta["updated_at"].take());
    assert_eq!(
        meta,
        json!({
            "size": 5, "content_type": "text/plain", "version": "1-0-0", "created_at": null,
            "updated_at": null, "expires_at": null, "partition": 0, "shard": "s0",
        })
    );
    assert_eq!((answer.header("etag"), answer.header("kv-position")), ("\"1-0-0\"", "1-0-1"));
    let answer = pond.call("GET /ttl/a", &[], b"").await;
    let ttl = answer.json();
    assert_eq!(ttl["expires_at"], expires_at);
    assert_eq!(answer.header("kv-expires-at"), expires_at.as_str().unwrap());
    assert!((890_000..=900_000).contains(&ttl["ttl_ms"].as_u64().unwrap()), "{ttl}");
    let ttl = pond.call("GET /ttl/b", &[], b"").await.json();
    assert_eq!(ttl, json!({"ttl_ms": Value::Null, "expires_at": Value::Null}));
    for head in ["GET /meta/never", "GET /ttl/never"] {
        let answer = pond.call(head, &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not-found"));
    }
    assert_eq!(pond.call("GET /meta/a", &[("accept", "text/html")], b"").await.code(), "not-acceptable");
    assert_eq!(pond.call("GET /kv/a", &[("accept", "text/html")], b"").await.status, 200);
}

#[tokio::test]
async fn a_shard_that_is_down_is_503_for_reads_and_nothing_for_writes() {
    let pond = Pond::start().await;
    pond.shard.close().await;
    let answer = pond.call("GET /kv/a", &[], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "shard-unavailable"));
    assert_eq!(answer.json()["outcome"], "none");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(pond.call("PUT /kv/a", &[], b"x").await.status, 202);
}

#[tokio::test]
async fn the_version_names_the_limits() {
    let pond = Pond::start().await;
    let limits = pond.call("GET /version", &[], b"").await.json()["limits"].take();
    assert_eq!(
        limits,
        json!({
            "key_bytes_max": 1024, "value_bytes_max": 524_288, "batch_operations_max": 10_000,
            "batch_bytes_max": 16_777_216, "page_rows_max": 1000,
        })
    );
}
