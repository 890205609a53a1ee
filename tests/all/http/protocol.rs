//! HTTP itself: heads that cannot be read, hosts, expectations, methods, old clients.

use anyhow::{Context, Result, ensure};
use http::Method;
use millpond_tests::{
    server::Fresh,
    wire::{Raw, Wire, request},
};

use super::{assert_problem, http2::told, put, value};

async fn first(server: &Fresh, bytes: &str) -> Result<Raw> {
    let mut wire = Wire::open(server.address).await?;
    wire.send(bytes).await;
    wire.receive().await?.with_context(|| format!("no answer to {bytes:?}"))
}

/// That an answer on the wire is this problem.
fn is_problem(raw: &Raw, (status, code): (u16, &str)) -> Result<()> {
    ensure!((raw.status, raw.code().as_str()) == (status, code), "{raw:?}");
    let problem: serde_json::Value = serde_json::from_slice(&raw.body)?;
    let id = problem["request_id"].as_str().context("it has an id")?;
    for line in [&format!("x-request-id: {id}\n"), "content-type: application/problem+json\n", "\ndate: "] {
        ensure!(raw.head.contains(line), "{line}: {raw:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_head_that_cannot_be_read_gets_a_problem_with_an_id_and_is_the_last() -> Result<()> {
    let server = Fresh::start().await?;
    let get = "GET /version HTTP/1.1\r\nhost: pond\r\n";
    let many = (0..500).fold(String::new(), |many, number| format!("{many}x-{number}: 1\r\n"));
    let long = "a".repeat(64 * 1024);
    for (bytes, problem) in [
        ("GET /a b HTTP/1.1\r\n\r\n".to_owned(), (400, "request-malformed")),
        ("G\x01T / HTTP/1.1\r\n\r\n".to_owned(), (400, "request-malformed")),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), (400, "request-malformed")),
        (format!("{get}no colon\r\n\r\n"), (400, "request-malformed")),
        (format!("{get}content-length: 1\r\ncontent-length: 2\r\n\r\n"), (400, "request-malformed")),
        (format!("{get}{many}\r\n"), (431, "headers-too-large")),
        (format!("{get}x-long: {long}\r\n\r\n"), (431, "headers-too-large")),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), (414, "uri-too-long")),
    ] {
        for ops in [false, true] {
            let mut wire = Wire::open(if ops { server.ops_address } else { server.address }).await?;
            // Behind an answer, too.
            wire.send(format!("{get}\r\n{bytes}")).await;
            let before = wire.receive().await?.context("the first")?;
            ensure!(before.status == if ops { 404 } else { 200 }, "{before:?}");
            let raw = wire.receive().await?.context("the second")?;
            is_problem(&raw, problem)?;
            ensure!(raw.head.contains("connection: close\n"), "{raw:?}");
            ensure!(wire.receive().await?.is_none(), "it is closed");
        }
        is_problem(&first(&server, &bytes).await?, problem)?;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_value_looks_like_is_never_taken_for_an_answer() -> Result<()> {
    let server = Fresh::start().await?;
    let trap = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    put(&server.http, "/kv/trap", &trap.repeat(5000)).await?;
    let mut wire = Wire::open(server.address).await?;
    wire.send(request("GET /kv/trap", "").repeat(3)).await;
    for _ in 0..3 {
        let answer = wire.receive().await?.context("it is answered")?;
        ensure!(answer.status == 200 && answer.body == trap.repeat(5000).as_bytes());
    }
    Ok(())
}

#[tokio::test]
async fn http_1_1_names_one_host_and_http_1_0_need_not() -> Result<()> {
    let server = Fresh::start().await?;
    for head in ["", "host: a\r\nhost: a\r\n", "host: a b\r\n", "host: user@a\r\n", "host: a/b\r\n"] {
        let raw = first(&server, &format!("GET /version HTTP/1.1\r\n{head}\r\n")).await?;
        is_problem(&raw, (400, "host-invalid"))?;
    }
    let old = first(&server, "GET /version HTTP/1.0\r\n\r\n").await?;
    ensure!(old.status == 200 && !old.head.contains("transfer-encoding"), "{old:?}");
    // The target's host, not the header's, is whom the request is for; both are us.
    let absolute = first(&server, "GET http://other/version HTTP/1.1\r\nhost: pond\r\n\r\n").await?;
    ensure!(absolute.status == 200, "{absolute:?}");
    Ok(())
}

#[tokio::test]
async fn http_1_0_and_connection_close_end_after_the_answer() -> Result<()> {
    let server = Fresh::start().await?;
    for (head, stays) in [
        ("HTTP/1.0\r\n", false),
        ("HTTP/1.0\r\nconnection: keep-alive\r\n", true),
        ("HTTP/1.1\r\nhost: a\r\nconnection: close\r\n", false),
        ("HTTP/1.1\r\nhost: a\r\n", true),
    ] {
        let mut wire = Wire::open(server.address).await?;
        let get = format!("GET /version {head}\r\n");
        wire.send(&get).await;
        ensure!(wire.receive().await?.is_some_and(|answer| answer.status == 200), "{head}");
        wire.send(&get).await;
        ensure!(wire.receive().await?.is_some() == stays, "{head}");
    }
    Ok(())
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_it_is_going_to_be_read() -> Result<()> {
    let server = Fresh::start().await?;
    let head =
        |line: &str, more: &str| format!("{line} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n{more}\r\n");
    let mut wire = Wire::open(server.address).await?;
    wire.send(head("PUT /kv/a", "content-length: 3\r\n")).await;
    ensure!(wire.receive().await?.is_some_and(|answer| answer.status == 100));
    wire.send("abc").await;
    ensure!(wire.receive().await?.is_some_and(|answer| answer.status == 202));
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("abc"));

    let json = "content-type: text/plain\r\ncontent-length: 3\r\n";
    for (line, more, status) in [
        ("PUT /kv/a", "content-length: 600000\r\n", 413),
        ("PUT /kv/a", "content-encoding: br\r\ncontent-length: 3\r\n", 415),
        ("PUT /kv/a", "if-match: W/\"1-0-1\"\r\ncontent-length: 3\r\n", 400),
        ("PATCH /kv/a", json, 415),
        ("POST /batch", json, 415),
        ("PUT /kv/", "content-length: 3\r\n", 400),
        ("PUT /nowhere", "content-length: 3\r\n", 404),
        ("POST /kv/a", "content-length: 3\r\n", 405),
    ] {
        let mut wire = Wire::open(server.address).await?;
        wire.send(head(line, more)).await;
        let answer = wire.receive().await?.context("it is answered")?;
        ensure!(answer.status == status, "{line} {more}: {answer:?}");
        ensure!(answer.head.contains("connection: close"), "the body is still owed: {answer:?}");
        ensure!(wire.receive().await?.is_none(), "{line}");
    }
    let raw =
        first(&server, "PUT /kv/a HTTP/1.1\r\nhost: a\r\nexpect: tea\r\ncontent-length: 1\r\n\r\nx").await?;
    is_problem(&raw, (417, "expectation-failed"))
}

#[tokio::test]
async fn methods_are_told_and_unknown_ones_refused() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "1").await?;
    for (path, allowed) in [
        ("/kv/a", "GET,HEAD,PUT,DELETE,PATCH"),
        ("/meta/a", "GET,HEAD"),
        ("/ttl/a", "GET,HEAD,PUT,DELETE"),
        ("/mutations/1-0-0", "GET,HEAD"),
        ("/batch", "POST"),
        ("/version", "GET,HEAD"),
    ] {
        let options = server.http.call(Method::OPTIONS, path).send().await?;
        ensure!(options.status == 204 && options.header("allow") == allowed, "{path}: {options:?}");
        for method in ["TRACE", "FOO", "get", "COPY"] {
            let answer = server.http.call(method.parse()?, path).send().await?;
            assert_eq!(answer.header("allow"), allowed, "{method} {path}");
            let outcome = if method == "TRACE" {
                "none"
            } else {
                answer.json()["outcome"].as_str().unwrap_or_default().to_owned().leak()
            };
            assert_problem(&answer, (405, "method-not-allowed"), outcome);
        }
    }
    ensure!(first(&server, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await?.status == 204);
    ensure!(first(&server, "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n").await?.status / 100 == 4);
    Ok(())
}

