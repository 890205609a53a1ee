//! Clients that hold much and do little: others are served all the same.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    frames::{END_HEADERS, END_STREAM, Frame, Frames, Kind, request},
    process::until_async,
    server::Fresh,
    wire::Wire,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{NDJSON, http2::told, put};

const PATIENCE: Duration = Duration::from_mins(1);
/// More than all bodies together may hold, if each of them counted as long as it says that it is: 256 MiB.
const BATCHES: usize = 40;
/// More than all pages together may hold, if each of them counted as the largest: 128 MiB.
const STREAMS: usize = 24;

#[tokio::test]
async fn bodies_that_are_announced_and_do_not_come_hold_up_nobody() -> Result<()> {
    let server = Fresh::start().await?;
    let head = format!(
        "POST /batch HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-type: {NDJSON}\r\n\
         content-length: 16777216\r\n\r\n"
    );
    let mut wires = Vec::new();
    for number in 0..BATCHES {
        let mut wire = Wire::open(server.address).await?;
        wire.send(&head).await;
        let answer = wire.receive().await?.context("it is answered")?;
        ensure!(answer.status == 100, "batch {number} is not asked for: {answer:?}");
        wire.send("{").await;
        wires.push(wire);
    }
    put(&server.http, "/kv/a", "x").await?;
    let query = server.http.post("/kv/query", "application/json", r#"{"keys":["a"]}"#).send().await?;
    ensure!(query.status == 200, "{query:?}");
    Ok(())
}

#[tokio::test]
async fn streams_that_nobody_takes_hold_up_no_query() -> Result<()> {
    let server = Fresh::start().await?;
    // Far more than the sockets between the two hold.
    let line =
        |number| json!({"op": "put", "key": format!("{number:05}"), "value": "v".repeat(1200)}).to_string();
    let lines: Vec<String> = (0..10_000).map(line).collect();
    let filled =
        server.http.post("/batch", NDJSON, lines.join("\n")).header("prefer", "wait=30").send().await?;
    ensure!(filled.status == 200, "{filled:?}");
    let mut wires = Vec::new();
    for number in 0..STREAMS {
        let mut wire = Wire::open(server.address).await?;
        wire.send(format!("GET /kv?prefix= HTTP/1.1\r\nhost: a\r\naccept: {NDJSON}\r\n\r\n")).await;
        let answer = wire.receive().await?.context("it is answered")?;
        ensure!(answer.status == 200, "stream {number}: {answer:?}");
        wires.push(wire);
    }
    let query = server.http.get("/kv?limit=1000").send().await?;
    ensure!(query.status == 200, "{query:?}");
    Ok(())
}

/// A client that takes nothing of what it asks for: 100 values of 512 KiB on a connection, of which 16 MiB may wait.
#[tokio::test]
async fn values_that_nobody_takes_hold_up_others_only_until_they_are_given_up() -> Result<()> {
    let (server, _dir) = told(&[("MILLPOND_API__BODIES_BYTES_MAX", "16MiB")]).await?;
    put(&server.http, "/kv/large", &"v".repeat(512 * 1024)).await?;
    let mut connections = Vec::new();
    for _ in 0..4 {
        // SETTINGS_INITIAL_WINDOW_SIZE of nothing.
        let (receiving, mut sending) = Frames::open(server.address, &[(4, 0)]).await?.split();
        for number in 0..90_u32 {
            let head = request("GET", "/kv/large", &[]);
            let call = Frame::new(Kind::Headers, END_STREAM | END_HEADERS, 2 * number + 1, head);
            sending.write_all(&call.bytes()).await?;
        }
        connections.push((receiving, sending));
    }
    let refused = async || {
        let answer = server.http.get("/kv/large").send().await;
        answer.is_ok_and(|answer| answer.status == 503 && answer.code() == "overloaded")
    };
    ensure!(until_async(PATIENCE, refused).await, "values that wait are counted");
    put(&server.http, "/kv/small", "x").await?;
    drop(connections);
    let served = async || server.http.get("/kv/large").send().await.is_ok_and(|answer| answer.status == 200);
    ensure!(until_async(PATIENCE, served).await, "what a gone client held is given back");
    Ok(())
}
