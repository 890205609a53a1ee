//! `Content-Encoding` of requests: what is stored, judged and counted is what a body decodes to.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, write::GzEncoder};
use millpond_tests::{
    http::{Answer, Call},
    server::Fresh,
    wire::Wire,
};
use serde_json::json;

use super::{MERGE, NDJSON, OWN, assert_problem, offset, put, value};

const LIMIT: usize = 512 * 1024;
const BATCH_LIMIT: usize = 16 * 1024 * 1024;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut wire = vec![0; zstd_safe::compress_bound(bytes.len())];
    let written = zstd_safe::compress(wire.as_mut_slice(), bytes, 3).expect("it has room");
    wire.truncate(written);
    wire
}

/// A body in both encodings.
fn both(bytes: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    [("gzip", gzip(bytes)), ("zstd", zstd(bytes))]
}

async fn encoded(call: Call<'_>, (name, body): (&str, Vec<u8>)) -> Result<Answer> {
    call.header("content-encoding", name).header("prefer", "wait=30").body(body).send().await
}

#[tokio::test]
async fn the_decoded_bytes_are_the_value() -> Result<()> {
    let server = Fresh::start().await?;
    let every: Vec<u8> = (0..=255_u8).cycle().take(100_000).collect();
    for bytes in [Vec::new(), b"small".to_vec(), every, gzip(b"wrapped twice"), vec![0; LIMIT]] {
        for wire in both(&bytes) {
            let answer = encoded(server.http.put("/kv/a", ""), wire).await?;
            assert_eq!(answer.status, 200, "{answer:?}");
            let read = server.http.get("/kv/a").send().await?;
            assert_eq!(read.body, bytes);
            assert!(!read.headers.contains_key("content-encoding"));
        }
    }
    let meta = server.http.get("/meta/a").send().await?.json();
    assert_eq!(meta["size"], LIMIT);
    Ok(())
}

