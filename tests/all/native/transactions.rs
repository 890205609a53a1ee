//! A transactional producer, as Flink and Kafka Streams have one: Kafka's own client in Java.

use anyhow::{Context, Result, ensure};
use millpond_tests::{deployment::Deployment, roles::Kind};
use serde_json::Value;

use super::{
    deployment,
    foreign::{Client, Sent},
    get,
};

async fn lag(deployment: &Deployment) -> Result<Vec<(i64, i64)>> {
    let output = deployment.run(&["lag", "--json"]).await?;
    ensure!(output.status.success(), "lag: {}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let partitions = told["partitions"].as_array().context("it tells partitions")?;
    let number = |partition: &Value, name: &str| partition[name].as_i64().context("a number");
    partitions.iter().map(|one| Ok((number(one, "lag_records")?, number(one, "log_end")?))).collect()
}

async fn ops(deployment: &Deployment, path: &str) -> Result<String> {
    Ok(deployment.ops(Kind::Writer, 0).get(path).send().await?.text())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_applied_and_what_is_aborted_never() -> Result<()> {
    let deployment = deployment(2).await?;
    let api = deployment.api(0);
    let keys = deployment.keys("key-");
    let record_key = |partition: usize| format!("default/{}", keys[partition]);
    let id = format!("transactional.id={}", deployment.prefix());
    let mut java = Client::java(&deployment, &[&id])?;
    java.transaction("begin").await?;
    let committed = java.send(&Sent::plain(record_key(0), "committed")).await?;
    java.send(&Sent::put(record_key(1), "committed", "text/plain")).await?;
    java.transaction("commit").await?;
    // Nothing but a marker lies behind the records now, and a strong read passes it.
    let answer = get(api, record_key(0).as_bytes()).await?;
    assert_eq!(
        (answer.text(), answer.header("etag")),
        ("committed".into(), format!("\"{committed}\"").as_str())
    );

    java.transaction("begin").await?;
    let aborted = java.send(&Sent::plain(record_key(0), "aborted")).await?;
    let never = format!("default/{}", deployment.keys("never-")[1]);
    java.send(&Sent::plain(never.clone(), "aborted")).await?;
    java.transaction("abort").await?;
    for partition in 0..2 {
        assert_eq!(get(api, record_key(partition).as_bytes()).await?.text(), "committed");
    }
    assert_eq!(get(api, never.as_bytes()).await?.status, 404);
    assert_eq!(api.get(&format!("/mutations/{aborted}")).send().await?.status, 404, "never on the log");

    let mut confluent = Client::confluent(&deployment)?;
    let after = confluent.send(&Sent::plain(record_key(0), "after")).await?;
    let answer = get(api, record_key(0).as_bytes()).await?;
    assert_eq!((answer.text(), answer.header("etag")), ("after".into(), format!("\"{after}\"").as_str()));
    deployment.drained().await?;
    for (behind, end) in lag(&deployment).await? {
        assert_eq!(behind, 0);
        assert!(end > 3, "markers have offsets: the end is {end}");
    }
    let metrics = ops(&deployment, "/metrics").await?;
    let holes = metrics.lines().find_map(|line| line.strip_prefix("millpond_log_holes_total "));
    assert!(holes.context("they are counted")?.parse::<u64>()? >= 6, "two markers each, and two records");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_is_told_and_holds_up_its_partition_alone() -> Result<()> {
    let deployment = deployment(2).await?;
    let api = deployment.api(0);
    let keys = deployment.keys("key-");
    let [held, free] = [0, 1].map(|partition: usize| format!("default/{}", keys[partition]));
    let id = format!("transactional.id={}", deployment.prefix());
    let (mut java, mut confluent) = (Client::java(&deployment, &[&id])?, Client::confluent(&deployment)?);
    java.transaction("begin").await?;
    java.send(&Sent::plain(held.clone(), "open")).await?;
    let behind = confluent.send(&Sent::plain(held.clone(), "behind")).await?;
    confluent.send(&Sent::plain(free.clone(), "free")).await?;
    assert_eq!(get(api, free.as_bytes()).await?.text(), "free");
    deployment
        .until("the stall is told", async || {
            Ok(ops(&deployment, "/readyz?verbose").await?.contains("log-stalled"))
        })
        .await?;
    let checks = ops(&deployment, "/readyz?verbose").await?;
    assert!(checks.contains("[~]log 0 degraded: log-stalled"), "{checks}");
    assert!(!checks.contains("]log 1 "), "{checks}");
    assert!(checks.ends_with("ok\n"), "the writer is ready: {checks}");
    let metrics = ops(&deployment, "/metrics").await?;
    assert!(metrics.contains("millpond_log_stalled_partitions 1.0\n"), "{metrics}");
    // What lies behind an open transaction cannot be read by anyone yet.
    let answer = api.get(&format!("/mutations/{behind}")).send().await?;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "log-unavailable"), "{answer:?}");
    assert_ne!(lag(&deployment).await?[0].0, 0);

    java.transaction("commit").await?;
    assert_eq!(get(api, held.as_bytes()).await?.text(), "behind");
    deployment.drained().await?;
    assert!(!ops(&deployment, "/readyz?verbose").await?.contains("log-stalled"));
    assert!(ops(&deployment, "/metrics").await?.contains("millpond_log_stalled_partitions 0.0\n"));
    for (behind, _) in lag(&deployment).await? {
        assert_eq!(behind, 0);
    }
    Ok(())
}
