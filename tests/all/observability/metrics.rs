//! `docs/metrics.md` is what the processes tell, and the names follow Prometheus' conventions.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    http::Http,
    roles::Kind,
    server::Fresh,
};

use super::{
    file,
    table::{Families, families, page},
};

const REWRITE: &str = "MILLPOND_TEST_REWRITE_DOCS";

/// One call of each kind that a label tells apart.
async fn use_it(api: &Http) -> Result<()> {
    let put = api.put("/kv/a", "x").header("Prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    let get = api.get("/kv/a").send().await?;
    ensure!(get.status == 200, "{get:?}");
    let missing = api.get("/kv/b").send().await?;
    ensure!(missing.status == 404, "{missing:?}");
    Ok(())
}

async fn told(ops: &Http) -> Result<Families> {
    let answer = ops.get("/metrics").send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(families(&answer.text()))
}

#[tokio::test(flavor = "multi_thread")]
async fn docs_metrics_md_is_what_every_role_tells() -> Result<()> {
    let deployment = Deployment::start(&Options { sweepers: 1, ..Options::default() }).await?;
    use_it(deployment.api(0)).await?;
    let mut roles = BTreeMap::new();
    for (name, kind) in [("api", Kind::Api), ("writer", Kind::Writer), ("sweeper", Kind::Sweeper)] {
        let ops = deployment.ops(kind, 0);
        // Sizes are asked of the shards in the background.
        let complete = async || {
            let told = ops.get("/metrics").send().await?;
            Ok(kind != Kind::Writer || told.text().contains("millpond_shard_rows{"))
        };
        deployment.until("the shards have told their sizes", complete).await?;
        roles.insert(name, told(ops).await?);
    }
    let page = page(&roles);
    let path = file("docs/metrics.md");
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, &page)?;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let said = "docs/metrics.md is not what the processes tell; write it anew";
    assert!(committed == page, "{said}: {REWRITE}=1 with this test\n{page}");

    let server = Fresh::start().await?;
    use_it(&server.http).await?;
    let all = told(&server.ops).await?;
    let apart: Vec<&String> = roles.values().flat_map(|families| families.keys()).collect();
    for name in &apart {
        assert!(all.contains_key(*name), "{name} is told by a role, and not by all in one");
    }
    for name in all.keys() {
        assert!(apart.contains(&name), "{name} is told by no role");
    }
    Ok(())
}

#[tokio::test]
async fn names_end_in_base_units_and_the_partition_is_no_label_of_anything_but_how_far_it_is() -> Result<()> {
    let server = Fresh::start().await?;
    use_it(&server.http).await?;
    let text = server.ops.get("/metrics").send().await?.text();
    let mut partitioned: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("{partition="))
        .filter_map(|line| line.split('{').next())
        .collect();
    partitioned.dedup();
    assert_eq!(
        partitioned,
        [
            "millpond_log_end_offset",
            "millpond_partition_lag_records",
            "millpond_writer_applied_offset",
            "millpond_writer_lag_records",
            "millpond_writer_lag_seconds",
        ]
    );
    for series in [
        "millpond_build_info{version=\"",
        "millpond_api_mutations_total{op=\"put\"} 1",
        "millpond_api_problems_total{code=\"not-found\"} 1",
        "millpond_api_request_duration_seconds_bucket{le=\"0.001\"",
        "millpond_log_queue_bytes 0",
        "millpond_writer_outcomes_total{outcome=\"applied\"} 1",
        "millpond_writer_outcomes_total{outcome=\"rejected\"} 0",
        "millpond_writer_dead_letters_total{reason=\"undecodable\"} 0",
        "millpond_writer_halted_partitions{reason=\"log-gap\"} 0",
        "millpond_writer_partitions{state=\"running\"} 8",
        "millpond_writer_lag_records{partition=\"7\"} 0",
        "millpond_shard_pool_in_use{shard=\"shard-0\",node=\"primary\"} 0",
        "millpond_trace_spans_total{result=\"dropped\"} 0",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(&format!("\n{series}")), "{series} is not in\n{text}");
    }
    Ok(())
}
