//! Halts of a deployment on Kafka and Postgres: a wrong clock, a topic that somebody trimmed, rights that were taken away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millpond_log::Clock;
use millpond_tests::{
    deployment::{Deployment, Options},
    roles::Kind,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::Shell;

/// Further on than a record may be, and no further than Kafka takes.
const AHEAD: Duration = Duration::from_mins(30);

fn producer(deployment: &Deployment) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", deployment.kafka()).set("partitioner", "murmur2_random");
    Ok(config.create()?)
}

/// Settings of the topic, with the time of its records by whoever sends them, or by the broker.
async fn times_by(deployment: &Deployment, whose: &str) -> Result<()> {
    let (topics, topic) = (deployment.topics()?, deployment.topic());
    let mut settings = topics.settings(&topic).await?;
    settings.retain(|(name, _)| name != "message.timestamp.type");
    settings.push(("message.timestamp.type".to_owned(), whose.to_owned()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    topics.set(&topic, &settings).await
}

/// As a broker whose clock is wrong would: records with a TTL, from the future.
async fn from_the_future(deployment: &Deployment, keys: &[&str]) -> Result<()> {
    times_by(deployment, "CreateTime").await?;
    let producer = producer(deployment)?;
    let time = Clock::System.now().0 + i64::try_from(AHEAD.as_millis())?;
    let topic = deployment.topic();
    for key in keys {
        let key = format!("default/{key}");
        let record = BaseRecord::to(&topic).key(&key).payload("early").timestamp(time);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.flush(Duration::from_mins(1))?;
    }
    times_by(deployment, "LogAppendTime").await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_from_the_future_take_the_time_before_them_once_their_range_is_skipped() -> Result<()> {
    let deployment = Deployment::start(&Options { partitions: 2, ..Options::default() }).await?;
    let key = deployment.keys("k")[0].clone();
    let put = deployment.api(0).put(&format!("/kv/{key}"), "1").header("Prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    let (_, end) = deployment.topics()?.bounds(&deployment.topic(), 0)?;
    from_the_future(&deployment, &[&key, &key]).await?;
    let shell = Shell::of_deployment(&deployment);
    let printed = shell.sees(0, "time-jump").await?;
    assert_eq!(printed, format!("millpond skip --time 1-0-{end}..1-0-{end} --dry-run"));
    // The printed range is of the first; there is another one behind it.
    let both = format!("skip --time 1-0-{end}..1-0-{}", end + 1);
    let told = shell.run(&both, &["--dry-run", "--json"]).await?.ended(0)?.json()?;
    assert_eq!(told["records_total"], 2, "{told}");
    shell.follows(&format!("{both} --dry-run")).await?;
    shell.goes_on(0).await?;
    let got = deployment.api(0).get(&format!("/kv/{key}?consistency=strong")).send().await?;
    assert_eq!(got.text(), "early");
    let times = "SELECT (SELECT applied_time FROM watermark WHERE partition = 0) < extract(epoch FROM now()) * 1000 + 60000";
    assert_eq!(deployment.psql(0, 0, times)?, "t", "the clamp was not carried away");
    let history = shell.run("topology history --json", &[]).await?.ended(0)?.json()?;
    let last = history["changes"].as_array().and_then(|changes| changes.last()).context("a change")?;
    assert_eq!((last["what"].as_str(), last["why"].as_str()), (Some(both.as_str()), Some("a test's")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_trimmed_beyond_the_watermark_is_a_gap_that_no_command_papers_over() -> Result<()> {
    let mut deployment = Deployment::start(&Options { partitions: 2, ..Options::default() }).await?;
    let key = deployment.keys("k")[0].clone();
    let put = deployment.api(0).put(&format!("/kv/{key}"), "1").header("Prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    deployment.terminate(Kind::Writer, 0).await?;
    for value in ["2", "3"] {
        ensure!(deployment.api(0).put(&format!("/kv/{key}"), value).send().await?.status == 202);
    }
    let (_, end) = deployment.topics()?.bounds(&deployment.topic(), 0)?;
    deployment.topics()?.trim(&deployment.topic(), 0, end - 1).await?;
    deployment.start_again(Kind::Writer, 0).await?;
    let shell = Shell::of_deployment(&deployment);
    let printed = shell.sees(0, "log-gap").await?;
    let applied = deployment.applied(0)?;
    for refused in [format!("skip 1-0-{} --dry-run", end - 1), "discard-copy 0 --dry-run".to_owned()] {
        let said = shell.run(&refused, &[]).await?.ended(4)?;
        ensure!(said.err.contains("is halted after 1-0-") && said.err.contains("log-gap"), "{}", said.err);
    }
    assert_eq!(deployment.applied(0)?, applied, "nothing was applied");

    // What is left is exported as printed, through the api, which still answers.
    let out = deployment.dir().join("left.ndjson");
    let mut export = Shell::of_deployment(&deployment);
    export.config = None;
    export.run(&printed.replace("FILE", out.to_str().context("a path")?), &[]).await?.ended(0)?;
    let fresh = Deployment::start(&Options { partitions: 2, ..Options::default() }).await?;
    let mut import = Shell::of_deployment(&fresh);
    import.config = None;
    import.run("import", &[out.to_str().context("a path")?]).await?.ended(0)?;
    let got = fresh.api(0).get(&format!("/kv/{key}?consistency=strong")).send().await?;
    assert_eq!(got.text(), "1", "what was applied is there; what was trimmed is lost");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_ahead_on_postgres_goes_with_its_copy() -> Result<()> {
    let deployment = Deployment::start(&Options { partitions: 2, ..Options::default() }).await?;
    let keys = deployment.keys("k");
    for key in &keys {
        let put =
            deployment.api(0).put(&format!("/kv/{key}"), "1").header("Prefer", "wait=30").send().await?;
        ensure!(put.status == 200, "{put:?}");
    }
    deployment.psql(0, 0, &format!("UPDATE kv SET version = version + 1000 WHERE key = '{}'", keys[0]))?;
    let sent = deployment.api(0).put(&format!("/kv/{}", keys[0]), "2").send().await?;
    ensure!(sent.status == 202, "{sent:?}");
    let shell = Shell::of_deployment(&deployment);
    let printed = shell.sees(0, "row-ahead").await?;
    shell.follows(&printed).await?;
    shell.goes_on(0).await?;
    deployment.drained().await?;
    let got = deployment.api(0).get(&format!("/kv/{}?consistency=strong", keys[0])).send().await?;
    assert_eq!(got.text(), "2");
    shell.run("doctor", &[]).await?.ended(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_were_taken_away_are_waited_for() -> Result<()> {
    let deployment = Deployment::start(&Options { partitions: 2, ..Options::default() }).await?;
    let key = deployment.keys("k")[0].clone();
    deployment.psql(0, 0, "REVOKE INSERT ON kv_p00000 FROM CURRENT_USER")?;
    ensure!(deployment.api(0).put(&format!("/kv/{key}"), "1").send().await?.status == 202);
    let shell = Shell::of_deployment(&deployment);
    let printed = shell.sees(0, "shard-refused").await?;
    deployment.psql(0, 0, "GRANT INSERT ON kv_p00000 TO CURRENT_USER")?;
    shell
        .run(
            &printed.replace("FILE", deployment.dir().join("millpond.toml").to_str().context("a path")?),
            &[],
        )
        .await?
        .ended(0)?;
    shell.goes_on(0).await?;
    deployment.drained().await
}
