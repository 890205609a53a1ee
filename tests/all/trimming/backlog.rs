//! The budget of what waits to be applied, in one process without a writer until it is started.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use millpond::embedded::Options;
use millpond_api::{Api, Config, Shown};
use millpond_tests::{http::Http, pond::Pond};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);
const BUDGET: u64 = 2 << 20;
const VALUE_BYTES: usize = 64 << 10;

/// Calls until it is answered so; how often it was not.
async fn until(http: &Http, path: &str, wanted: (u16, &str)) -> Result<usize> {
    let (status, code) = wanted;
    let reached = async {
        for before in 0.. {
            let answer = http.put(path, vec![b'v'; VALUE_BYTES]).send().await?;
            if answer.status == status && (code.is_empty() || answer.code() == code) {
                return Ok(before);
            }
        }
        unreachable!("it never ends")
    };
    tokio::time::timeout(PATIENCE, reached).await.context("it is never answered so")?
}

#[expect(clippy::too_many_lines, reason = "one story: full, refused, applied, accepted again")]
#[tokio::test(flavor = "multi_thread")]
async fn writes_stop_before_more_waits_than_may_and_go_on_when_it_is_applied() -> Result<()> {
    let dir = TempDir::new()?;
    let pond =
        Pond::open(&Options { partitions: 2, segment_bytes: 1 << 20, ..Options::new(dir.path()) }).await?;
    let first = pond.writer(millpond_writer::Config::default());
    let config = Config { backlog_bytes_max: Some(BUDGET), free_bytes_min: 0, ..Config::default() };
    let mut registry = Registry::default();
    let api = Api::start(config, pond.embedded.api().await?, &mut registry);
    let (serving, stop) = (api.clone(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let (listener, ops) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let (http, ops_http) = (Http::new(listener.local_addr()?), Http::new(ops.local_addr()?));
    let end = stop.clone();
    tasks.spawn(async move { serving.serve(listener, end).await });
    let (serving, end, shown) = (api.clone(), stop.clone(), Shown::new("api", Vec::new(), registry));
    tasks.spawn(async move { serving.serve_ops(ops, shown, end).await });
    assert_eq!(http.put("/kv/kept", "here").header("prefer", "wait=30").send().await?.status, 200);

    // Nobody applies.
    first.stop().await;
    let full = async || {
        let mut accepted = 0;
        loop {
            // What was sent since the last look may be refused a moment before the look says so.
            accepted += until(&http, "/kv/a", (503, "backlog-full")).await?;
            let ready = ops_http.get("/readyz?verbose").send().await?;
            anyhow::ensure!(ready.status == 200, "reads go on, so it is ready");
            if ready.text().contains("[~]backlog degraded: backlog-full: ") {
                return Ok(accepted);
            }
        }
    };
    let accepted =
        tokio::time::timeout(PATIENCE, full()).await.context("it never says that it is full")??;
    let waiting = (accepted * VALUE_BYTES) as u64;
    assert!((BUDGET * 7 / 10..=BUDGET).contains(&waiting), "{waiting} bytes were taken");
    let refused = http.put("/kv/a", "one more").send().await?;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "backlog-full"));
    assert_eq!(refused.json()["outcome"], "not-accepted");
    assert_eq!(refused.json()["retryable"], true);
    assert_eq!(refused.header("retry-after"), "1");
    for call in [
        http.call(Method::DELETE, "/kv/a"),
        http.post("/batch", "application/x-ndjson", "{\"op\":\"put\",\"key\":\"b\",\"value\":\"v\"}\n"),
        http.call(Method::DELETE, "/ttl/a"),
    ] {
        let answer = call.send().await?;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("backlog-full"), "{}", answer.text());
    }
    assert_eq!(http.get("/kv/kept").send().await?.text(), "here", "reads go on");
    let metrics = ops_http.get("/metrics").send().await?.text();
    assert!(metrics.contains("\nmillpond_backlog_full 1\n"), "{metrics}");
    assert!(metrics.contains(&format!("\nmillpond_backlog_max_bytes {BUDGET}\n")), "{metrics}");

    let second = pond.writer(millpond_writer::Config::default());
    until(&http, "/kv/a", (202, "")).await?;
    pond.drained().await?;
    let last = http.get("/kv/a?consistency=strong").send().await?;
    assert_eq!((last.status.as_u16(), last.body.len()), (200, VALUE_BYTES));
    assert_eq!(http.get("/kv/b").send().await?.status, 404, "what was not accepted is not there");
    second.stop().await;
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    api.stop().await;
    pond.close().await;
    Ok(())
}
