//! Reads through Postgres, beside `pgbench -S -M prepared`; and of many keys at once.
//!
//! Per CPU-second of all processes: an api and its client on one side, pgbench on the other, Postgres on both.
//! Invariant: both read rows of one key each that are there and in memory, uniformly.

use std::{process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use http::StatusCode;

use super::{
    Plan,
    calls::{Draw, PROTOBUF, batches, gets, queries},
    deployment::Deployment,
    drive::{Call, Drive},
    engines::{Engines, NO_ENGINES},
    line::Line,
    sample::{Compared, Runs, Sample, Side, Stretch, float},
};

const KEYS: u64 = 100_000;
/// Of the client: many callers with one call each, as an api has them.
const CONNECTIONS: usize = 128;
/// Of pgbench: enough for two cores. Each costs it some ms to log in, which is part of its time.
const CLIENTS: &str = "8";
const QUERY_KEYS: usize = 100;
const ONE: &str = "GET through Postgres / pgbench -S";
const MANY: &str = "query of 100 keys / pgbench -S";
const PER_CPU: &str = "per_cpu";

/// Gets and queries against pgbench; the hot cache, which is not there.
pub(crate) async fn run(plan: &Plan) -> Result<Vec<Line>> {
    let cache = Line::missing("GET from the hot cache / echo: requests/s", 0.92, "there is no hot cache");
    let Some(engines) = Engines::here() else {
        return Ok(vec![Line::missing(ONE, 1.3, NO_ENGINES), Line::missing(MANY, 8.0, NO_ENGINES), cache]);
    };
    let deployment = Deployment::start(&engines, 8, 1).await?;
    fill(&deployment).await?;
    let mut draw = Draw::uniform(KEYS, plan.seed + 1);
    let (one, many) = (gets(&mut draw, 100_000)?, queries(&mut draw, 2_000, QUERY_KEYS)?);
    let seconds = plan.pick(3, 8);
    let mut lines = Vec::new();
    for (stage, calls, keys, target) in [(ONE, &one, 1, 1.3), (MANY, &many, QUERY_KEYS, 8.0)] {
        let runs = Runs::interleave(plan.repeats, async |side, _| match side {
            Side::Baseline => pgbench(&deployment, seconds),
            Side::Ours => read(&deployment, calls, (keys, seconds)).await,
        })
        .await?;
        let compared = Compared { measure: PER_CPU, unit: "key/CPU-s", cost: false, target };
        lines.push(runs.line(stage, compared).note(runs.shares()));
    }
    lines.push(cache);
    Ok(lines.into_iter().map(|line| line.durable("reads; any replica, default consistency")).collect())
}

/// Every key is there, and pgbench's tables.
async fn fill(deployment: &Deployment) -> Result<()> {
    let calls = batches(&mut Draw::every(KEYS), (100, 1_000), PROTOBUF)?;
    deployment.each(&calls).await?;
    deployment.until_caught_up().await?;
    let database = &deployment.databases[0];
    let output = database.client("pgbench", database.name()).args(["-i", "-q", "-s", "1"]).output();
    let output = output.context("fill pgbench's tables")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn read(
    deployment: &Deployment,
    calls: &Arc<Vec<Call>>,
    (keys, seconds): (usize, u64),
) -> Result<Sample> {
    let drive = Drive {
        address: deployment.api(),
        connections: CONNECTIONS,
        length: Duration::from_secs(seconds),
        expected: StatusCode::OK,
    };
    let stretch = Stretch::start()?;
    let driven = drive.run(calls).await?;
    let sample = stretch.end_with(float(driven.waits.len()) * float(keys as u64), driven.wall)?;
    Ok(per_cpu(sample))
}

fn pgbench(deployment: &Deployment, seconds: u64) -> Result<Sample> {
    let database = &deployment.databases[0];
    let mut pgbench = database.client("pgbench", database.name());
    pgbench.args(["-S", "-M", "prepared", "-n", "-c", CLIENTS, "-j", "2"]);
    pgbench.args(["-T", &seconds.to_string()]).stdin(Stdio::null());
    let stretch = Stretch::start()?;
    let output = pgbench.output().context("run pgbench")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let count =
        said.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
    let count: f64 = count.context("pgbench counts")?.split('/').next().unwrap_or_default().trim().parse()?;
    ensure!(count > 0.0, "pgbench did nothing in its time: {said}");
    Ok(per_cpu(stretch.end(count)?))
}

fn per_cpu(mut sample: Sample) -> Sample {
    sample.set(PER_CPU, 1e6 / sample.get(super::sample::CPU_US));
    sample
}
