//! GET, HEAD, /meta and /version: headers, conditions, formats.

use anyhow::Result;
use millpond_tests::server::Fresh;
use serde_json::{Value, json};

use super::{assert_problem, offset, partition, put};

#[tokio::test]
async fn a_get_tells_version_time_position_and_staleness() -> Result<()> {
    let server = Fresh::start().await?;
    let position = put(&server.http, "/kv/a?ttl=15m", "hello").await?;
    let read = server.http.get("/kv/a").send().await?;
    assert_eq!((read.status.as_u16(), read.text().as_str()), (200, "hello"));
    assert_eq!(read.header("etag"), format!("\"{position}\""));
    assert!(read.header("last-modified").ends_with(" GMT"), "{read:?}");
    assert_eq!(partition(read.header("kv-position")), partition(&position));
    assert!(offset(read.header("kv-position")) >= offset(&position), "never below the ETag");
    assert_eq!(read.number("kv-staleness-ms")?, 0, "the watermark is at the log's end");
    assert!(read.header("kv-expires-at").ends_with('Z'), "{read:?}");
    assert_eq!(read.header("x-content-type-options"), "nosniff");
    Ok(())
}

#[tokio::test]
async fn head_is_get_without_the_body() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "hello").await?;
    for path in ["/kv/a", "/meta/a", "/ttl/a", "/version", "/kv/absent"] {
        let get = server.http.get(path).send().await?;
        let head = server.http.call(http::Method::HEAD, path).send().await?;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["etag", "last-modified", "kv-position", "content-type"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{path} {name}");
        }
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_has_the_version_gets_304() -> Result<()> {
    let server = Fresh::start().await?;
    let position = put(&server.http, "/kv/a", "hello").await?;
    let etag = format!("\"{position}\"");
    for hit in [etag.clone(), format!("W/{etag}"), "*".to_owned(), format!("\"x\", {etag}, \"y\"")] {
        for path in ["/kv/a", "/meta/a", "/ttl/a"] {
            let answer = server.http.get(path).header("if-none-match", &hit).send().await?;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{path} {hit}");
            assert_eq!(answer.header("etag"), etag);
            assert!(!answer.header("kv-position").is_empty());
        }
    }
    for miss in ["\"1-0-0\"", "W/\"x\""] {
        assert_eq!(
            server.http.get("/kv/a").header("if-none-match", miss).send().await?.status,
            200,
            "{miss}"
        );
    }
    for bad in ["1-0-0", "\"open"] {
        let answer = server.http.get("/kv/a").header("if-none-match", bad).send().await?;
        assert_problem(&answer, (400, "condition-invalid"), "none");
    }
    assert_eq!(server.http.get("/kv/no").header("if-none-match", "*").send().await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_miss_names_the_state_that_was_read() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "x").await?;
    let gone = server.http.delete("/kv/a").header("prefer", "wait=5").send().await?;
    for path in ["/kv/a", "/meta/a", "/ttl/a"] {
        let answer = server.http.get(path).send().await?;
        assert_problem(&answer, (404, "not-found"), "none");
        assert_eq!(answer.header("kv-position"), gone.header("kv-position"), "{path}");
        assert_eq!(answer.number("kv-staleness-ms")?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn meta_tells_everything_but_the_value() -> Result<()> {
    let server = Fresh::start().await?;
    let call =
        server.http.put("/kv/a", "hello").header("content-type", "text/plain").header("prefer", "wait=5");
    let position = call.send().await?.header("kv-position").to_owned();
    let answer = server.http.get("/meta/a").send().await?;
    let mut meta = answer.json();
    let (created, updated) = (meta["created_at"].take(), meta["updated_at"].take());
    assert_eq!(created, updated);
    let created = created.as_str().unwrap_or_default().to_owned();
    assert!(created.len() == 24 && created.ends_with('Z'), "RFC 3339, UTC, milliseconds: {created}");
    let shard = meta["shard"].take();
    assert!(shard.as_str().is_some_and(|shard| shard.starts_with("shard-")), "{shard}");
    let partition: u32 = partition(&position).parse()?;
    assert_eq!(
        meta,
        json!({
            "size": 5, "content_type": "text/plain", "version": position, "created_at": null,
            "updated_at": null, "expires_at": null, "partition": partition, "shard": null,
        })
    );
    assert_eq!(answer.header("etag"), format!("\"{position}\""));
    assert_eq!(answer.header("content-type"), "application/json");
    Ok(())
}

#[tokio::test]
async fn the_version_names_build_and_limits() -> Result<()> {
    let server = Fresh::start().await?;
    let answer = server.http.get("/version").send().await?;
    assert_eq!(
        answer.json(),
        json!({"version": env!("CARGO_PKG_VERSION"), "limits": {
            "key_bytes_max": 1024, "value_bytes_max": 524_288, "batch_operations_max": 10_000,
            "batch_bytes_max": 16_777_216, "page_rows_max": 1000,
        }})
    );
    Ok(())
}

#[tokio::test]
async fn accept_matters_only_where_the_format_is_ours() -> Result<()> {
    let server = Fresh::start().await?;
    let position = put(&server.http, "/kv/a", "hello").await?;
    let html = ("accept", "text/html");
    let read = server.http.get("/kv/a").header(html.0, html.1).send().await?;
    assert_eq!((read.status.as_u16(), read.text().as_str()), (200, "hello"));
    assert_eq!(server.http.put("/kv/a", "x").header(html.0, html.1).send().await?.status, 202);
    for path in ["/meta/a", "/ttl/a", "/version", &format!("/mutations/{position}")] {
        let answer = server.http.get(path).header(html.0, html.1).send().await?;
        assert_problem(&answer, (406, "not-acceptable"), "none");
        let any = server.http.get(path).header("accept", "text/html, */*;q=0.1").send().await?;
        assert_eq!(any.status, 200, "{path}");
    }
    let batch = server.http.post("/batch", super::NDJSON, "{\"op\":\"delete\",\"key\":\"a\"}");
    assert_eq!(batch.header(html.0, html.1).send().await?.code(), "not-acceptable");
    let ttl = server.http.put("/ttl/a", "{\"ttl\":\"1h\"}").header(html.0, html.1).send().await?;
    assert_eq!(ttl.code(), "not-acceptable");
    Ok(())
}

#[tokio::test]
async fn a_sane_request_id_is_on_every_answer_and_any_other_is_replaced() -> Result<()> {
    let server = Fresh::start().await?;
    for (path, status) in [("/kv/none", 404), ("/version", 200), ("/nothing", 404), ("/kv/%", 400)] {
        let answer = server.http.get(path).header("x-request-id", "req-7.A:b/c=").send().await?;
        assert_eq!((answer.status.as_u16(), answer.header("x-request-id")), (status, "req-7.A:b/c="));
        if status != 200 {
            assert_eq!(answer.json()["request_id"], "req-7.A:b/c=");
        }
    }
    for insane in ["", "a b", "<b>", &"x".repeat(200)] {
        let answer = server.http.get("/kv/none").header("x-request-id", insane).send().await?;
        assert_ne!(answer.header("x-request-id"), insane);
        assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
    }
    let silent = server.http.get("/version").send().await?;
    assert_ne!(json!(silent.header("x-request-id")), Value::from(""));
    Ok(())
}
