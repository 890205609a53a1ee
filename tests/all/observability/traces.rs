//! One mutation from HTTP through the log to the flush, as a collector sees it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    collector::{Collector, Span},
    deployment::{Deployment, Options},
    http::Http,
    server::{Server, binary},
};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio::process::Command;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn sampled() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

fn find(spans: &[Span], is: impl Fn(&Span) -> bool) -> Option<&Span> {
    spans.iter().find(|span| is(span))
}

/// The call, the append and the flush of one mutation of the trace.
fn chain(spans: &[Span]) -> Option<[Span; 3]> {
    let call = find(spans, |span| span.trace == TRACE && span.kind == 2)?;
    let append = find(spans, |span| span.parent == call.id)?;
    let link = (append.trace.clone(), append.id.clone());
    let flush = find(spans, |span| span.name == "flush" && span.links.contains(&link))?;
    let parts = spans.iter().filter(|span| span.parent == flush.id).count();
    (parts == 5).then(|| [call, append, flush].map(Clone::clone))
}

async fn put(api: &Http, path: &str, traceparent: &str) -> Result<()> {
    let call =
        api.put(path, "secret-value").header("traceparent", traceparent).header("X-Request-Id", "mine");
    let put = call.header("Prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    Ok(())
}

async fn one_mutation_is_followed(
    api: &Http,
    collector: &Collector,
    [of_api, of_writer]: [&str; 2],
) -> Result<()> {
    put(api, "/kv/secret-unsampled", UNSAMPLED).await?;
    put(api, "/kv/secret-key", &sampled()).await?;
    let [call, append, flush] = collector.until("a call, its append and its flush", chain).await?;
    assert_eq!((call.name.as_str(), call.parent.as_str()), ("PUT /kv/{key}", CALLER));
    let of = |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!(of(&call, "http.response.status_code"), "200");
    assert_eq!(of(&call, "millpond.request_id"), "mine");
    assert_eq!((append.name.as_str(), append.kind, append.trace.as_str()), ("append", 4, TRACE));
    assert!(call.start <= append.start && append.end <= call.end, "{call:?} {append:?}");
    assert_ne!(flush.trace, TRACE, "a flush belongs to many traces, so to none");
    assert_eq!((flush.kind, flush.parent.as_str()), (5, ""));
    assert!(of(&flush, "messaging.batch.message_count").parse::<u32>()? >= 1);
    assert_eq!([call.service.as_str(), append.service.as_str()], [of_api; 2]);
    assert_eq!(flush.service, of_writer);
    let spans = collector.spans();
    let mut parts: Vec<&Span> = spans.iter().filter(|span| span.parent == flush.id).collect();
    parts.sort_by_key(|span| (span.start, span.end));
    let names: Vec<&str> = parts.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["read", "fold", "apply", "commit", "publish"]);
    assert!(parts.iter().all(|part| flush.start <= part.start && part.end <= flush.end), "{parts:?}");
    // It was written before: what was not sampled has had its time to come.
    let told = format!("{spans:?}");
    assert!(!told.contains("0af7651916cd43dd8448eb211c80319c"), "{told}");
    assert!(!told.contains("secret"), "no span is made of what a client sent: {told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_is_followed_from_http_to_its_flush_in_one_process() -> Result<()> {
    let collector = Collector::start().await?;
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(binary());
    command.envs(collector.environment());
    let server = Server::start_with(dir.path(), command, &[]).await?;
    one_mutation_is_followed(&server.http, &collector, ["millpond-all"; 2]).await?;

    // A batch is one append, linked once.
    let lines = (0..100).map(|n| format!("{{\"op\":\"put\",\"key\":\"k{n}\",\"value\":\"v\"}}\n"));
    let call = server.http.post("/batch", "application/x-ndjson", lines.collect::<String>());
    let batch = call.header("traceparent", &sampled()).header("Prefer", "wait=30").send().await?;
    ensure!(batch.status.is_success(), "{batch:?}");
    let counted = |spans: &[Span]| {
        let append = find(spans, |span| {
            span.attributes.get("messaging.batch.message_count").is_some_and(|count| count == "100")
                && span.name == "append"
        })?;
        let link = (append.trace.clone(), append.id.clone());
        let flush = find(spans, |span| span.links.contains(&link))?;
        Some(flush.links.iter().filter(|there| **there == link).count())
    };
    assert!(collector.until("the batch's flush", counted).await? >= 1);
    server.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_is_followed_through_kafka_to_the_flush_of_another_process() -> Result<()> {
    let collector = Collector::start().await?;
    let options = Options { environment: collector.environment(), ..Options::default() };
    let deployment = Deployment::start(&options).await?;
    one_mutation_is_followed(deployment.api(0), &collector, ["millpond-api", "millpond-writer"]).await?;

    // The header of a native producer, in the plain form.
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", deployment.kafka())
        .set("partitioner", "murmur2_random")
        .create()?;
    let native = "00-11111111111111111111111111111111-2222222222222222-01";
    let header = Header { key: "traceparent", value: Some(native) };
    let topic = deployment.topic();
    let record = BaseRecord::to(&topic).key("default/native").payload("x");
    let record = record.headers(OwnedHeaders::new().insert(header));
    producer.send(record).map_err(|(error, _)| error).context("send a record")?;
    tokio::task::block_in_place(|| producer.flush(Duration::from_secs(30)))?;
    let link = ("1".repeat(32), "2".repeat(16));
    let linked =
        |spans: &[Span]| find(spans, |span| span.links.contains(&link)).map(|span| span.name.clone());
    assert_eq!(collector.until("a flush linked to the native record", linked).await?, "flush");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_harms_nothing_and_what_it_missed_is_counted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(binary());
    // Nobody can listen there.
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    command.env("OTEL_BSP_SCHEDULE_DELAY", "0").env("OTEL_BSP_MAX_QUEUE_SIZE", "1");
    let server = Server::start_with(dir.path(), command, &[]).await?;
    for n in 0..20 {
        put(&server.http, &format!("/kv/k{n}"), &sampled()).await?;
    }
    let text = server.ops.get("/metrics").send().await?.text();
    let dropped =
        text.lines().find_map(|line| line.strip_prefix("millpond_trace_spans_total{result=\"dropped\"} "));
    assert!(dropped.context("spans are counted")?.parse::<u64>()? > 0, "{text}");
    server.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_callers_trace_is_carried_on_by_the_record_alone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::small(dir.path()).await?;
    put(&server.http, "/kv/a", &sampled()).await?;
    put(&server.http, "/kv/b", UNSAMPLED).await?;
    server.terminate().await?;
    let mut log = String::new();
    for entry in std::fs::read_dir(dir.path().join("log/mutations.1"))? {
        log.push_str(&String::from_utf8_lossy(&std::fs::read(entry?.path())?));
    }
    assert_eq!(log.matches("traceparent").count(), 1);
    assert!(log.contains(&sampled()), "unchanged");
    Ok(())
}
