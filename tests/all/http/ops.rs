//! The ops listener: probes, metrics, lag.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use millpond_tests::server::Fresh;
use serde_json::json;

use super::{assert_problem, offset, partition, put};

#[tokio::test]
async fn probes_answer_and_readiness_lists_every_check() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "x").await?;
    let live = server.ops.get("/livez").send().await?;
    assert_eq!((live.status.as_u16(), live.text().as_str()), (200, "ok\n"));
    assert_eq!(server.ops.get("/readyz").send().await?.text(), "ok\n");
    let verbose = server.ops.get("/readyz?verbose").send().await?;
    assert_eq!(verbose.status, 200);
    let text = verbose.text();
    for check in ["[+]serving ok", "[+]log ok", "[+]partition 0 ok", "[+]partition 7 ok"] {
        assert!(text.lines().any(|line| line == check), "{check} is not in {text}");
    }
    assert!(text.ends_with("\nok\n"));
    assert_problem(&server.ops.get("/readyz?loud").send().await?, (400, "unknown-field"), "none");
    assert_problem(&server.ops.get("/nothing").send().await?, (404, "route-unknown"), "none");
    assert_problem(&server.ops.put("/livez", "").send().await?, (405, "method-not-allowed"), "none");
    assert_problem(&server.http.get("/metrics").send().await?, (404, "route-unknown"), "none");
    Ok(())
}

#[tokio::test]
async fn lag_is_told_for_every_partition_in_records_and_seconds() -> Result<()> {
    let server = Fresh::start().await?;
    let position = put(&server.http, "/kv/a", "x").await?;
    let answer = server.ops.get("/admin/lag").send().await?;
    let lag = answer.json();
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert_eq!(lag["partitions"].as_array().map(Vec::len), Some(8));
    let index: usize = partition(&position).parse()?;
    let mut of_key = lag["partitions"][index].clone();
    assert!(of_key["shard"].take().as_str().is_some_and(|shard| shard.starts_with("shard-")));
    let applied = offset(&position);
    assert_eq!(
        of_key,
        json!({
            "partition": index, "shard": null, "log_start": 0, "log_end": applied + 1, "applied": applied,
            "lag_records": 0, "lag_seconds": 0.0,
        })
    );
    Ok(())
}

/// The metric families of an exposition: name to type, after checking every line's grammar.
fn families(text: &str) -> BTreeMap<String, String> {
    let body = text.strip_suffix("# EOF\n").expect("OpenMetrics ends in # EOF");
    let (mut families, mut helped, mut samples) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut current = String::new();
    for line in body.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, kind] => {
                let before = families.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{name} is declared twice");
                name.clone_into(&mut current);
            }
            ["#", "HELP", name, help] => {
                assert!(help.len() > 3, "{line}");
                assert!(helped.insert(name.to_owned()), "{name} is helped twice");
            }
            ["#", "UNIT", name, unit] => assert!(name.ends_with(&format!("_{unit}")), "{line}"),
            _ => {
                let (series, number) = line.rsplit_once(' ').expect("a sample has a value");
                assert!(number.parse::<f64>().is_ok(), "{line}");
                assert!(series.starts_with(&current), "{line} stands under {current}");
                assert!(samples.insert(series.to_owned()), "{series} comes twice");
            }
        }
    }
    assert!(families.keys().all(|name| helped.contains(name)), "every metric has its help");
    families
}

#[tokio::test]
async fn metrics_are_open_metrics_with_plain_names_and_few_labels() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "x").await?;
    server.http.get("/kv/secret-key?consistency=strong").send().await?;
    server.http.get("/nothing/secret-path").send().await?;
    let answer = server.ops.get("/metrics").send().await?;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let text = answer.text();
    let families = families(&text);
    for (name, kind) in &families {
        assert!(name.starts_with("millpond_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert!(!name.ends_with("_total"), "{name}: the suffix belongs to its samples");
        assert!(!name.contains("_ms") && !name.contains("milli"), "{name}: base units only");
        if kind == "counter" {
            assert!(
                text.contains(&format!("\n{name}_total")) || !text.contains(&format!("\n{name}{{")),
                "{name}"
            );
        }
    }
    for (name, kind) in [
        ("millpond_build", "info"),
        ("millpond_api_requests", "counter"),
        ("millpond_api_request_duration_seconds", "histogram"),
        ("millpond_api_connections", "gauge"),
        ("millpond_api_waiters", "gauge"),
        ("millpond_api_mutations_bytes", "counter"),
        ("millpond_writer_flushes", "counter"),
        ("millpond_writer_flush_stage_seconds", "counter"),
        ("millpond_partition_lag_records", "gauge"),
    ] {
        assert_eq!(families.get(name).map(String::as_str), Some(kind), "{name}");
    }
    assert!(!text.contains("secret"), "no series is made of what a client sent");
    assert!(
        text.contains("route=\"/kv/{key}\",status=\"404\"") && text.contains("route=\"other\""),
        "{text}"
    );
    assert!(text.contains("millpond_partition_lag_records{partition=\"7\"} 0"), "{text}");
    Ok(())
}
