//! One Idempotency-Key is one effect, whichever api is asked, however often, and whoever dies meanwhile.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    http::{Answer, Http},
    roles::Kind,
};
use tokio::task::JoinSet;

/// Calls at once.
const CALLS: usize = 20;

async fn increment(http: Http) -> Result<Answer> {
    let patch = http.patch("/kv/n", "application/vnd.millpond.op+json", r#"{"op":"increment"}"#);
    patch.header("Idempotency-Key", "one").header("Prefer", "wait=30").send().await
}

async fn at_once(deployment: &Deployment) -> Result<Vec<Answer>> {
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        calls.spawn(increment(deployment.api(number % 2).clone()));
    }
    let mut answers = Vec::new();
    while let Some(answer) = calls.join_next().await {
        answers.push(answer.context("a call panicked")??);
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_repeats_through_two_apis_count_once_across_a_writers_death() -> Result<()> {
    let options = Options { apis: 2, ..Options::default() };
    let mut deployment = Deployment::start(&options).await?;
    let first = at_once(&deployment).await?;
    deployment.kill(Kind::Writer, 0)?;
    deployment.start_again(Kind::Writer, 0).await?;
    let second = at_once(&deployment).await?;

    let answers: Vec<&Answer> = first.iter().chain(&second).collect();
    ensure!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "1"), "{answers:?}");
    let positions: BTreeSet<&str> = answers.iter().map(|answer| answer.header("kv-position")).collect();
    ensure!(positions.len() == 1 && !positions.contains(""), "{positions:?}");
    let repeats = answers.iter().filter(|answer| answer.header("kv-duplicate") == "true").count();
    ensure!(repeats == 2 * CALLS - 1, "{repeats} are called repeats");
    let read = deployment.api(0).get("/kv/n").header("Cache-Control", "no-cache").send().await?;
    ensure!(read.text() == "1", "{read:?}");
    Ok(())
}
