//! Kafka-native producers: foreign clients write to the topic of a running deployment, and nothing of Millpond's code
//! lies between them and the broker.
//!
//! Invariant: what these tests send and read from Kafka goes through the programs in `tests/native` and kcat.

mod clients;
mod control;
mod foreign;
mod letters;
mod outcomes;
mod page;
mod partitions;
mod plain;
mod transactions;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    http::{Answer, Http},
};

/// One api and one writer.
async fn deployment(partitions: u32) -> Result<Deployment> {
    Deployment::start(&Options { partitions, ..Options::default() }).await
}

/// `/kv/…` of the tenant's key in a record key.
fn path(record_key: &[u8]) -> (String, String) {
    let slash = record_key.iter().position(|byte| *byte == b'/').expect("a test's record key has a tenant");
    let (tenant, key) = record_key.split_at(slash);
    let encoded = key[1..].iter().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
    (format!("/kv/{encoded}"), String::from_utf8(tenant.to_vec()).expect("a tenant is ASCII"))
}

/// The key as it is, once all that is on the log now is applied.
async fn get(api: &Http, record_key: &[u8]) -> Result<Answer> {
    let (path, tenant) = path(record_key);
    let answer = api.get(&format!("{path}?consistency=strong")).header("KV-Tenant", &tenant).send().await?;
    ensure!(answer.status == 200 || answer.status == 404, "{answer:?}");
    Ok(answer)
}

/// What became of a mutation of the tenant `default`, once it is applied.
async fn outcome(api: &Http, position: &str) -> Result<serde_json::Value> {
    let answer = api.get(&format!("/mutations/{position}?wait=30s")).send().await?;
    ensure!(answer.status == 200, "{position}: {answer:?}");
    Ok(answer.json())
}

/// The number that a query gives.
fn count(deployment: &Deployment, partition: u32, sql: &str) -> Result<i64> {
    let said = deployment.psql(deployment.shard_of(partition), 0, sql)?;
    said.parse().with_context(|| format!("{said} is no number"))
}
