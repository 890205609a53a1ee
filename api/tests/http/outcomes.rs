//! What a write is answered once it is applied, and what happens when nobody says so.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use millpond_api::Config;
use millpond_log::OUTCOME_RANGES_MAX;
use millpond_schemas::{
    Effect, Generation, Mutation, Offset, Outcome, OutcomeRange, PartitionId, Position, Rejected, Rejection,
    Version,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    pond::{P0, Pond, plainly},
    wire::{Answer, Wire, request},
};

fn rejected(_: &Mutation, _: Offset) -> Outcome {
    let current = Some(Version::new(Generation::FIRST, Offset(5)));
    Outcome::Rejected(Rejected { rejection: Rejection::ConditionFailed, current })
}

/// Sends a call, waits until the log has it, and leaves it waiting.
async fn waiting(pond: &Pond, head: &str, headers: &[(&str, &str)]) -> Wire {
    let before = pond.end().await;
    let mut wire = Wire::open(pond.address).await;
    wire.send(request(head, headers, b"x")).await;
    pond.logged(before + 1).await;
    wire
}

fn assert_is_rejected(answer: &Answer, position: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (412, "condition-failed"));
    assert_eq!(answer.header("kv-position"), position);
    assert_eq!(answer.json()["outcome"], "rejected");
    assert_eq!(answer.json()["current"], "1-0-5");
}

#[tokio::test]
async fn a_waiting_call_is_told_its_outcome() {
    let pond = Pond::start().await;
    let mut wire = waiting(&pond, "PUT /kv/a", &[("if-none-match", "*")]).await;
    pond.apply(&mut plainly).await;
    let answer = wire.receive().await.unwrap();
    assert_eq!((answer.status, answer.header("etag")), (201, "\"1-0-0\""));
    assert_eq!(answer.json(), json!({"position": "1-0-0", "status": "applied"}));
    let mut wire = waiting(&pond, "DELETE /kv/a", &[("prefer", "wait=30")]).await;
    pond.apply(&mut plainly).await;
    let answer = wire.receive().await.unwrap();
    assert_eq!((answer.status, answer.header("kv-position")), (204, "1-0-1"));
    assert_eq!(answer.header("preference-applied"), "wait=30");
    let mut wire = waiting(&pond, "PUT /kv/a", &[("if-match", "\"1-0-7\"")]).await;
    pond.apply(&mut rejected).await;
    assert_is_rejected(&wire.receive().await.unwrap(), "1-0-2");
}

