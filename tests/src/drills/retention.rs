//! The databases are down for so long that what waits for them uses up its budget, while sweepers trim the log.
//!
//! Records are young here, so nothing may be trimmed at all: `tests/all/trimming` has old ones. Invariant: whatever was
//! accepted is applied once the databases are back, and no more was accepted than the budget.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Context, Drill, Length, Need};
use crate::{
    deployment::{Deployment, Engines, Options as Deployed, PATIENCE},
    faults::proxy::Proxy,
    history::{Door, Event, Intent, Op, WriteResult},
    http::Answer,
    roles::Kind,
    workload::{Options, Target, Workload},
};

/// What may wait.
const BUDGET: u64 = 8 << 20;
const VALUE_BYTES: usize = 16 << 10;
/// Who fills the log; in the history only.
const CLIENT: u64 = 3_000_000;
/// From the databases' return to a write that every api accepts.
const ACCEPTED_AGAIN: Duration = Duration::from_secs(30);
/// Longest answer of an api that accepts nothing.
const REFUSED_IN: Duration = Duration::from_millis(50);

pub(super) const DRILL: Drill = Drill {
    name: "retention",
    number: 13,
    about: "databases down until what waits for them fills its budget, the log trimmed meanwhile: 503 backlog-full before \
            anything would be lost, reads not refused for it, accepted again by itself",
    engines: Need::Shared,
    long: Length::new(1800, 20),
    short: Length::new(40, 2),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let engines = Engines::shared()?;
    let link = Proxy::start(engines.primary()?)?;
    let deployment = Deployment::start_on(engines.with_primary_at(link.address()), &deployed()).await?;
    for round in context.rounds() {
        // Another seed each time: the same clients would repeat their Idempotency-Keys.
        let seed = context.seed().wrapping_add(round);
        let options = Options { seed, rate: 100, native_per_cent: 0, ..Options::default() };
        let workload = Workload::start(&Target::of(&deployment), &options, context.recorder())?;
        workload.more(100).await?;
        // It would only be refused while the budget is full, and then a drill of few rounds shows nothing.
        context.worked(&workload.stop().await?);
        fill(&context, &deployment, &link, round).await?;
    }
    context.settle(&deployment).await
}

fn deployed() -> Deployed {
    let environment = BTreeMap::from([
        ("MILLPOND_LOG__BACKLOG_BYTES_MAX".to_owned(), BUDGET.to_string()),
        ("MILLPOND_LOG__TRIM_AFTER".to_owned(), "24h".to_owned()),
    ]);
    let more = "[sweeper]\ninterval = \"200ms\"\ntrim_interval = \"100ms\"\n".to_owned();
    Deployed { apis: 2, writers: 2, sweepers: 2, more, environment, ..Deployed::default() }
}

/// Takes the databases away until every api refuses, and gives them back.
async fn fill(context: &Context, deployment: &Deployment, link: &Proxy, round: u64) -> Result<()> {
    link.refuse(true);
    link.cut();
    context.fault("database down", "primary");
    let (mut taken, mut refusing) = (0, [false; 2]);
    let filling = async {
        for number in 0u64.. {
            let api = usize::try_from(number % 2)?;
            let answer = put(context, deployment, api, &format!("fill-{round}-{number}")).await?;
            match answer.status.as_u16() {
                202 => taken += 1,
                // What was sent since the last look may be refused a moment before the look says so.
                503 if answer.code() == "backlog-full" => refusing[api] = is_full(deployment, api).await?,
                _ => context.violation(format!("a write was answered {} {}", answer.status, answer.code())),
            }
            if refusing == [true; 2] {
                break;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::time::timeout(PATIENCE, filling).await.context("the budget is never full")??;
    let bytes = taken * VALUE_BYTES as u64;
    context.figure("accepted", format!("{} % of the budget", bytes * 100 / BUDGET));
    if bytes > BUDGET {
        context.violation(format!("{bytes} bytes were accepted, {BUDGET} may wait"));
    }
    refused(context, deployment, round).await?;
    nothing_needed_is_gone(context, deployment)?;
    link.heal();
    let healed = Instant::now();
    let mut tries = 0;
    for api in 0..2 {
        let accepted = async || {
            tries += 1;
            Ok(put(context, deployment, api, &format!("healed-{round}-{api}-{tries}")).await?.status == 202)
        };
        deployment.until(&format!("api {api} accepts again"), accepted).await?;
    }
    context.judge("accepted again after", healed.elapsed(), ACCEPTED_AGAIN);
    deployment.drained().await
}

/// What an api says that accepts nothing.
async fn refused(context: &Context, deployment: &Deployment, round: u64) -> Result<()> {
    for api in 0..2 {
        let began = Instant::now();
        let answer = put(context, deployment, api, &format!("refused-{round}-{api}")).await?;
        context.judge("refused in", began.elapsed(), REFUSED_IN);
        ensure!(answer.status == 503 && !answer.header("retry-after").is_empty(), "{answer:?}");
        let read = deployment.api(api).get("/kv/fill-0-0").send().await?;
        if read.code() == "backlog-full" {
            context.violation("a read was refused for the backlog");
        }
        ensure!(is_full(deployment, api).await?, "it says so where an operator looks");
    }
    Ok(())
}

/// Whether an api says that nothing is accepted. It is ready all the same.
async fn is_full(deployment: &Deployment, api: usize) -> Result<bool> {
    let ready = deployment.ops(Kind::Api, api).get("/readyz?verbose").send().await?;
    ensure!(ready.status == 200, "{}", ready.text());
    Ok(ready.text().contains("backlog-full"))
}

/// The log has all that the copies have yet to apply, and the record that each is compared by.
fn nothing_needed_is_gone(context: &Context, deployment: &Deployment) -> Result<()> {
    let topics = deployment.topics()?;
    for partition in 0..deployment.partitions() {
        let (start, _) = topics.bounds(&deployment.topic(), partition)?;
        let applied = deployment.applied(partition)?;
        if start > applied {
            context
                .violation(format!("partition {partition} starts at {start}, its copy stands at {applied}"));
        }
    }
    Ok(())
}

/// A write through one api, in the history and in the report.
async fn put(context: &Context, deployment: &Deployment, api: usize, key: &str) -> Result<Answer> {
    let value = "v".repeat(VALUE_BYTES);
    let start_us = context.recorder().now_us();
    let answer = deployment.api(api).put(&format!("/kv/{key}"), value.clone()).send().await;
    let result = WriteResult::of_answer(answer.as_ref());
    let (intent, end_us) = (Intent::put(key, value), context.recorder().now_us());
    match result {
        WriteResult::Ok(_) => context.operations(1, 0, 0),
        WriteResult::Failed { .. } => context.operations(0, 1, 0),
        WriteResult::Unknown { .. } => context.operations(0, 0, 1),
    }
    let op = Op { client: CLIENT, session: None, door: Door::Http, intent, start_us, end_us, result };
    context.recorder().record(&Event::Op(op));
    answer
}
