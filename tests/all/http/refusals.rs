//! What is refused before the log, and how: sizes, encodings, parameters, methods, tenants.

use anyhow::Result;
use millpond_tests::{
    server::Fresh,
    wire::{Wire, request},
};

use super::{MERGE, NDJSON, assert_problem, offset, put};

const LIMIT: usize = 512 * 1024;

#[tokio::test]
async fn a_value_over_the_limit_is_413_with_the_limit_and_its_bytes_are_not_waited_for() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    let answer = server.http.put("/kv/a", vec![0; LIMIT + 1]).send().await?;
    assert_problem(&answer, (413, "value-too-large"), "refused");
    assert_eq!(answer.json()["limit"], LIMIT);
    // Only the head is sent: the length is enough.
    let mut wire = Wire::open(server.address).await?;
    wire.send(format!("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ncontent-length: {}\r\n\r\n", LIMIT + 1)).await;
    let answer = wire.receive().await?.expect("it is answered");
    assert_eq!((answer.status, answer.code().as_str()), (413, "value-too-large"));
    // In chunks, and never ended: the byte that crosses the limit is enough.
    let mut wire = Wire::open(server.address).await?;
    wire.send("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ntransfer-encoding: chunked\r\n\r\n").await;
    wire.send(format!("{:x}\r\n{}\r\n", LIMIT, "x".repeat(LIMIT))).await;
    wire.send("1\r\ny\r\n").await;
    let answer = wire.receive().await?.expect("it is answered");
    assert_eq!((answer.status, answer.code().as_str()), (413, "value-too-large"));
    assert_eq!(offset(&put(&server.http, "/kv/a", "2").await?), offset(&before) + 1);
    Ok(())
}

#[tokio::test]
async fn a_part_of_a_value_never_replaces_the_whole_of_it() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "whole").await?;
    let part = server.http.put("/kv/a", "p").header("content-range", "bytes 0-0/5").send().await?;
    assert_problem(&part, (400, "body-invalid"), "refused");
    assert_eq!(server.http.get("/kv/a").send().await?.text(), "whole");
    Ok(())
}

