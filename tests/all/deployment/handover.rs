//! Roles that end, in order or not: their work goes on elsewhere, and what was answered is there.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    drills::until_shared_out,
    process::run,
    roles::Kind,
};

use super::load::Load;

/// Two writers that share. `before` they join.
async fn two_writers(before: impl FnOnce(&Deployment) -> Result<()>) -> Result<Deployment> {
    let mut deployment = Deployment::start(&Options { apis: 0, writers: 0, ..Options::default() }).await?;
    before(&deployment)?;
    for kind in [Kind::Writer, Kind::Writer, Kind::Api] {
        deployment.spawn(kind)?;
    }
    deployment.until_ready().await?;
    until_shared_out(&deployment).await?;
    Ok(deployment)
}

/// A write on every partition is applied.
async fn all_are_applied(deployment: &Deployment) -> Result<()> {
    for key in deployment.keys("again") {
        let put = deployment.api(0).put(&format!("/kv/{key}"), "x").header("Prefer", "wait=30");
        let put = put.send().await?;
        ensure!(put.status == 200, "{put:?}{}", deployment.tails());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_writers_partitions_are_applied_again() -> Result<()> {
    let mut deployment = two_writers(|_| Ok(())).await?;
    let started = Instant::now();
    deployment.kill(Kind::Writer, 0)?;
    all_are_applied(&deployment).await?;
    println!("after the kill of a writer all partitions were applied again within {:?}", started.elapsed());
    Ok(())
}

/// The group is told to wait a minute for a member that is gone, and nobody waits: the member leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_writer_hands_over_and_ends_well() -> Result<()> {
    let mut deployment = two_writers(set_session_timeout).await?;
    let started = Instant::now();
    ensure!(deployment.terminate(Kind::Writer, 0).await? == Some(0), "{}", deployment.tails());
    println!("a writer ended within {:?}", started.elapsed());
    all_are_applied(&deployment).await?;
    println!("all partitions were applied again within {:?}", started.elapsed());
    Ok(())
}

/// Longer than a waited write waits; it is what a member gets with its next heartbeat. No broker allows more by itself.
fn set_session_timeout(deployment: &Deployment) -> Result<()> {
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka/*");
    let group = format!("{}.writers", deployment.prefix());
    let mut set = Command::new("java");
    set.arg("-cp").arg(jars).args(["kafka.admin.ConfigCommand", "--bootstrap-server", deployment.kafka()]);
    set.args(["--entity-type", "groups", "--entity-name", &group, "--alter"]);
    run(set.args(["--add-config", "consumer.session.timeout.ms=60000"]))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_api_has_what_it_answered_on_the_log_and_ends_well() -> Result<()> {
    let options = Options { apis: 2, ..Options::default() };
    let mut deployment = Deployment::start(&options).await?;
    let load = Load::start(&deployment, 2);
    load.more(&deployment, &[0, 1], 100).await?;
    ensure!(deployment.terminate(Kind::Api, 0).await? == Some(0), "{}", deployment.tails());
    load.more(&deployment, &[1], 50).await?;
    load.stop().await?.is_there_once(&deployment).await
}