#[tokio::test]
async fn a_call_whose_outcome_nobody_published_reads_the_shard_before_it_gives_up() {
    let config = Config { write_wait: Duration::from_secs(2), ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    let mut wire = waiting(&pond, "PUT /kv/a", &[("if-match", "*")]).await;
    pond.apply_silently(&mut rejected).await;
    assert_is_rejected(&wire.receive().await.unwrap(), "1-0-0");
}

#[tokio::test]
async fn a_hole_between_ranges_is_filled_from_the_shard() {
    let config = Config { write_wait: Duration::from_secs(30), ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    let mut lost = waiting(&pond, "PUT /kv/a", &[("if-match", "*")]).await;
    let mut plain = waiting(&pond, "PUT /kv/b", &[("prefer", "wait=30")]).await;
    pond.apply_silently(&mut |mutation, offset| {
        if offset == Offset(0) { rejected(mutation, offset) } else { Outcome::Applied(None) }
    })
    .await;
    let mut heard = waiting(&pond, "PUT /kv/c", &[("prefer", "wait=30")]).await;
    pond.apply(&mut plainly).await;
    let started = std::time::Instant::now();
    assert_eq!(heard.receive().await.unwrap().status, 200);
    assert_is_rejected(&lost.receive().await.unwrap(), "1-0-0");
    assert_eq!(plain.receive().await.unwrap().status, 200);
    assert!(started.elapsed() < Duration::from_secs(10), "long before they would have timed out");
    assert!(pond.metric("millpond_api_outcome_holes_total").await >= 1.0);
}

#[tokio::test]
async fn outcomes_that_came_too_fast_to_be_heard_are_read_from_the_shard() {
    let config = Config { write_wait: Duration::from_secs(30), ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    let mut wire = waiting(&pond, "PUT /kv/a", &[("if-match", "*")]).await;
    pond.metric_is("millpond_api_waiters", 1.0).await;
    let range = pond.apply_silently(&mut rejected).await.unwrap();
    let elsewhere = Arc::new(OutcomeRange { partition: PartitionId(9), ..range });
    // On this runtime nobody else runs until the next await, so more are published than are kept.
    (0..=2 * OUTCOME_RANGES_MAX).for_each(|_| pond.outcomes.publish(Arc::clone(&elsewhere)));
    assert_is_rejected(&wire.receive().await.unwrap(), "1-0-0");
    assert!(pond.metric("millpond_api_outcome_holes_total").await >= 2.0);
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_one_was() {
    let pond = Pond::start().await;
    let first: Position = "1-0-0".parse().unwrap();
    let mut wire = waiting(&pond, "PUT /kv/a", &[("if-match", "*"), ("idempotency-key", "k")]).await;
    pond.apply(&mut rejected).await;
    assert_is_rejected(&wire.receive().await.unwrap(), "1-0-0");
    for known in [true, false] {
        let mut wire = waiting(&pond, "PUT /kv/a", &[("if-match", "*"), ("idempotency-key", "k")]).await;
        pond.apply(&mut |mutation, offset| Outcome::Duplicate {
            of: first,
            original: known.then(|| Box::new(rejected(mutation, offset))),
        })
        .await;
        let answer = wire.receive().await.unwrap();
        assert_is_rejected(&answer, "1-0-0");
        assert_eq!(answer.header("kv-duplicate"), "true");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_waiter_and_takes_nothing_back() {
    let pond = Pond::start().await;
    let wire = waiting(&pond, "PUT /kv/a", &[("prefer", "wait=30")]).await;
    pond.metric_is("millpond_api_waiters", 1.0).await;
    drop(wire);
    pond.metric_is("millpond_api_waiters", 0.0).await;
    pond.metric_is("millpond_api_connections", 0.0).await;
    pond.apply(&mut plainly).await;
    assert_eq!(pond.call("GET /kv/a", &[], b"").await.body, b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_increment_one_key_and_each_gets_its_own_result() {
    const CLIENTS: usize = 64;
    const TIMES: usize = 25;
    let pond = Arc::new(Pond::start().await);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let pond = Arc::clone(&pond);
        clients.spawn(async move {
            let mut wire = Wire::open(pond.address).await;
            let mut results = Vec::new();
            for _ in 0..TIMES {
                let own = [("content-type", "application/vnd.millpond.op+json"), ("prefer", "wait=30")];
                let answer = wire.call("PATCH /kv/n", &own, br#"{"op":"increment"}"#).await;
                assert_eq!(answer.status, 200);
                assert_eq!(answer.header("etag"), format!("\"{}\"", answer.header("kv-position")));
                results.push(String::from_utf8(answer.body).unwrap().parse::<usize>().unwrap());
            }
            results
        });
    }
    let mut sum = 0;
    let mut count = |_: &Mutation, offset: Offset| {
        sum += 1;
        Outcome::Applied(Some(Effect {
            changed: true,
            version: Version::new(Generation::FIRST, offset),
            expires_at: None,
            value: Some(Bytes::from(sum.to_string())),
            content_type: "text/plain".into(),
        }))
    };
    let total = i64::try_from(CLIENTS * TIMES).unwrap();
    let mut changes = pond.log.changes();
    let mut applied = 0;
    while applied < total {
        changes.changed().await.unwrap();
        pond.apply(&mut count).await;
        applied = pond.shard.watermark(P0).await.unwrap().unwrap().applied.0 + 1;
    }
    let results: Vec<usize> = clients.join_all().await.into_iter().flatten().collect();
    let different: BTreeSet<usize> = results.iter().copied().collect();
    assert_eq!((results.len(), different), (CLIENTS * TIMES, (1..=CLIENTS * TIMES).collect()));
}

#[tokio::test]
async fn open_calls_are_answered_before_the_server_stops() {
    let mut pond = Pond::start().await;
    let mut wire = waiting(&pond, "PUT /kv/a", &[("prefer", "wait=30")]).await;
    let idle = Wire::open(pond.address).await;
    pond.shutdown.cancel();
    let refused = async {
        while let Ok(stream) = tokio::net::TcpStream::connect(pond.address).await {
            drop(stream);
        }
    };
    tokio::time::timeout(crate::wire::SOON, refused).await.expect("the listener is closed");
    pond.apply(&mut plainly).await;
    assert_eq!(wire.receive().await.unwrap().status, 200);
    drop((wire, idle));
    pond.served().await.unwrap();
    pond.api.stop().await;
}

#[tokio::test]
async fn a_mutation_tells_what_became_of_it_to_its_tenant_alone() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[], b"x").await;
    pond.call("PUT /kv/a", &[("if-match", "*"), ("prefer", "respond-async")], b"x").await;
    let status = async |position: &str, query: &str| {
        pond.call(&format!("GET /mutations/{position}{query}"), &[], b"").await
    };
    assert_eq!(status("1-0-0", "").await.json()["status"], "accepted");
    let mut wire = Wire::open(pond.address).await;
    wire.send(request("GET /mutations/1-0-0?wait=30s", &[], b"")).await;
    pond.metric_is("millpond_api_waiters", 1.0).await;
    let mut judge = |mutation: &Mutation, offset: Offset| {
        if offset == Offset(1) { rejected(mutation, offset) } else { Outcome::Applied(None) }
    };
    pond.apply(&mut judge).await;
    let told = wire.receive().await.unwrap().json();
    assert_eq!((&told["status"], &told["version"]), (&json!("applied"), &json!("1-0-0")));
    assert!(told["time"].as_str().unwrap().ends_with('Z'));
    let told = status("1-0-1", "").await.json();
    assert_eq!((&told["status"], &told["problem"]["code"]), (&json!("rejected"), &json!("condition-failed")));
    for (position, code, expected) in [
        ("1-0-2", 404, "position-unknown"),
        ("1-5-0", 404, "position-unknown"),
        ("2-0-0", 404, "position-unknown"),
        ("1-0", 400, "position-invalid"),
        ("01-0-0", 400, "position-invalid"),
    ] {
        let answer = status(position, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (code, expected), "{position}");
    }
    let foreign = pond.call("GET /mutations/1-0-0", &[("kv-tenant", "other")], b"").await;
    let never = pond.call("GET /mutations/1-0-9", &[("kv-tenant", "other")], b"").await;
    assert_eq!((foreign.status, foreign.code()), (never.status, never.code()));
    assert_eq!(status("1-0-0", "?wait=soon").await.code(), "wait-invalid");
}
