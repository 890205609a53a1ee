//! Reads over replicas that lag, stand still, or are gone; through one api and through another.

use std::{net::SocketAddr, time::Duration};

use millpond_api::Config;

use crate::{
    pond::{Pond, plainly},
    wire::{Answer, Wire},
};

/// A pond whose reads give up soon.
async fn replicated(replicas: usize) -> Pond {
    let config = Config { read_wait: Duration::from_millis(300), ..Config::default() };
    Pond::start_replicated(replicas, config, Vec::new()).await
}

async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    Wire::open(address).await.call(&format!("GET /kv/{path}"), headers, b"").await
}

/// Status, body, and the position that was read.
fn told(answer: &Answer) -> (u16, String, String) {
    let body =
        if answer.status == 200 { String::from_utf8(answer.body.clone()).unwrap() } else { String::new() };
    (answer.status, body, answer.header("kv-position").to_owned())
}

fn was(status: u16, body: &str, position: &str) -> (u16, String, String) {
    (status, body.to_owned(), position.to_owned())
}

async fn reads(pond: &Pond, node: &str, result: &str) -> f64 {
    let labels = format!(r#"{{shard="s0",node="{node}",result="{result}"}}"#);
    pond.metric(&format!("millpond_shard_reads_total{labels}")).await
}

/// A key with an old value everywhere, and a new one, and a key deleted, on the primary alone.
async fn lagging(pond: &Pond) {
    pond.call("PUT /kv/a", &[], b"old").await;
    pond.call("PUT /kv/gone", &[], b"old").await;
    pond.apply(&mut plainly).await;
    pond.replicate(0).await;
    pond.call("PUT /kv/a", &[], b"new").await;
    pond.call("DELETE /kv/gone", &[], b"").await;
    pond.apply(&mut plainly).await;
}

#[tokio::test]
async fn what_was_put_through_this_api_is_shown_though_the_replica_lags() {
    let pond = replicated(1).await;
    lagging(&pond).await;
    assert_eq!(told(&get(pond.address, "a", &[]).await), was(200, "new", "1-0-3"));
    assert_eq!(told(&get(pond.address, "gone", &[]).await), was(404, "", "1-0-3"));
    let primary = reads(&pond, "primary", "answered").await;
    assert!(primary >= 2.0, "{primary}");
    let never = get(pond.address, "never", &[]).await;
    assert_eq!(told(&never), was(404, "", "1-0-1"), "a key that nobody wrote is read from the replica");
    assert_ne!(never.header("kv-staleness-ms"), "0");
    pond.replicate(0).await;
    let answer = get(pond.address, "a", &[]).await;
    assert_eq!(told(&answer), was(200, "new", "1-0-3"));
    assert_eq!(answer.header("kv-staleness-ms"), "0");
    assert!((reads(&pond, "primary", "answered").await - primary).abs() < f64::EPSILON);
}

#[tokio::test]
async fn through_another_api_an_eventual_read_is_older_and_says_so_and_a_token_or_strong_is_not() {
    let pond = replicated(1).await;
    let other = pond.another().await;
    lagging(&pond).await;
    let answer = get(other, "a", &[]).await;
    assert_eq!(told(&answer), was(200, "old", "1-0-1"));
    assert_ne!(answer.header("kv-staleness-ms"), "0");
    assert_eq!(told(&get(other, "gone", &[]).await), was(200, "old", "1-0-1"));
    for headers in [[("kv-min-position", "1-0-3")], [("cache-control", "no-cache")]] {
        assert_eq!(told(&get(other, "a", &headers).await), was(200, "new", "1-0-3"));
        assert_eq!(told(&get(other, "gone", &headers).await), was(404, "", "1-0-3"));
        assert_eq!(told(&get(other, "never", &headers).await), was(404, "", "1-0-3"));
    }
    assert_eq!(told(&get(other, "a", &[("kv-min-position", "1-0-1")]).await), was(200, "old", "1-0-1"));
    pond.replicate(0).await;
    assert_eq!(told(&get(other, "a", &[]).await), was(200, "new", "1-0-3"));
    assert_eq!(told(&get(other, "gone", &[]).await), was(404, "", "1-0-3"));
}

#[tokio::test]
async fn a_replica_that_has_the_token_spares_the_primary() {
    let pond = replicated(2).await;
    let other = pond.another().await;
    lagging(&pond).await;
    pond.replicate(1).await;
    for _ in 0..20 {
        let answer =
            Wire::open(pond.address).await.call("GET /kv/a", &[("kv-min-position", "1-0-3")], b"").await;
        assert_eq!(told(&answer), was(200, "new", "1-0-3"));
        assert_eq!(told(&get(other, "gone", &[("kv-min-position", "1-0-3")]).await), was(404, "", "1-0-3"));
    }
    assert!(reads(&pond, "replica", "answered").await >= 20.0);
    assert!(reads(&pond, "primary", "answered").await < 1.0);
}

#[tokio::test]
async fn behind_a_dead_primary_a_token_is_504_and_an_eventual_read_older() {
    let pond = replicated(1).await;
    lagging(&pond).await;
    pond.shard.close().await;
    for path in ["a", "gone", "never"] {
        let answer = get(pond.address, path, &[("kv-min-position", "1-0-3")]).await;
        assert_eq!((answer.status, answer.code().as_str()), (504, "position-not-reached"));
        assert_eq!(answer.json()["lag_records"], 2);
    }
    assert_eq!(told(&get(pond.address, "a", &[]).await), was(200, "old", "1-0-1"));
    pond.replica(0).close().await;
    let answer = get(pond.address, "a", &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "shard-unavailable"));
}

#[tokio::test]
async fn a_dead_replica_fails_no_read_and_is_told() {
    let pond = replicated(1).await;
    lagging(&pond).await;
    pond.replica(0).close().await;
    for _ in 0..20 {
        assert_eq!(told(&get(pond.address, "never", &[]).await), was(404, "", "1-0-3"));
    }
    let failed = reads(&pond, "replica", "failed").await;
    assert!(failed <= 1.0, "{failed}");
    pond.metric_is(r#"millpond_shard_node_resting{shard="s0",node="replica-1"}"#, 1.0).await;
    assert_eq!(Wire::open(pond.ops).await.call("GET /readyz", &[], b"").await.status, 200);
}

#[tokio::test]
async fn the_lag_of_a_replica_is_a_metric() {
    let pond = replicated(1).await;
    lagging(&pond).await;
    let lag = r#"millpond_shard_node_lag_records{shard="s0",node="replica-1"}"#;
    pond.metric_is(lag, 2.0).await;
    pond.replicate(0).await;
    pond.metric_is(lag, 0.0).await;
}

/// What was applied is in no replica, and the calls wait all the same for their outcomes from the primary.
#[tokio::test]
async fn outcomes_in_a_hole_are_read_from_the_primary() {
    let pond = replicated(1).await;
    let mut wire = Wire::open(pond.address).await;
    wire.send(crate::wire::request("PUT /kv/a", &[("prefer", "wait=30")], b"x")).await;
    pond.metric_is("millpond_api_waiters", 1.0).await;
    pond.apply_silently(&mut plainly).await;
    assert_eq!(wire.receive().await.unwrap().status, 200);
    assert_eq!(told(&get(pond.address, "a", &[]).await), was(200, "x", "1-0-0"));
}
