//! The topic of mutations is deleted and made anew under running roles: nobody goes on as if nothing had been.

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    drills::{owned, until_shared_out},
    roles::Kind,
};

async fn all_are_diverged(deployment: &Deployment) -> Result<bool> {
    let mut all = Vec::new();
    for writer in 0..2 {
        all.extend(owned(deployment, writer).await?);
    }
    let diverged = all.iter().filter(|(_, state)| state.contains("log-diverged")).count();
    Ok(diverged == deployment.partitions() as usize)
}

/// Writes until the api answers 503. Not one write is accepted before.
async fn until_it_refuses(deployment: &Deployment, api: usize) -> Result<()> {
    let refused = async || {
        let put = deployment.api(api).put("/kv/late", "x").send().await?;
        assert!(put.status == 503 || put.status == 504, "it was accepted: {put:?}");
        Ok(put.status == 503 && put.code() == "log-diverged")
    };
    deployment.until("the api says log-diverged", refused).await?;
    let ready = deployment.ops(Kind::Api, api).get("/readyz").send().await?;
    ensure!(ready.status == 503 && ready.text().contains("log-diverged"), "{ready:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_stops_writes_and_changes_nothing() -> Result<()> {
    let options = Options { apis: 2, writers: 2, ..Options::default() };
    let deployment = Deployment::start(&options).await?;
    until_shared_out(&deployment).await?;
    for key in deployment.keys("k") {
        for api in 0..2 {
            let patch = deployment.api(api);
            let patch = patch.patch(
                &format!("/kv/{key}"),
                "application/vnd.millpond.op+json",
                r#"{"op":"increment"}"#,
            );
            let patch = patch.header("Idempotency-Key", &format!("{api}")).header("Prefer", "wait=30");
            ensure!(patch.send().await?.status == 200, "it is applied");
        }
    }
    deployment.drained().await?;
    let before = deployment.dumps().await?;

    let (topics, topic) = (deployment.topics()?, deployment.topic());
    let settings = topics.settings(&topic).await?;
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    topics.delete(&topic).await?;
    let gone = async || Ok(topics.make(&topic, deployment.partitions(), &settings).await.is_ok());
    deployment.until("the topic can be made anew", gone).await?;

    deployment.until("all are log-diverged", async || all_are_diverged(&deployment).await).await?;
    for api in 0..2 {
        until_it_refuses(&deployment, api).await?;
    }
    ensure!(all_are_diverged(&deployment).await?, "they stay so");
    ensure!(deployment.dumps().await? == before, "something has changed");
    Ok(())
}
