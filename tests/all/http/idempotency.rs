//! Idempotency-Key: one effect, one answer, for a day, through crashes.

use std::sync::Arc;

use anyhow::{Result, ensure};
use millpond_tests::{
    http::{Answer, Call, Http},
    server::{Fresh, Server},
};
use serde_json::json;
use tokio::task::JoinSet;

use super::{OWN, assert_problem, offset, value};

const ADD: &str = r#"{"op":"increment","by":5}"#;

async fn add(http: &Http, key: &str) -> Result<Answer> {
    http.patch("/kv/n", OWN, ADD).header("idempotency-key", key).send().await
}

/// What a repeat has to answer again.
fn told(answer: &Answer) -> (u16, String, String, String) {
    let body = if answer.status.is_success() { answer.text() } else { answer.code() };
    let header = |name: &str| answer.header(name).to_owned();
    (answer.status.as_u16(), header("kv-position"), header("etag"), body)
}

#[tokio::test]
async fn such_a_request_waits_and_its_repeat_answers_the_same_and_says_so() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    let put = |prefer: Option<&'static str>| {
        let call = http.put("/kv/a", "1").header("idempotency-key", "k").header("if-none-match", "*");
        prefer.into_iter().fold(call, |call, prefer| call.header("prefer", prefer)).send()
    };
    let (first, repeat, waited) = (put(None).await?, put(None).await?, put(Some("wait=9")).await?);
    assert_eq!(first.status, 201);
    assert!(!first.headers.contains_key("kv-duplicate"));
    for again in [&repeat, &waited] {
        assert_eq!(told(&first), told(again), "Prefer is no part of the request");
        assert_eq!(again.header("kv-duplicate"), "true");
    }
    let (first, second) = (add(http, "n 1 !~").await?, add(http, "n 1 !~").await?);
    assert_eq!((told(&first), first.text().as_str()), (told(&second), "5"));
    let gone = http.delete("/kv/a").header("idempotency-key", "d").send().await?;
    let again = http.delete("/kv/a").header("idempotency-key", "d").send().await?;
    assert_eq!((gone.status.as_u16(), told(&gone)), (204, told(&again)));
    let ttl = || http.put("/ttl/n", r#"{"ttl":"1h"}"#).header("idempotency-key", "t").send();
    let (first, second) = (ttl().await?, ttl().await?);
    assert_eq!(told(&first), told(&second));
    assert_eq!((&first.json()["changed"], second.header("kv-duplicate")), (&json!(true), "true"));
    Ok(())
}

#[tokio::test]
async fn the_key_is_of_its_tenant_and_key_alone() -> Result<()> {
    let server = Fresh::start().await?;
    let put = |tenant: &str, path: &str| {
        server.http.put(path, "x").header("idempotency-key", "same").header("kv-tenant", tenant).send()
    };
    for (tenant, path) in [("one", "/kv/a"), ("one", "/kv/b"), ("two", "/kv/a")] {
        let first = put(tenant, path).await?;
        assert_eq!((first.status.as_u16(), first.headers.contains_key("kv-duplicate")), (200, false));
        assert_eq!(put(tenant, path).await?.header("kv-duplicate"), "true");
    }
    Ok(())
}

fn same(call: Call<'_>) -> Call<'_> {
    call.header("idempotency-key", "k")
}

#[tokio::test]
async fn another_request_under_the_same_key_is_422_and_the_first_effect_stands() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    let first = http.put("/kv/a?ttl=1h", "1").header("idempotency-key", "k").send().await?;
    assert_eq!(first.status, 200);
    for other in [
        same(http.put("/kv/a?ttl=1h", "2")).send().await?,
        same(http.put("/kv/a?ttl=2h", "1")).send().await?,
        same(http.put("/kv/a", "1")).send().await?,
        same(http.put("/kv/a?ttl=1h", "1")).header("content-type", "text/plain").send().await?,
        same(http.put("/kv/a?ttl=1h", "1")).header("if-match", "*").send().await?,
        same(http.delete("/kv/a")).send().await?,
        same(http.patch("/kv/a", OWN, ADD)).send().await?,
        same(http.delete("/ttl/a")).send().await?,
    ] {
        assert_problem(&other, (422, "idempotency-conflict"), "rejected");
    }
    let read = http.get("/kv/a").header("cache-control", "no-cache").send().await?;
    assert_eq!((read.text().as_str(), read.header("etag")), ("1", first.header("etag")));
    let again = same(http.put("/kv/a", "1")).header("kv-ttl", "60m").send().await?;
    assert_eq!(told(&again), told(&first), "the same TTL in another spelling is the same request");
    Ok(())
}

