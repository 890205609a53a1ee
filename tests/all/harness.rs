//! The harness itself: engines come back with their data, and none outlives the harness.

mod stack;

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    folder::Folder,
    kafka::Broker,
    postgres::Cluster,
    process::{exists, until},
};
use rdkafka::{
    ClientConfig, Message,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
    topic_partition_list::{Offset, TopicPartitionList},
};

/// How long an engine may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);
/// Prints the numbers of the engines' processes and how tests find them.
const TELL: &str = "cat /proc/$PPID/task/*/children; env";

fn client(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address()).set("group.id", "harness").set("acks", "all");
    config
}

#[tokio::test]
async fn broker_keeps_its_records_through_kill_9() -> Result<()> {
    let mut broker = Broker::fresh()?;
    let admin: AdminClient<_> = client(&broker).create()?;
    let topic = NewTopic::new("kept", 1, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(PATIENCE))).await?;
    ensure!(made.iter().all(Result::is_ok), "{made:?}");
    let producer: BaseProducer = client(&broker).create()?;
    let sent = producer.send(BaseRecord::to("kept").key("key").payload("value"));
    sent.map_err(|(error, _)| error)?;
    producer.flush(PATIENCE)?;

    let (address, pid) = (broker.address(), broker.pid());
    broker.kill()?;
    ensure!(!exists(pid) && !broker.is_alive(), "it is dead");
    broker.start_again()?;
    ensure!(broker.address() == address && broker.pid() != pid, "the same address, another process");

    let consumer: BaseConsumer = client(&broker).create()?;
    let mut from_start = TopicPartitionList::new();
    from_start.add_partition_offset("kept", 0, Offset::Beginning)?;
    consumer.assign(&from_start)?;
    let record = consumer.poll(PATIENCE).context("the record is there")??;
    ensure!(record.offset() == 0 && record.payload() == Some(b"value"), "{record:?}");
    Ok(())
}

#[test]
fn replica_replays_what_the_primary_wrote() -> Result<()> {
    let mut cluster = Cluster::fresh(1)?;
    cluster.psql(0, "millpond", "millpond", "CREATE TABLE t AS SELECT 1 AS n")?;
    until_replica_says(&cluster, "SELECT n FROM t", "1")?;
    ensure!(cluster.psql(1, "millpond", "millpond", "DELETE FROM t").is_err(), "a replica takes no write");

    for node in [0, 1] {
        cluster.kill(node)?;
        cluster.start_again(node)?;
    }
    cluster.psql(0, "millpond", "millpond", "INSERT INTO t VALUES (2)")?;
    until_replica_says(&cluster, "SELECT max(n) FROM t", "2")
}

#[test]
fn role_millpond_can_do_in_a_new_database_what_drills_need() -> Result<()> {
    let cluster = Cluster::fresh(1)?;
    cluster.psql(0, "millpond", "postgres", "CREATE DATABASE own")?;
    cluster.psql(
        0,
        "millpond",
        "own",
        "SELECT pg_stat_reset(); CREATE TABLE t AS SELECT 1 AS n; CHECKPOINT",
    )?;
    ensure!(cluster.psql(0, "millpond", "own", "CREATE ROLE other").is_err(), "it is no superuser");

    let own = |sql| cluster.psql(1, "millpond", "own", sql);
    ensure!(until(PATIENCE, || Ok(own("SELECT n FROM t").is_ok()))?, "the database is on the replica");
    own("SELECT pg_wal_replay_pause()")?;
    own("SELECT pg_wal_replay_resume()")?;
    ensure!(own("SELECT pg_promote()")?.trim() == "t", "the replica is promoted");
    own("INSERT INTO t VALUES (2)")?;
    Ok(())
}

fn until_replica_says(cluster: &Cluster, sql: &str, wanted: &str) -> Result<()> {
    // Until the table is there, the question is an error.
    let said = until(PATIENCE, || {
        Ok(cluster.psql(1, "millpond", "millpond", sql).is_ok_and(|answer| answer.trim() == wanted))
    })?;
    ensure!(said, "the replica never says {wanted}");
    Ok(())
}

/// Runs `sh -c` with engines, all data below `folder`, and gives the numbers of the engines' processes, too.
fn with_engines(folder: &Folder, script: &str) -> Result<(Output, Vec<u32>)> {
    let output = Command::new(env!("CARGO_BIN_EXE_millpond-stack"))
        .args(["engines", "--", "sh", "-c", &format!("{TELL}; {script}")])
        .env("TMPDIR", folder.path())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    for variable in ["MILLPOND_TEST_KAFKA", "MILLPOND_TEST_POSTGRES", "MILLPOND_TEST_POSTGRES_REPLICA"] {
        ensure!(text.contains(&format!("\n{variable}=")), "{variable} is not set: {output:?}");
    }
    let pids: Vec<u32> = text.lines().next().unwrap_or_default().split(' ').flat_map(str::parse).collect();
    // The shell and three engines.
    ensure!(pids.len() == 4, "{pids:?} run");
    Ok((output, pids))
}

/// What is left in the folder, but for its own lock.
fn left(folder: &Folder) -> Result<Vec<std::ffi::OsString>> {
    let names: std::io::Result<Vec<_>> =
        std::fs::read_dir(folder.path())?.map(|entry| Ok(entry?.file_name())).collect();
    Ok(names?.into_iter().filter(|name| name != "lock").collect())
}

#[test]
fn engines_end_with_the_command_and_hand_on_its_exit_code() -> Result<()> {
    let folder = Folder::create()?;
    let (output, pids) = with_engines(&folder, "exit 7")?;
    ensure!(output.status.code() == Some(7), "{output:?}");
    ensure!(!pids.iter().any(|pid| exists(*pid)), "an engine of {pids:?} is left");
    ensure!(left(&folder)?.is_empty(), "{:?} is left", left(&folder)?);
    Ok(())
}

#[test]
fn engines_end_when_the_harness_is_terminated() -> Result<()> {
    let folder = Folder::create()?;
    let (output, pids) = with_engines(&folder, "kill -TERM $PPID; exec tail -f /dev/null")?;
    ensure!(output.status.code() == Some(143), "{output:?}");
    ensure!(!pids.iter().any(|pid| exists(*pid)), "a process of {pids:?} is left");
    ensure!(left(&folder)?.is_empty(), "{:?} is left", left(&folder)?);
    Ok(())
}

#[test]
fn engines_end_when_the_harness_is_killed() -> Result<()> {
    let folder = Folder::create()?;
    let (output, pids) = with_engines(&folder, "kill -KILL $PPID")?;
    ensure!(output.status.signal() == Some(9), "{output:?}");
    ensure!(until(PATIENCE, || Ok(!pids.iter().any(|pid| exists(*pid))))?, "an engine of {pids:?} is left");
    Ok(())
}