#[tokio::test]
async fn head_is_get_without_its_body() -> Result<()> {
    let server = Fresh::start().await?;
    let position = put(&server.http, "/kv/a", "12345").await?;
    for path in
        ["/kv/a", "/meta/a", "/ttl/a", &format!("/mutations/{position}"), "/version", "/kv/none", "/none"]
    {
        let get = server.http.get(path).send().await?;
        let head = server.http.call(Method::HEAD, path).send().await?;
        ensure!(head.status == get.status && head.body.is_empty(), "{path}: {head:?}");
        for name in ["content-type", "content-length", "etag", "kv-position"] {
            // An id is in the problem's body, whose length says so.
            ensure!(head.header(name) == get.header(name), "{path} {name}: {head:?} {get:?}");
        }
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let head = server.ops.call(Method::HEAD, path).send().await?;
        ensure!(
            head.status == 200 && head.body.is_empty() && !head.header("x-request-id").is_empty(),
            "{head:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_etag_decides_what_changed_and_a_date_never() -> Result<()> {
    let server = Fresh::start().await?;
    let version = put(&server.http, "/kv/a", "1").await?;
    let get = || server.http.get("/kv/a");
    let first = get().send().await?;
    for (etags, status) in [
        (format!("\"{version}\""), 304),
        (format!("W/\"{version}\""), 304),
        (format!("\"other\", W/\"1-0-0\" , \"{version}\""), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
    ] {
        let answer = get().header("if-none-match", &etags).send().await?;
        ensure!(answer.status == status, "{etags}: {answer:?}");
        for name in ["etag", "kv-position", "cache-control", "last-modified"] {
            ensure!(answer.header(name) == first.header(name), "{name}: {answer:?}");
        }
        ensure!(status == 200 || (answer.body.is_empty() && !answer.headers.contains_key("content-length")));
    }
    // Two changes in one second have one date.
    let answer = get().header("if-modified-since", first.header("last-modified")).send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn one_connection_more_than_there_may_be_waits() -> Result<()> {
    let (server, _dir) = told(&[("MILLPOND_API__CONNECTIONS_MAX", "2")]).await?;
    let version = request("GET /version", "");
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::open(server.address).await?;
        wire.send(&version).await;
        ensure!(wire.receive().await?.is_some());
        open.push(wire);
    }
    let mut waiting = Wire::open(server.address).await?;
    waiting.send(&version).await;
    let metrics = server.ops.get("/metrics").send().await?.text();
    ensure!(metrics.contains("\nmillpond_api_connections 2\n"), "{metrics}");
    // The others still have theirs, and then it has its turn.
    open[0].send(&version).await;
    ensure!(open[0].receive().await?.is_some());
    drop(open);
    ensure!(waiting.receive().await?.is_some_and(|answer| answer.status == 200));
    Ok(())
}
