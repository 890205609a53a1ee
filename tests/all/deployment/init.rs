//! `millpond init`, what roles say without it, and what `lag` and `topology` tell.

use std::process::Output;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options, PATIENCE},
    process::until_async,
    roles::Kind,
};
use serde_json::Value;

fn none() -> Options {
    Options { apis: 0, writers: 0, ..Options::default() }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command that succeeds and prints one JSON document.
async fn json(deployment: &Deployment, arguments: &[&str]) -> Result<Value> {
    let output = deployment.run(arguments).await?;
    ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?}: {}", said(&output)))
}

#[tokio::test(flavor = "multi_thread")]
async fn init_again_changes_nothing_and_warns_of_other_settings() -> Result<()> {
    let deployment = Deployment::start(&none()).await?;
    let first = json(&deployment, &["topology", "show", "--json"]).await?;
    let again = json(&deployment, &["init", "--json"]).await?;
    ensure!(again["first"] == false && again["warnings"] == serde_json::json!([]), "{again}");

    let file = deployment.dir().join("millpond.toml");
    let other = std::fs::read_to_string(&file)?.replace("shard-1", "another");
    std::fs::write(&file, other)?;
    let warned = deployment.run(&["init"]).await?;
    ensure!(warned.status.success(), "{}", said(&warned));
    ensure!(said(&warned).contains("are not those of the topology"), "{}", said(&warned));
    ensure!(json(&deployment, &["topology", "show", "--json"]).await? == first, "the topology has changed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn init_with_another_number_of_partitions_is_refused() -> Result<()> {
    let deployment = Deployment::start(&none()).await?;
    let file = deployment.dir().join("millpond.toml");
    let other = std::fs::read_to_string(&file)?.replace("partitions = 4", "partitions = 8");
    std::fs::write(&file, other)?;
    let refused = deployment.run(&["init"]).await?;
    let text = said(&refused);
    ensure!(!refused.status.success() && text.contains("partitions") && text.contains('8'), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_before_init_says_what_to_run() -> Result<()> {
    let mut deployment = Deployment::bare(Engines::shared()?, &none()).await?;
    for kind in [Kind::Api, Kind::Writer, Kind::Sweeper] {
        deployment.spawn(kind)?;
    }
    for kind in [Kind::Api, Kind::Writer, Kind::Sweeper] {
        let role = deployment.role(kind, 0);
        let says = until_async(PATIENCE, async || role.tail().contains("run `millpond init`")).await;
        ensure!(says, "the {kind} does not say it{}", role.tail());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_set_otherwise_refuses_every_start_and_says_what_to_run() -> Result<()> {
    let deployment = Deployment::start(&none()).await?;
    let (topics, topic) = (deployment.topics()?, deployment.topic());
    let mut settings = topics.settings(&topic).await?;
    settings.retain(|(name, _)| name != "cleanup.policy");
    settings.push(("cleanup.policy".to_owned(), "compact".to_owned()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    topics.set(&topic, &settings).await?;
    for role in ["api", "writer", "sweeper"] {
        let arguments: &[&str] = match role {
            "api" => &["api", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"],
            role => &[role, "--ops-listen", "127.0.0.1:0"],
        };
        let refused = deployment.run(arguments).await?;
        let text = said(&refused);
        ensure!(!refused.status.success(), "the {role} started");
        let parts = [topic.as_str(), "cleanup.policy", "compact", "delete", "kafka-configs"];
        ensure!(parts.iter().all(|part| text.contains(part)), "{role}: {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_and_topology_tell_what_is() -> Result<()> {
    let mut deployment = Deployment::start(&Options::default()).await?;
    let topology = json(&deployment, &["topology", "show", "--json"]).await?;
    ensure!(topology["epoch"] == 1 && topology["partitions"] == 4, "{topology}");
    for shard in 0..2 {
        let entry = &topology["shards"][shard];
        ensure!(entry["primary"] == deployment.address(shard, 0), "{entry}");
        ensure!(entry["replicas"] == serde_json::json!([deployment.address(shard, 1)]), "{entry}");
        ensure!(entry["partitions"] == serde_json::json!([shard, shard + 2]), "{entry}");
    }

    deployment.drained().await?;
    let lag = json(&deployment, &["lag", "--json"]).await?;
    let partitions = lag["partitions"].as_array().context("a list")?;
    ensure!(partitions.len() == 4 && partitions.iter().all(|one| one["lag_records"] == 0), "{lag}");

    deployment.kill(Kind::Writer, 0)?;
    let key = &deployment.keys("k")[2];
    for _ in 0..3 {
        let put = deployment.api(0).put(&format!("/kv/{key}"), "x").send().await?;
        ensure!(put.status == 202, "{put:?}");
    }
    let lag = json(&deployment, &["lag", "--json"]).await?;
    let behind: Vec<_> =
        (0..4).map(|partition| lag["partitions"][partition]["lag_records"].clone()).collect();
    ensure!(behind == [0, 0, 3, 0], "{lag}");
    ensure!(lag["partitions"][2]["lag_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{lag}");
    Ok(())
}