#[tokio::test]
async fn every_body_may_be_encoded() -> Result<()> {
    let server = Fresh::start().await?;
    for name in ["gzip", "zstd"] {
        let wrap = |text: &str| {
            if name == "gzip" { (name, gzip(text.as_bytes())) } else { (name, zstd(text.as_bytes())) }
        };
        put(&server.http, "/kv/a", "{}").await?;
        let patched = encoded(server.http.patch("/kv/a", MERGE, ""), wrap(r#"{"n":1}"#)).await?;
        assert_eq!((patched.status.as_u16(), patched.text().as_str()), (200, r#"{"n":1}"#));
        let own = encoded(server.http.patch(&format!("/kv/{name}"), OWN, ""), wrap(r#"{"op":"increment"}"#))
            .await?;
        assert_eq!(own.text(), "1");
        let ttl = encoded(server.http.put("/ttl/a", ""), wrap(r#"{"ttl":"1h"}"#)).await?;
        assert_eq!((ttl.status.as_u16(), &ttl.json()["changed"]), (200, &json!(true)));
        let line = r#"{"op":"put","key":"b","value":"line"}"#;
        for (form, text) in [(NDJSON, line.to_owned()), ("application/json", format!("[{line}]"))] {
            let batch = encoded(server.http.post("/batch", form, ""), wrap(&text)).await?;
            assert_eq!((batch.status.as_u16(), &batch.json()["accepted"]), (200, &json!(1)), "{batch:?}");
        }
        let query = server.http.post("/kv/query", "application/json", "").header("cache-control", "no-cache");
        let query =
            query.header("content-encoding", name).body(wrap(r#"{"keys":["b","none"]}"#).1).send().await?;
        assert_eq!(
            (query.status.as_u16(), &query.json()["items"][0]["value"]),
            (200, &json!("line")),
            "{query:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_encoding_that_is_not_taken_is_415_with_those_that_are_on_every_body() -> Result<()> {
    let server = Fresh::start().await?;
    let line = r#"{"op":"delete","key":"a"}"#;
    for encoding in ["br", "deflate", "", "*", "gzip, gzip", "identity, zstd", "gzip;q=1"] {
        for (call, outcome) in [
            (server.http.put("/kv/a", "x"), "refused"),
            (server.http.patch("/kv/a", MERGE, "{}"), "refused"),
            (server.http.post("/batch", NDJSON, line), "refused"),
            (server.http.post("/batch", "application/json", format!("[{line}]")), "refused"),
            (server.http.put("/ttl/a", r#"{"ttl":"1h"}"#), "refused"),
            (server.http.post("/kv/query", "application/json", r#"{"keys":["a"]}"#), "none"),
        ] {
            let answer = call.header("content-encoding", encoding).send().await?;
            assert_problem(&answer, (415, "encoding-unsupported"), outcome);
            assert_eq!(answer.header("accept-encoding"), "gzip, zstd, identity");
        }
    }
    let twice = server.http.put("/kv/a", gzip(b"x")).header("content-encoding", "gzip");
    let twice = twice.header("content-encoding", "gzip").send().await?;
    assert_problem(&twice, (415, "encoding-unsupported"), "refused");
    Ok(())
}

#[tokio::test]
async fn a_bomb_is_413_with_the_decoded_limit_and_nothing_is_logged() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    for (name, bomb) in both(&vec![b' '; 64 * 1024 * 1024]) {
        assert!(bomb.len() < LIMIT, "{name}: {}", bomb.len());
        for (call, code, limit) in [
            (server.http.put("/kv/a", ""), "value-too-large", LIMIT),
            (server.http.patch("/kv/a", MERGE, ""), "value-too-large", LIMIT),
            (server.http.post("/batch", NDJSON, ""), "batch-too-large", BATCH_LIMIT),
            (server.http.post("/batch", "application/json", ""), "batch-too-large", BATCH_LIMIT),
            (server.http.put("/ttl/a", ""), "body-too-large", 4096),
        ] {
            let answer = call.header("content-encoding", name).body(bomb.clone()).send().await?;
            assert_problem(&answer, (413, code), "refused");
            assert_eq!(answer.json()["limit"], limit);
        }
    }
    for wire in both(&vec![0; LIMIT + 1]) {
        assert_problem(
            &encoded(server.http.put("/kv/a", ""), wire).await?,
            (413, "value-too-large"),
            "refused",
        );
    }
    assert_eq!(offset(&put(&server.http, "/kv/a", "2").await?), offset(&before) + 1);
    Ok(())
}

#[tokio::test]
async fn a_length_that_no_encoding_of_a_value_has_is_refused_before_a_byte_of_it() -> Result<()> {
    let server = Fresh::start().await?;
    let mut wire = Wire::open(server.address).await?;
    let head = |length| {
        format!(
            "PUT /kv/a HTTP/1.1\r\nhost: pond\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    wire.send(head(2 * LIMIT)).await;
    let answer = wire.receive().await?.expect("it is answered");
    assert_eq!((answer.status, answer.code().as_str()), (413, "value-too-large"));
    Ok(())
}

#[tokio::test]
async fn what_is_cut_corrupt_or_followed_by_more_is_400_and_nothing_is_logged() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    for (name, whole) in both(b"a value that is long enough to be cut somewhere") {
        let other = if name == "gzip" { zstd(b"x") } else { gzip(b"x") };
        let mut flipped = whole.clone();
        flipped[0] ^= 0x40;
        let long = [&whole[..], b"and more"].concat();
        let cut = whole[..whole.len() - 1].to_vec();
        for wire in [Vec::new(), b"plain".to_vec(), cut, long, flipped, other] {
            let answer = encoded(server.http.put("/kv/a", ""), (name, wire)).await?;
            assert_problem(&answer, (400, "body-invalid"), "refused");
        }
    }
    assert_eq!(offset(&put(&server.http, "/kv/a", "2").await?), offset(&before) + 1);
    Ok(())
}

#[tokio::test]
async fn a_window_over_eight_mebibytes_is_refused() -> Result<()> {
    let server = Fresh::start().await?;
    // A frame with a window of 2^(10 + exponent) bytes and one raw block: "ab".
    let windowed =
        |exponent: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3, 0b1_0001, 0, 0][..], b"ab"].concat();
    assert_eq!(encoded(server.http.put("/kv/a", ""), ("zstd", windowed(13))).await?.status, 200);
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("ab"));
    for exponent in [14, 17, 31] {
        let answer = encoded(server.http.put("/kv/a", ""), ("zstd", windowed(exponent))).await?;
        assert_problem(&answer, (400, "body-invalid"), "refused");
    }
    Ok(())
}

#[tokio::test]
async fn a_repeat_is_known_by_its_decoded_body_however_it_is_encoded() -> Result<()> {
    let server = Fresh::start().await?;
    let send = |(name, body): (&str, Vec<u8>)| {
        let call = server.http.put("/kv/a", body).header("content-encoding", name);
        call.header("idempotency-key", "k").header("prefer", "wait=30").send()
    };
    let first = send(("identity", b"value".to_vec())).await?;
    assert_eq!((first.status.as_u16(), first.header("kv-duplicate")), (200, ""));
    for wire in both(b"value") {
        let again = send(wire).await?;
        assert_eq!(
            (again.header("kv-duplicate"), again.header("kv-position")),
            ("true", first.header("kv-position"))
        );
    }
    for wire in both(b"another value") {
        assert_problem(&send(wire).await?, (422, "idempotency-conflict"), "rejected");
    }
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("value"));
    Ok(())
}

#[tokio::test]
async fn an_encoded_body_in_chunks_is_a_body() -> Result<()> {
    let server = Fresh::start().await?;
    for (name, body) in both(&b"in pieces ".repeat(50)) {
        let mut wire = Wire::open(server.address).await?;
        let head = "PUT /kv/a HTTP/1.1\r\nhost: pond\r\ntransfer-encoding: chunked\r\ncontent-encoding: ";
        wire.send(format!("{head}{name}\r\nprefer: wait=30\r\n\r\n")).await;
        for piece in body.chunks(7) {
            wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
        }
        wire.send("0\r\n\r\n").await;
        assert_eq!(wire.receive().await?.expect("it is answered").status, 200);
        assert_eq!(value(&server.http, "/kv/a").await?, Some("in pieces ".repeat(50)));
    }
    Ok(())
}
