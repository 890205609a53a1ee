//! Several of each role: what goes in through one api comes out of the other, and work is shared out.

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    drills::until_shared_out,
    http::Http,
    roles::Kind,
};

/// How often every partition is written to, and waited for.
const ROUNDS: usize = 20;

/// A number of `/metrics`.
async fn metric(ops: &Http, name: &str) -> Result<u64> {
    let text = ops.get("/metrics").send().await?.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.split_whitespace().next_back());
    lines.map(|number| Ok(number.parse::<u64>()?)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_api_takes_the_other_reads_and_the_sweeper_ends() -> Result<()> {
    let more = "[sweeper]\ninterval = \"50ms\"\n".to_owned();
    let options = Options { apis: 2, writers: 2, sweepers: 1, more, ..Options::default() };
    let deployment = Deployment::start(&options).await?;
    until_shared_out(&deployment).await?;
    for (from, to) in [(0, 1), (1, 0)] {
        for key in deployment.keys("k") {
            read_by_the_other(&deployment, &key, (from, to)).await?;
        }
    }
    waits_hear_of_outcomes(&deployment).await?;
    the_sweeper_ends_what_expires(&deployment).await
}

async fn read_by_the_other(deployment: &Deployment, key: &str, (from, to): (usize, usize)) -> Result<()> {
    let (path, value) = (format!("/kv/{key}"), format!("{key} by {from}"));
    let put = deployment.api(from).put(&path, value.clone()).send().await?;
    ensure!(put.status == 202, "{put:?}");
    let reader = deployment.api(to);
    let token = put.header("kv-position");
    let with_token = reader.get(&path).header("KV-Min-Position", token).send().await?;
    ensure!(
        with_token.text() == value && with_token.header("etag") == format!("\"{token}\""),
        "{with_token:?}"
    );
    let strong = reader.get(&format!("{path}?consistency=strong")).send().await?;
    ensure!(strong.text() == value, "{strong:?}");
    Ok(())
}

/// Outcomes come through the topic: the primaries are hardly ever asked.
async fn waits_hear_of_outcomes(deployment: &Deployment) -> Result<()> {
    let mut writes = 0;
    let before = outcome_reads(deployment).await?;
    for round in 0..ROUNDS {
        for key in deployment.keys("waited") {
            let put = deployment.api(round % 2).put(&format!("/kv/{key}"), "x").header("Prefer", "wait=30");
            let put = put.send().await?;
            ensure!(put.status == 200 && put.json()["status"] == "applied", "{put:?}");
            writes += 1;
        }
    }
    // A watermark that is read every second may be faster than the topic, and what came before a listener was not heard.
    let asked = outcome_reads(deployment).await? - before;
    println!("of {writes} outcomes {asked} were asked of a primary");
    ensure!(asked * 2 < writes, "of {writes} outcomes {asked} were asked of a primary");
    Ok(())
}

/// How often both apis have asked primaries for outcomes.
async fn outcome_reads(deployment: &Deployment) -> Result<u64> {
    let mut reads = 0;
    for api in 0..2 {
        reads += metric(deployment.ops(Kind::Api, api), "millpond_api_outcome_reads_total").await?;
    }
    Ok(reads)
}

async fn the_sweeper_ends_what_expires(deployment: &Deployment) -> Result<()> {
    let put = deployment.api(0).put("/kv/short", "x").header("KV-TTL", "1s").send().await?;
    ensure!(put.status == 202, "{put:?}");
    let shard = deployment.shard_of(deployment.partition("short"));
    let swept = async || {
        let sql = "SELECT tombstone, value IS NULL FROM kv WHERE key = 'short'";
        Ok(deployment.psql_primary(shard, sql)? == "t|t")
    };
    deployment.until("the sweeper leaves a tombstone", swept).await?;
    let read = deployment.api(1).get("/kv/short").header("Cache-Control", "no-cache").send().await?;
    ensure!(read.status == 404, "{read:?}");
    Ok(())
}