#[tokio::test]
async fn the_repeat_of_a_rejection_is_that_rejection_even_when_it_would_hold_now() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    super::put(http, "/kv/a", "1").await?;
    let put = || http.put("/kv/a", "2").header("if-none-match", "*").header("idempotency-key", "k").send();
    let first = put().await?;
    assert_problem(&first, (412, "condition-failed"), "rejected");
    assert_eq!(http.delete("/kv/a").header("prefer", "wait=5").send().await?.status, 204);
    let again = put().await?;
    assert_problem(&again, (412, "condition-failed"), "rejected");
    assert_eq!((told(&again), again.header("kv-duplicate")), (told(&first), "true"));
    assert_eq!(value(http, "/kv/a").await?, None);
    Ok(())
}

#[tokio::test]
async fn the_repeat_of_a_202_gets_the_outcome() -> Result<()> {
    let server = Fresh::start().await?;
    let call = server.http.patch("/kv/n", OWN, ADD).header("idempotency-key", "k").header("prefer", "wait=0");
    let accepted = call.send().await?;
    assert_eq!(accepted.status, 202);
    let repeat = add(&server.http, "k").await?;
    assert_eq!((repeat.status.as_u16(), repeat.text().as_str()), (200, "5"));
    assert_eq!(repeat.header("kv-position"), accepted.header("kv-position"));
    assert_eq!(repeat.header("kv-duplicate"), "true");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_have_one_effect_and_one_answer() -> Result<()> {
    let server = Fresh::start().await?;
    let http = Arc::new(Http::new(server.address));
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let http = Arc::clone(&http);
        calls.spawn(async move { add(&http, "once").await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = calls.join_next().await {
        answers.push(answer??);
    }
    assert!(answers.iter().all(|answer| told(answer) == told(&answers[0])), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.header("kv-duplicate") != "true").count(), 1);
    assert_eq!(value(&server.http, "/kv/n").await?.as_deref(), Some("5"));
    Ok(())
}

#[tokio::test]
async fn repeats_are_known_after_a_clean_end_and_after_kill_9() -> Result<()> {
    let (mut server, dir) = Fresh::start().await?.apart();
    let put = |http: Http| async move {
        let call = http.put("/kv/n", "x").header("if-none-match", "*").header("idempotency-key", "no");
        call.send().await
    };
    let (first, refused) = (add(&server.http, "k").await?, put(server.http.clone()).await?);
    assert_eq!((first.text().as_str(), refused.status.as_u16()), ("5", 412));
    for kill in [true, false, true] {
        if kill {
            server.kill().await?;
        } else {
            server.terminate().await?;
        }
        server = Server::small(dir.path()).await?;
        let again = add(&server.http, "k").await?;
        ensure!(told(&again) == told(&first) && again.header("kv-duplicate") == "true", "{again:?}");
        let again = put(server.http.clone()).await?;
        ensure!(told(&again) == told(&refused) && again.header("kv-duplicate") == "true", "{again:?}");
        assert_eq!(value(&server.http, "/kv/n").await?.as_deref(), Some("5"));
    }
    let other =
        server.http.patch("/kv/n", OWN, r#"{"op":"increment","by":6}"#).header("idempotency-key", "k");
    assert_problem(&other.send().await?, (422, "idempotency-conflict"), "rejected");
    Ok(())
}

#[tokio::test]
async fn what_is_no_idempotency_key_is_refused() -> Result<()> {
    let server = Fresh::start().await?;
    let before = super::put(&server.http, "/kv/a", "1").await?;
    for bad in ["", &"k".repeat(256), "k\tk"] {
        let answer = server.http.put("/kv/a", "2").header("idempotency-key", bad).send().await?;
        assert_problem(&answer, (400, "idempotency-key-invalid"), "refused");
    }
    let longest = "k".repeat(255);
    let answer = server.http.put("/kv/a", "2").header("idempotency-key", &longest).send().await?;
    assert_eq!((answer.status.as_u16(), offset(answer.header("kv-position"))), (200, offset(&before) + 1));
    Ok(())
}
