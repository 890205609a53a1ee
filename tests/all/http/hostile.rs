//! Clients that are slow, broken or hostile, on the wire of the released binary.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millpond_tests::{
    http::Http,
    server::Fresh,
    wire::{Wire, request},
};

use super::{offset, put, value};

/// Waits until so many connections are open. A test's own client keeps one.
async fn open_connections(server: &Fresh, connections: usize) -> Result<()> {
    let line = format!("\nmillpond_api_connections {connections}\n");
    let reached = async {
        while !server.ops.get("/metrics").send().await?.text().contains(&line) {}
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), reached).await.context("connections stay open")?
}

#[tokio::test]
async fn slow_heads_are_closed_after_5_s_slow_bodies_get_408_after_10_and_others_are_served() -> Result<()> {
    let server = Fresh::start().await?;
    let started = Instant::now();
    let head = async {
        let mut wire = Wire::open(server.address).await?;
        wire.send("GET /version HTTP/1.1\r\nx-slow: ").await;
        anyhow::Ok((wire.rest().await?, started.elapsed()))
    };
    let silent = async {
        let mut wire = Wire::open(server.address).await?;
        anyhow::Ok((wire.rest().await?, started.elapsed()))
    };
    let body = async {
        let mut wire = Wire::open(server.address).await?;
        wire.send("PUT /kv/slow HTTP/1.1\r\nhost: pond\r\ncontent-length: 1000\r\n\r\nabc").await;
        let answer = wire.receive().await?.context("it is told why")?;
        anyhow::Ok((answer, started.elapsed()))
    };
    let drip = async {
        let mut wire = Wire::open(server.address).await?;
        wire.send("PUT /kv/slow HTTP/1.1\r\nhost: pond\r\ncontent-length: 1000\r\n\r\n").await;
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..105 {
            pace.tick().await;
            wire.send("x").await;
        }
        anyhow::Ok((wire.receive().await?.context("it is told why")?, started.elapsed()))
    };
    let others = async { put(&Http::new(server.address), "/kv/a", "x").await };
    let (head, silent, body, drip, others) = tokio::join!(head, silent, body, drip, others);
    others?;
    for (rest, elapsed) in [head?, silent?] {
        assert_eq!(rest, "");
        assert!((5..20).contains(&elapsed.as_secs()), "{elapsed:?}");
    }
    for (answer, elapsed) in [body?, drip?] {
        assert_eq!((answer.status, answer.code().as_str()), (408, "body-timeout"));
        assert!((10..25).contains(&elapsed.as_secs()), "{elapsed:?}");
    }
    assert_eq!(value(&server.http, "/kv/slow").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_length_beside_chunks_never_makes_a_second_request() -> Result<()> {
    let server = Fresh::start().await?;
    let smuggled = "GET /version HTTP/1.1\r\nhost: pond\r\n\r\n";
    for headers in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity\r\ncontent-length: 4",
        "content-length: 4\r\ncontent-length: 5",
        "content-length: +4",
        "content-length: 4, 4",
        "content-length: -1",
    ] {
        let mut wire = Wire::open(server.address).await?;
        wire.send(format!("PUT /kv/a HTTP/1.1\r\nhost: pond\r\n{headers}\r\n\r\n0\r\n\r\n{smuggled}")).await;
        wire.finish().await;
        let answers = wire.rest().await?;
        assert!(!answers.contains("page_rows_max"), "{headers}: {answers}");
        assert!(answers.matches("HTTP/1.1 ").count() <= 1, "{headers}: {answers}");
    }
    Ok(())
}

#[tokio::test]
async fn more_than_the_length_is_a_bad_next_request_and_the_first_one_stands() -> Result<()> {
    let server = Fresh::start().await?;
    let mut wire = Wire::open(server.address).await?;
    wire.send("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ncontent-length: 3\r\n\r\nabc\0surplus\r\n\r\n").await;
    assert_eq!(wire.receive().await?.context("the first")?.status, 202);
    assert_eq!(wire.receive().await?.context("the second")?.status, 400);
    assert!(wire.receive().await?.is_none(), "it is closed");
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("abc"));
    Ok(())
}

