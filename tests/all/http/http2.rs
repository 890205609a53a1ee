//! HTTP/2 by prior knowledge, on the port that speaks HTTP/1.1 too.

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    frames::{END_HEADERS, END_STREAM, Frames, Kind, request},
    http::Http,
    server::{Fresh, Server, millpond},
};
use tempfile::TempDir;

use super::{NDJSON, assert_problem, put, value};

/// SETTINGS: how much of an answer may come before it is asked for.
const INITIAL_WINDOW: u16 = 4;
/// The error code of a stream that was not looked at, and may be tried again.
const REFUSED_STREAM: u32 = 7;

/// A server that is told so in its environment.
pub(super) async fn told(settings: &[(&str, &str)]) -> Result<(Server, TempDir)> {
    let dir = TempDir::new()?;
    let mut command = millpond();
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB").envs(settings.iter().copied());
    Ok((Server::start_with(dir.path(), command, &[]).await?, dir))
}

#[tokio::test]
async fn http_2_answers_as_http_1_does() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "1").await?;
    let lines = "{\"op\":\"put\",\"key\":\"b\",\"value\":\"1\"}\n{\"op\":\"no\",\"key\":\"c\"}\n";
    let long = "x".repeat(40 * 1024);
    let two = Http::http2(server.address);
    let calls = |http: &Http| {
        let http = http.clone();
        let long = long.clone();
        async move {
            anyhow::Ok([
                http.get("/kv/a").send().await?,
                http.call(http::Method::HEAD, "/kv/a").send().await?,
                http.get("/kv/none").send().await?,
                http.put("/kv/a", "2").header("if-match", "\"1-0-999999\"").send().await?,
                http.put("/kv/big", vec![0; 600_000]).send().await?,
                http.post("/batch", NDJSON, lines).send().await?,
                http.get("/version").header("x-long", &long).send().await?,
                http.call(http::Method::TRACE, "/kv/a").send().await?,
                http.call(http::Method::OPTIONS, "/kv/a").send().await?,
                http.get("/nothing").send().await?,
            ])
        }
    };
    let same = ["content-type", "content-length", "allow", "etag", "cache-control"];
    for (one, two) in calls(&server.http).await?.iter().zip(calls(&two).await?) {
        ensure!((one.status, one.code()) == (two.status, two.code()), "{one:?} {two:?}");
        let differ = same.iter().find(|name| one.header(name) != two.header(name));
        ensure!(differ.is_none() || one.status == 412 || one.status == 207, "{differ:?}: {one:?} {two:?}");
        ensure!(!two.header("x-request-id").is_empty() && !two.headers.contains_key("connection"), "{two:?}");
        if two.status.is_client_error() && !two.body.is_empty() {
            let outcome = two.json()["outcome"].as_str().unwrap_or_default().to_owned();
            assert_problem(&two, (one.status.as_u16(), &one.code()), &outcome);
        }
    }
    Ok(())
}

#[tokio::test]
async fn http_2_calls_share_a_connection_and_each_has_its_effect() -> Result<()> {
    let server = Fresh::start().await?;
    let two = Http::http2(server.address);
    let all = (0..300).map(|number| {
        let two = two.clone();
        tokio::spawn(async move { two.put(&format!("/kv/{number}"), number.to_string()).send().await })
    });
    for call in all.collect::<Vec<_>>() {
        ensure!(call.await??.status == 202);
    }
    for number in [0, 150, 299] {
        assert_eq!(value(&two, &format!("/kv/{number}")).await?, Some(number.to_string()));
    }
    let open = server.ops.get("/metrics").send().await?.text();
    ensure!(open.contains("\nmillpond_api_connections 1\n"), "{open}");
    Ok(())
}

#[tokio::test]
async fn an_http_2_head_that_does_not_end_is_closed() -> Result<()> {
    // Idling would take longer than the test waits.
    let (server, _dir) = told(&[("MILLPOND_API__IDLE_TIMEOUT", "1h")]).await?;
    let head = request("GET", "/version", &[]);
    for part in [&[0, 0][..], &[0, 0, 50, 1, 5, 0, 0, 0, 1, 0]] {
        let mut frames = Frames::open(server.address, &[]).await?;
        frames.send_bytes(part).await;
        frames.rest().await?;
    }
    let mut frames = Frames::open(server.address, &[]).await?;
    frames.send(Kind::Headers, END_STREAM, 1, head).await;
    let rest = frames.rest().await?;
    ensure!(!rest.iter().any(|frame| frame.kind == Kind::Headers), "its CONTINUATION never came: {rest:?}");
    Ok(())
}

#[tokio::test]
async fn an_idle_http_2_client_is_told_to_go_away_whatever_it_sends_but_calls() -> Result<()> {
    let (server, _dir) = told(&[("MILLPOND_API__IDLE_TIMEOUT", "1s")]).await?;
    let mut frames = Frames::open(server.address, &[]).await?;
    frames.send(Kind::Headers, END_STREAM | END_HEADERS, 1, request("GET", "/version", &[])).await;
    frames.next(Kind::Data).await?;
    loop {
        frames.send(Kind::Ping, 0, 0, [0; 8]).await;
        let frame = frames.receive().await?.context("it is told first")?;
        if frame.kind == Kind::GoAway {
            assert_eq!(frame.code(), Some(0));
            break;
        }
    }
    frames.rest().await?;
    Ok(())
}

