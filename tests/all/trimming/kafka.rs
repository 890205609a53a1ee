//! On Kafka and Postgres, with records that were given the time of the day before yesterday: the topic takes the
//! producers' times, which `kafka.accept` waives for these tests alone.

use std::{process::Output, time::Duration};

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options, PATIENCE},
    faults::proxy::Proxy,
    postgres::Cluster,
    roles::Kind,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio::task::block_in_place;

/// Of each partition, in each filling.
const RECORDS: usize = 20;
pub(super) const OLD: Duration = Duration::from_hours(48);

/// A deployment that trims at once what is a day old.
pub(super) async fn deployment(engines: Engines, replica_late_max: &str) -> Result<Deployment> {
    let more = "[sweeper]\ntrim_interval = \"50ms\"\n".to_owned();
    // The sections of these are in the file already.
    let further = [
        ("MILLPOND_KAFKA__ACCEPT", "message.timestamp.type"),
        ("MILLPOND_LOG__TRIM_AFTER", "24h"),
        ("MILLPOND_LOG__REPLICA_LATE_MAX", replica_late_max),
    ];
    let environment = further.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let options = Options { partitions: 2, more, environment, ..Options::default() };
    let mut deployment = Deployment::bare(engines, &options).await?;
    let made = deployment.run(&["init"]).await?;
    ensure!(made.status.success(), "{made:?}");
    let (topics, topic) = (deployment.topics()?, deployment.topic());
    let mut settings = topics.settings(&topic).await?;
    settings.retain(|(name, _)| name != "message.timestamp.type");
    settings.push(("message.timestamp.type".to_owned(), "CreateTime".to_owned()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    topics.set(&topic, &settings).await?;
    for kind in [Kind::Api, Kind::Writer, Kind::Sweeper] {
        deployment.spawn(kind)?;
    }
    deployment.until_ready().await?;
    Ok(deployment)
}

/// Puts that are this old, into every partition.
pub(super) fn put(deployment: &Deployment, prefix: &str, old: Duration) -> Result<()> {
    let before = ends(deployment)?;
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", deployment.kafka()).create()?;
    let time = millpond_log::Clock::System.now().0 - i64::try_from(old.as_millis())?;
    let topic = deployment.topic();
    for (partition, key) in (0..).zip(deployment.keys(prefix)) {
        for value in 0..RECORDS {
            let (key, value) = (format!("default/{key}"), value.to_string());
            let record =
                BaseRecord::to(&topic).partition(partition).timestamp(time).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).context("produce")?;
        }
    }
    block_in_place(|| producer.flush(PATIENCE))?;
    for (before, after) in before.iter().zip(ends(deployment)?) {
        ensure!(after >= before + i64::try_from(RECORDS)?, "all is on the log: {before}, then {after}");
    }
    Ok(())
}

fn ends(deployment: &Deployment) -> Result<Vec<i64>> {
    let topics = deployment.topics()?;
    (0..deployment.partitions()).map(|p| Ok(topics.bounds(&deployment.topic(), p)?.1)).collect()
}

pub(super) fn starts(deployment: &Deployment) -> Result<Vec<i64>> {
    let topics = deployment.topics()?;
    (0..deployment.partitions()).map(|p| Ok(topics.bounds(&deployment.topic(), p)?.0)).collect()
}

pub(super) fn applied(deployment: &Deployment) -> Result<Vec<i64>> {
    (0..deployment.partitions()).map(|partition| deployment.applied(partition)).collect()
}

async fn metric(deployment: &Deployment, name: &str) -> Result<u64> {
    let told = deployment.ops(Kind::Sweeper, 0).get("/metrics").send().await?.text();
    let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {told}"))?.parse()?)
}

/// Waits until the sweeper has ended two more rounds that began from now on.
pub(super) async fn rounds(deployment: &Deployment) -> Result<()> {
    const ROUNDS: &str = "millpond_sweeper_trim_rounds_total";
    let wanted = metric(deployment, ROUNDS).await? + 3;
    let ended = async || Ok(metric(deployment, ROUNDS).await? >= wanted);
    deployment.until("the sweeper trims in rounds", ended).await
}

/// The operator drops what is young, so that what is left is old up to the last record: the fake time does not go back.
pub(super) async fn drop_what_is_young(deployment: &Deployment) -> Result<()> {
    let (topics, ends) = (deployment.topics()?, ends(deployment)?);
    put(deployment, "old", OLD)?;
    deployment.drained().await?;
    for (partition, end) in (0..).zip(&ends) {
        topics.trim(&deployment.topic(), partition, *end).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_and_applied_is_deleted_and_a_database_that_is_down_holds_the_rest() -> Result<()> {
    let engines = Engines::shared()?;
    let link = Proxy::start(engines.primary()?)?;
    let mut deployment = deployment(engines.with_primary_at(link.address()), "1h").await?;
    deployment.drained().await?;
    rounds(&deployment).await?;
    ensure!(starts(&deployment)? == [0, 0], "nothing is old");
    drop_what_is_young(&deployment).await?;

    // The record that the copy is compared by stays.
    let mut stand = applied(&deployment)?;
    let trimmed = async || Ok(starts(&deployment)? == stand);
    deployment.until("the log starts where the copies stand", trimmed).await?;

    link.refuse(true);
    link.cut();
    put(&deployment, "later", OLD)?;
    rounds(&deployment).await?;
    ensure!(starts(&deployment)? == stand, "the log is kept while the databases are down");
    deployment.kill(Kind::Sweeper, 0)?;
    deployment.kill(Kind::Writer, 0)?;
    let settled = deployment.role(Kind::Sweeper, 0).name().to_owned();
    deployment.start_again(Kind::Sweeper, 0).await.with_context(|| format!("start {settled} again"))?;
    rounds(&deployment).await?;
    ensure!(starts(&deployment)? == stand, "also by a sweeper that never heard of them");

    link.heal();
    deployment.start_again(Kind::Writer, 0).await?;
    deployment.drained().await?;
    for key in deployment.keys("later") {
        let read = deployment.api(0).get(&format!("/kv/{key}?consistency=strong")).send().await?;
        ensure!(read.text() == (RECORDS - 1).to_string(), "{read:?}");
    }
    // The successor's Claim is young, so its copy's place is not the floor: the last old record is below it.
    for start in &mut stand {
        *start += i64::try_from(RECORDS)?;
    }
    let goes_on =
        async || Ok(starts(&deployment)?.iter().zip(&stand).all(|(start, at_least)| start >= at_least));
    deployment.until("the log is trimmed again", goes_on).await?;
    for (start, applied) in starts(&deployment)?.iter().zip(applied(&deployment)?) {
        ensure!(*start <= applied, "it starts at {start}, its copy stands at {applied}");
    }
    let put = deployment.api(0).put("/kv/new", "new").header("prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    Ok(())
}

/// A deployment whose replica lags behind a primary that has applied everything. Where each stands.
async fn lagging(cluster: &Cluster, replica_late_max: &str) -> Result<(Deployment, Vec<i64>, Vec<i64>)> {
    let deployment = deployment(Engines::shared()?.with_cluster(cluster), replica_late_max).await?;
    drop_what_is_young(&deployment).await?;
    let of_replica = |partition: u32| -> Result<i64> {
        let sql = format!("SELECT applied_offset FROM watermark WHERE partition = {partition}");
        Ok(deployment.psql(deployment.shard_of(partition), 1, &sql)?.parse()?)
    };
    let all_of_replica = || (0..deployment.partitions()).map(of_replica).collect::<Result<Vec<i64>>>();
    let replicated = async || Ok(all_of_replica()? == applied(&deployment)?);
    deployment.until("the replica has everything", replicated).await?;
    cluster.psql(1, "postgres", "postgres", "ALTER SYSTEM SET primary_conninfo = ''")?;
    cluster.psql(1, "postgres", "postgres", "SELECT pg_reload_conf()")?;
    let cut = async || Ok(deployment.psql(0, 1, "SELECT count(*) FROM pg_stat_wal_receiver")? == "0");
    deployment.until("the replica is cut off", cut).await?;
    put(&deployment, "later", OLD)?;
    deployment.drained().await?;
    let (primary, replica) = (applied(&deployment)?, all_of_replica()?);
    ensure!(primary.iter().zip(&replica).all(|(primary, replica)| primary > replica), "it lags");
    Ok((deployment, primary, replica))
}

fn promote(deployment: &Deployment, cluster: &mut Cluster) -> Result<()> {
    block_in_place(|| cluster.kill(0))?;
    ensure!(deployment.psql(0, 1, "SELECT pg_promote()")? == "t", "it is promoted");
    Ok(())
}

/// Names the promoted replica as the primary of each shard. What each command came to.
async fn set_primary(deployment: &mut Deployment, more: &[&str]) -> Result<Vec<Output>> {
    let mut set = Vec::new();
    for shard in 0..2 {
        let (name, address) = (format!("shard-{shard}"), deployment.address(shard, 1));
        let mut arguments = vec!["topology", "set-primary", name.as_str(), address.as_str()];
        arguments.extend(more);
        set.push(deployment.run(&arguments).await?);
    }
    if set.iter().all(|set| set.status.success()) {
        deployment.primary_is(1);
    }
    Ok(set)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_late_within_its_budget_holds_the_floor_and_can_be_promoted() -> Result<()> {
    let mut cluster = Cluster::fresh(1)?;
    let (mut deployment, _, replica) = lagging(&cluster, "1h").await?;
    rounds(&deployment).await?;
    let starts = starts(&deployment)?;
    ensure!(
        starts.iter().zip(&replica).all(|(start, at)| start <= at),
        "{starts:?} with a replica at {replica:?}"
    );
    promote(&deployment, &mut cluster)?;
    let set = set_primary(&mut deployment, &[]).await?;
    ensure!(set.iter().all(|set| set.status.success()), "{set:?}");
    deployment.drained().await?;
    for key in deployment.keys("later") {
        let read = deployment.api(0).get(&format!("/kv/{key}?consistency=strong")).send().await?;
        ensure!(read.text() == (RECORDS - 1).to_string(), "{read:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_late_for_too_long_holds_nothing_and_becomes_the_primary_by_force_alone()
-> Result<()> {
    let mut cluster = Cluster::fresh(1)?;
    // It is not late by the log's time, since records that old take the time before them; it is silent.
    let (mut deployment, primary, replica) = lagging(&cluster, "1s").await?;
    block_in_place(|| cluster.kill(1))?;
    let trimmed = async || Ok(starts(&deployment)? == primary);
    deployment.until("the log is trimmed past the replica", trimmed).await?;
    ensure!(
        metric(&deployment, "millpond_sweeper_replicas_left_behind").await? == 2,
        "it is told, for each shard"
    );
    block_in_place(|| cluster.start_again(1))?;
    promote(&deployment, &mut cluster)?;
    for refused in set_primary(&mut deployment, &[]).await? {
        let told = String::from_utf8_lossy(&refused.stderr);
        ensure!(refused.status.code() == Some(4) && told.contains("are trimmed"), "{refused:?}");
    }
    let set = set_primary(&mut deployment, &["--force"]).await?;
    ensure!(set.iter().all(|set| set.status.success()), "{set:?}");
    let halted = async || {
        let ready = deployment.ops(Kind::Writer, 0).get("/readyz?verbose").send().await?.text();
        Ok(ready.matches("halted, log-gap").count() == 2)
    };
    deployment.until("both partitions halt, log-gap", halted).await?;
    ensure!(applied(&deployment)? == replica, "nothing was applied");
    Ok(())
}