#[tokio::test]
async fn less_than_the_length_is_not_logged() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    for body in ["", "abc", &"x".repeat(100_000)] {
        let mut wire = Wire::open(server.address).await?;
        wire.send(format!("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ncontent-length: 200000\r\n\r\n{body}")).await;
        wire.finish().await;
        let answers = wire.rest().await?;
        assert!(!answers.contains("HTTP/1.1 2"), "{answers}");
    }
    assert_eq!(offset(&put(&server.http, "/kv/a", "2").await?), offset(&before) + 1);
    Ok(())
}

#[tokio::test]
async fn a_client_that_goes_away_has_written_once_or_not_at_all() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/n", "0").await?;
    let patch = "PATCH /kv/n HTTP/1.1\r\nhost: pond\r\ncontent-type: application/vnd.millpond.op+json\r\n";
    for _ in 0..50 {
        let mut wire = Wire::open(server.address).await?;
        wire.send(format!("{patch}content-length: 18\r\n\r\n{{\"op\":\"increment\"}}")).await;
    }
    // Connections are accepted in order: when this one is answered, all of them have been.
    let mut last = Wire::open(server.address).await?;
    last.send(request("GET /version", "")).await;
    assert_eq!(last.receive().await?.context("it is answered")?.status, 200);
    drop(last);
    open_connections(&server, 1).await?;
    // Changes nothing, and lies on the log behind whatever those clients have sent.
    let behind = server.http.delete("/ttl/n").send().await?;
    let records = offset(behind.header("kv-position")) - offset(&before) - 1;
    let count: i64 = value(&server.http, "/kv/n").await?.context("it is there")?.parse()?;
    assert!((0..=50).contains(&count));
    assert_eq!(count, records, "as many effects as records");
    Ok(())
}

#[tokio::test]
async fn a_uri_of_64_kib_is_414_and_500_headers_are_431() -> Result<()> {
    let server = Fresh::start().await?;
    for (bytes, told) in [(9 * 1024, true), (64 * 1024, false)] {
        let mut wire = Wire::open(server.address).await?;
        wire.send(request(&format!("GET /kv/{}", "a".repeat(bytes)), "")).await;
        let answer = wire.receive().await?.context("it is answered")?;
        assert_eq!(answer.status, 414);
        assert!(!told || answer.code() == "uri-too-long", "{answer:?}");
    }
    let many = (0..500).map(|number| format!("x-{number}: 1\r\n")).collect::<Vec<_>>().concat();
    let mut wire = Wire::open(server.address).await?;
    wire.send(format!("GET /version HTTP/1.1\r\nhost: pond\r\n{many}\r\n")).await;
    assert_eq!(wire.receive().await?.context("it is answered")?.status, 431);
    let long = "x".repeat(40 * 1024);
    let answer = server.http.get("/version").header("x-long", &long).send().await?;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (431, "headers-too-large"));
    Ok(())
}

#[tokio::test]
async fn pipelined_calls_are_answered_in_order_and_logged_in_order() -> Result<()> {
    let server = Fresh::start().await?;
    let mut wire = Wire::open(server.address).await?;
    let all: String = (0..100).map(|number| request("PUT /kv/a", &number.to_string())).collect();
    wire.send(all + &request("GET /kv/a", "")).await;
    let mut last = -1;
    for _ in 0..100 {
        let answer = wire.receive().await?.context("it is answered")?;
        let accepted: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let offset = offset(accepted["position"].as_str().unwrap_or_default());
        assert!(answer.status == 202 && offset > last, "{answer:?}");
        last = offset;
    }
    assert_eq!(wire.receive().await?.context("it is answered")?.body, b"99");
    Ok(())
}

#[tokio::test]
async fn garbage_is_400_and_closed() -> Result<()> {
    let server = Fresh::start().await?;
    for garbage in [
        "\x16\x03\x01\x02\0\x01\0",
        "GET\r\n\r\n",
        "GET /version\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nNO\r\n\r\n",
    ] {
        let mut wire = Wire::open(server.address).await?;
        wire.send(garbage).await;
        wire.finish().await;
        let rest = wire.rest().await?;
        assert!(
            rest.is_empty() || rest.starts_with("HTTP/1.1 400") || rest.starts_with("HTTP/1.1 505"),
            "{garbage:?}: {rest}"
        );
    }
    open_connections(&server, 0).await
}