#[tokio::test]
async fn an_http_2_body_that_stops_gets_408_and_others_on_its_connection_are_served() -> Result<()> {
    let server = Fresh::start().await?;
    let mut frames = Frames::open(server.address, &[]).await?;
    frames.send(Kind::Headers, END_HEADERS, 1, request("PUT", "/kv/slow", &[])).await;
    frames.send(Kind::Data, 0, 1, *b"abc").await;
    frames.send(Kind::Headers, END_STREAM | END_HEADERS, 3, request("GET", "/version", &[])).await;
    let first = frames.next(Kind::Data).await?;
    assert_eq!(first.stream, 3);
    let problem = frames.next(Kind::Data).await?;
    assert_eq!(problem.stream, 1);
    let problem: serde_json::Value = serde_json::from_slice(&problem.payload)?;
    assert_eq!((&problem["status"], &problem["code"]), (&408.into(), &"body-timeout".into()));
    assert_eq!(value(&server.http, "/kv/slow").await?, None);
    Ok(())
}

#[tokio::test]
async fn an_http_2_answer_that_nobody_takes_is_given_up_alone() -> Result<()> {
    let (server, _dir) = told(&[("MILLPOND_API__SEND_TIMEOUT", "1s")]).await?;
    put(&server.http, "/kv/big", &"x".repeat(500_000)).await?;
    let mut frames = Frames::open(server.address, &[(INITIAL_WINDOW, 0)]).await?;
    frames.send(Kind::Headers, END_STREAM | END_HEADERS, 1, request("GET", "/kv/big", &[])).await;
    let reset = frames.next(Kind::Reset).await?;
    assert_eq!(reset.stream, 1);
    frames.send(Kind::Headers, END_STREAM | END_HEADERS, 3, request("GET", "/version", &[])).await;
    frames.send(Kind::Window, 0, 3, 10_000_u32.to_be_bytes()).await;
    assert_eq!(frames.next(Kind::Data).await?.stream, 3);
    Ok(())
}

#[tokio::test]
async fn http_2_has_a_bound_on_calls_at_once() -> Result<()> {
    let server = Fresh::start().await?;
    let mut frames = Frames::open(server.address, &[]).await?;
    for number in 0..101 {
        frames.send(Kind::Headers, END_HEADERS, 2 * number + 1, request("PUT", "/kv/a", &[])).await;
    }
    let refused = frames.next(Kind::Reset).await?;
    assert_eq!((refused.stream, refused.code()), (201, Some(REFUSED_STREAM)));
    // The others go on.
    frames.send(Kind::Data, END_STREAM, 1, *b"abc").await;
    let accepted = frames.next(Kind::Data).await?;
    assert_eq!(accepted.stream, 1);
    assert!(String::from_utf8_lossy(&accepted.payload).contains("accepted"), "{accepted:?}");
    Ok(())
}

#[tokio::test]
async fn http_2_heads_have_the_same_bounds() -> Result<()> {
    let server = Fresh::start().await?;
    let two = Http::http2(server.address);
    let many = (0..101).map(|number| format!("x-{number}")).collect::<Vec<_>>();
    let call = many.iter().fold(two.get("/version"), |call, name| call.header(name, "1"));
    assert_problem(&call.send().await?, (431, "headers-too-large"), "none");
    let answer = two.get(&format!("/kv/{}", "a".repeat(9 * 1024))).send().await?;
    assert_problem(&answer, (414, "uri-too-long"), "none");
    // So long that not even its id can be read: the library says 431, and the connection goes on or is closed.
    let answer = two.get("/version").header("x-long", &"x".repeat(60 * 1024)).send().await;
    ensure!(answer.as_ref().map_or(true, |answer| answer.status == 431), "{answer:?}");
    ensure!(two.get("/version").send().await?.status == 200);
    Ok(())
}

#[tokio::test]
async fn at_the_end_http_2_says_goaway_and_answers_what_is_open() -> Result<()> {
    let server = Fresh::start().await?;
    let (server, dir) = server.apart();
    let mut frames = Frames::open(server.address, &[]).await?;
    let mut idle = Frames::open(server.address, &[]).await?;
    idle.next(Kind::Settings).await?;
    frames.send(Kind::Headers, END_HEADERS, 1, request("PUT", "/kv/a", &[])).await;
    frames.send(Kind::Data, 0, 1, *b"a").await;
    // Its answer says that the call before it is at work.
    frames.send(Kind::Headers, END_STREAM | END_HEADERS, 3, request("GET", "/version", &[])).await;
    assert_eq!(frames.next(Kind::Data).await?.stream, 3);
    let ended = tokio::spawn(server.terminate());
    let told = frames.next(Kind::GoAway).await?;
    assert_eq!(told.code(), Some(0));
    frames.send(Kind::Data, END_STREAM, 1, *b"bc").await;
    let accepted = frames.next(Kind::Data).await?;
    assert!(String::from_utf8_lossy(&accepted.payload).contains("accepted"), "{accepted:?}");
    idle.next(Kind::GoAway).await?;
    frames.rest().await?;
    ended.await??;
    let server = Server::small(dir.path()).await?;
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("abc"));
    Ok(())
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_heard() -> Result<()> {
    let server = Fresh::start().await?;
    let upgrade = [
        ("connection", "upgrade, http2-settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAoAAA"),
    ];
    let call =
        upgrade.iter().fold(server.http.get("/version"), |call, (name, value)| call.header(name, value));
    let answer = call.send().await?;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("upgrade"));
    Ok(())
}