#[tokio::test]
async fn a_body_in_chunks_is_a_body() -> Result<()> {
    let server = Fresh::start().await?;
    let mut wire = Wire::open(server.address).await?;
    wire.send("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(wire.receive().await?.expect("it is answered").status, 202);
    assert_eq!(server.http.get("/kv/a").send().await?.text(), "abcde");
    Ok(())
}

#[tokio::test]
async fn an_unknown_content_encoding_is_415_on_every_body() -> Result<()> {
    let server = Fresh::start().await?;
    for encoding in ["br", "compress", "x", "gzip, gzip"] {
        for call in [
            server.http.put("/kv/a", "x"),
            server.http.patch("/kv/a", MERGE, "{}"),
            server.http.post("/batch", NDJSON, r#"{"op":"delete","key":"a"}"#),
            server.http.put("/ttl/a", r#"{"ttl":"1h"}"#),
        ] {
            let answer = call.header("content-encoding", encoding).send().await?;
            assert_problem(&answer, (415, "encoding-unsupported"), "refused");
        }
    }
    let identity = server.http.put("/kv/a", "x").header("content-encoding", "identity").send().await?;
    assert_eq!(identity.status, 202);
    Ok(())
}

#[tokio::test]
async fn unknown_parameters_and_repeated_ones_are_refused() -> Result<()> {
    let server = Fresh::start().await?;
    for (method, path, outcome) in [
        ("PUT", "/kv/a?tll=5", "refused"),
        ("PUT", "/kv/a?ttl=5&ttl=5", "refused"),
        ("PUT", "/kv/a?consistency=strong", "refused"),
        ("DELETE", "/kv/a?ttl=5", "refused"),
        ("PUT", "/ttl/a?ttl=5", "refused"),
        ("POST", "/batch?wait=5", "refused"),
        ("GET", "/kv/a?limit=1", "none"),
        ("GET", "/meta/a?x", "none"),
        ("GET", "/version?x=1", "none"),
    ] {
        let call = server.http.call(method.parse()?, path).header("content-type", NDJSON).body("{}");
        assert_problem(&call.send().await?, (400, "unknown-field"), outcome);
    }
    Ok(())
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_405_with_those_that_it_does() -> Result<()> {
    let server = Fresh::start().await?;
    for (method, path, allowed) in [
        ("TRACE", "/kv/a", "GET,HEAD,PUT,DELETE,PATCH"),
        ("BREW", "/kv/a", "GET,HEAD,PUT,DELETE,PATCH"),
        ("POST", "/kv/a", "GET,HEAD,PUT,DELETE,PATCH"),
        ("PUT", "/batch", "POST"),
        ("GET", "/batch", "POST"),
        ("DELETE", "/meta/a", "GET,HEAD"),
        ("POST", "/ttl/a", "GET,HEAD,PUT,DELETE"),
        ("PUT", "/mutations/1-0-1", "GET,HEAD"),
        ("PUT", "/version", "GET,HEAD"),
    ] {
        let answer = server.http.call(method.parse()?, path).send().await?;
        assert_problem(&answer, (405, "method-not-allowed"), "none");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
    for path in ["/", "/nothing", "/kvx/a", "/batch/"] {
        let answer = server.http.put(path, "x").send().await?;
        assert_problem(&answer, (404, "route-unknown"), "none");
    }
    Ok(())
}

#[tokio::test]
async fn a_tenant_with_a_bad_name_is_refused() -> Result<()> {
    let server = Fresh::start().await?;
    for bad in ["", "A", "-a", "a.b", "a/b", &"a".repeat(64)] {
        let answer = server.http.put("/kv/a", "x").header("kv-tenant", bad).send().await?;
        assert_problem(&answer, (400, "tenant-invalid"), "refused");
        let answer = server.http.get("/kv/a").header("kv-tenant", bad).send().await?;
        assert_problem(&answer, (400, "tenant-invalid"), "none");
    }
    let longest = "a".repeat(63);
    assert_eq!(server.http.put("/kv/a", "x").header("kv-tenant", &longest).send().await?.status, 202);
    Ok(())
}

#[tokio::test]
async fn a_content_type_that_no_row_could_carry_is_refused() -> Result<()> {
    let server = Fresh::start().await?;
    let long = format!("text/{}", "x".repeat(251));
    let answer = server.http.put("/kv/a", "x").header("content-type", &long).send().await?;
    assert_problem(&answer, (400, "content-type-invalid"), "refused");
    let mut wire = Wire::open(server.address).await?;
    let twice = "PUT /kv/a HTTP/1.1\r\nhost: pond\r\ncontent-type: a/b\r\ncontent-type: a/b\r\ncontent-length: 0\r\n\r\n";
    wire.send(twice).await;
    assert_eq!(wire.receive().await?.expect("it is answered").code(), "content-type-invalid");
    // A header may hold a tab; what the log took it would never apply.
    let answer =
        server.http.put("/kv/a", "x").header("content-type", "text/plain;\tcharset=utf-8").send().await?;
    assert_problem(&answer, (400, "content-type-invalid"), "refused");
    let longest = &long[..255];
    assert_eq!(server.http.put("/kv/a", "x").header("content-type", longest).send().await?.status, 202);
    assert_eq!(server.http.get("/kv/a").send().await?.header("content-type"), longest);
    Ok(())
}

#[tokio::test]
async fn no_byte_of_a_user_comes_back_in_a_problem() -> Result<()> {
    let server = Fresh::start().await?;
    let mut wire = Wire::open(server.address).await?;
    for line in [
        "PUT /kv/LEAKED%",
        "PUT /kv/a?LEAKED=1",
        "PUT /kv/a?ttl=LEAKED",
        "GET /kv/LEAKED",
        "GET /kv/a?consistency=LEAKED",
        "GET /mutations/LEAKED",
        "GET /LEAKED",
        "LEAKED /kv/a",
        "PUT /kv/a HTTP/1.1\r\nkv-tenant: LEAKED\r\nx-rest:",
        "PUT /kv/a HTTP/1.1\r\nif-match: LEAKED\r\nx-rest:",
        "PUT /kv/a HTTP/1.1\r\nkv-expires-at: LEAKED\r\nx-rest:",
        "PATCH /kv/a HTTP/1.1\r\ncontent-type: LEAKED\r\nx-rest:",
        "PATCH /kv/a HTTP/1.1\r\ncontent-type: application/merge-patch+json\r\nx-rest:",
        "PUT /ttl/a",
        "GET /kv/a HTTP/1.1\r\nkv-min-position: LEAKED\r\nx-rest:",
    ] {
        // But for names of members: a pointer into a body cannot do without them.
        wire.send(request(line, "{\"a\":LEAKED}")).await;
        let answer = wire.receive().await?.expect("the connection stays open");
        assert!(answer.status >= 400, "{line}: {answer:?}");
        let shown = answer.head.clone() + &String::from_utf8_lossy(&answer.body);
        assert!(!shown.to_ascii_uppercase().contains("LEAKED"), "{line}: {shown}");
    }
    Ok(())
}
