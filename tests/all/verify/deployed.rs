//! On Kafka and Postgres: primaries and replicas under load, and what was changed on a primary.

use std::{collections::HashSet, mem::discriminant, time::Duration};

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    roles::Kind,
};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::{
    Told,
    tampering::{CASES, PARTITION, Sql, ensure_found},
};

async fn verify(deployment: &Deployment, arguments: &[&str]) -> Result<Told> {
    let mut all = vec!["verify", "--json"];
    all.extend(arguments);
    Told::of(&deployment.run(&all).await?)
}

/// Writes of every kind; the outcomes of a few are waited for.
async fn load(deployment: &Deployment, round: usize) -> Result<()> {
    let api = deployment.api(0);
    for n in 0..40 {
        let key = format!("/kv/k{}", n % 17);
        api.put(&key, format!("{round} {n}")).send().await?;
        let put = api.put(&key, "x").header("If-None-Match", "*").header("Prefer", "respond-async");
        put.send().await?;
        let once = format!("{round}-{n}");
        let put = api.put(&format!("/kv/d{n}"), "once").header("Idempotency-Key", &once);
        put.header("Prefer", "respond-async").send().await?;
        if n % 5 == 0 {
            api.delete(&format!("/kv/k{}", (n + 3) % 17)).send().await?;
        }
    }
    Ok(())
}

/// A transaction with a record that can never apply, and one that is aborted: markers and holes on the log.
fn foreign(deployment: &Deployment) -> Result<()> {
    const PATIENCE: Duration = Duration::from_mins(1);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", deployment.kafka()).set("transactional.id", deployment.prefix());
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(PATIENCE)?;
    for commits in [true, false] {
        producer.begin_transaction()?;
        let headers = OwnedHeaders::new().insert(Header { key: "name", value: Some("header") });
        let topic = deployment.topic();
        let record = BaseRecord::to(&topic).partition(i32::try_from(PARTITION)?).headers(headers);
        producer.send(record.key("no tenant").payload("no record")).map_err(|(error, _)| error)?;
        if commits {
            producer.commit_transaction(PATIENCE)?;
        } else {
            producer.flush(PATIENCE)?;
            producer.abort_transaction(PATIENCE)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn primaries_and_replicas_are_equal_while_writes_go_on() -> Result<()> {
    let deployment = Deployment::start(&Options { sweepers: 1, ..Options::default() }).await?;
    load(&deployment, 0).await?;
    foreign(&deployment)?;
    let partitions = deployment.partitions() as usize;
    let (loaded, told) = tokio::join!(load(&deployment, 1), verify(&deployment, &["--all-nodes"]));
    loaded?;
    told?.ensure_equal(2 * partitions)?;
    deployment.drained().await?;
    let told = verify(&deployment, &[]).await?;
    told.ensure_equal(partitions)?;
    let replica = verify(&deployment, &["--replica", "0", "--partition", "1"]).await?;
    replica.ensure_equal(1)?;
    let address = deployment.address(1, 1);
    verify(&deployment, &["--node", &address, "--shard", "shard-1"]).await?.ensure_equal(partitions / 2)?;
    let missing = verify(&deployment, &["--replica", "7"]).await?;
    ensure!(missing.code == Some(2) && missing.errors.contains("there is no number 7"), "{missing:?}");
    Ok(())
}

const POSTGRES: Sql = Sql {
    yes: "true",
    blob: ["'\\x", "'::bytea"],
    hex: |column| format!("encode({column}, 'hex')"),
    columns: |table| {
        format!(
            "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
        )
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_by_hand_is_found_and_named() -> Result<()> {
    let mut deployment = Deployment::start(&Options::default()).await?;
    load(&deployment, 0).await?;
    foreign(&deployment)?;
    load(&deployment, 1).await?;
    deployment.drained().await?;
    deployment.kill(Kind::Writer, 0)?;
    let shard = deployment.shard_of(PARTITION);
    let run = |sql: &str| deployment.psql(shard, 0, sql);
    let tables = ["kv", "outcome", "seen", "operation", "dead_letter", "watermark"];
    for table in tables {
        run(&format!("CREATE TABLE was_{table} AS SELECT * FROM {table} WHERE partition = {PARTITION}"))?;
    }
    let partition = PARTITION.to_string();
    let key = run(&format!(
        "SELECT convert_from(key, 'UTF8') FROM kv WHERE partition = {PARTITION} AND NOT tombstone ORDER BY key DESC LIMIT 1"
    ))?;
    verify(&deployment, &["--partition", &partition]).await?.ensure_equal(1)?;
    // One of each kind of change a table: columns are read by the same code on both engines.
    let mut kinds = HashSet::new();
    for case in CASES.iter().filter(|case| kinds.insert((case.table, discriminant(&case.change)))) {
        let sql = POSTGRES.of(case, &key, run)?;
        run(&sql)?;
        ensure_found(case, &sql, &verify(&deployment, &["--partition", &partition]).await?)?;
        let table = case.table;
        run(&format!(
            "DELETE FROM {table} WHERE partition = {PARTITION}; INSERT INTO {table} SELECT * FROM was_{table}"
        ))?;
    }
    verify(&deployment, &[]).await?.ensure_equal(deployment.partitions() as usize)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_log_and_a_shard_that_is_gone_cannot_be_told() -> Result<()> {
    let mut deployment = Deployment::start(&Options::default()).await?;
    load(&deployment, 0).await?;
    deployment.drained().await?;
    deployment.topics()?.trim(&deployment.topic(), 0, 1).await?;
    let told = verify(&deployment, &[]).await?;
    ensure!(told.code == Some(2), "{told:?}");
    for (partition, copy) in (0u64..).zip(told.json["copies"].as_array().expect("copies")) {
        let (result, code) = (&copy["result"], &copy["error"]["code"]);
        let wanted = if partition == 0 { "cannot-tell" } else { "equal" };
        ensure!(result == wanted && (partition > 0 || code == "log-trimmed"), "{copy}");
    }
    deployment.kill(Kind::Writer, 0)?;
    let nowhere = verify(&deployment, &["--node", "postgres://nobody@127.0.0.1:1/none", "--partition", "1"]);
    let told = nowhere.await?;
    let code = &told.json["copies"][0]["error"]["code"];
    ensure!(told.code == Some(2) && code == "unavailable", "{told:?}");
    Ok(())
}
