//! Queries over real shards with replicas, through several apis: whole, or said not to be.
//!
//! Invariant: what an absent shard has is neither told nor called missing, and can be had once it is back.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options, PATIENCE},
    http::Http,
    postgres::Cluster,
    process::until_async,
    roles::Kind,
};
use serde_json::{Value, json};

use crate::http::{
    paging::{batch, untouched_keys_come_exactly_once},
    query_model::queries_answer_as_the_model,
};

async fn query(http: &Http, body: &Value) -> Result<Value> {
    let answer = http.post("/kv/query", "application/json", body.to_string()).send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.json())
}

fn keys(page: &Value) -> BTreeSet<String> {
    let items = page["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|item| item["key"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_queries_through_two_apis_answer_as_a_model_does() -> Result<()> {
    let options = Options { apis: 2, writers: 1, ..Options::default() };
    let deployment = Deployment::start(&options).await?;
    queries_answer_as_the_model(&[deployment.api(0), deployment.api(1)], rand::random()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_through_two_apis_gives_each_untouched_key_exactly_once() -> Result<()> {
    let options = Options { apis: 2, writers: 2, ..Options::default() };
    let deployment = Deployment::start(&options).await?;
    untouched_keys_come_exactly_once(&[deployment.api(0), deployment.api(1)], (200, 7)).await
}

/// Nobody gets into a shard's database any more, on any node.
fn shut(deployment: &Deployment, shard: usize) -> Result<()> {
    let other = 1 - shard;
    let url = deployment.url(shard, 0);
    let name = url.rsplit('/').next().context("a URL ends in its database")?;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    deployment.psql(other, 0, &format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false"))?;
    for node in 0..2 {
        deployment.psql(other, node, &end)?;
    }
    Ok(())
}

fn open(deployment: &Deployment, shard: usize) -> Result<()> {
    let url = deployment.url(shard, 0);
    let name = url.rsplit('/').next().context("a URL ends in its database")?;
    deployment.psql(1 - shard, 0, &format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_shard_is_named_and_its_keys_come_later() -> Result<()> {
    let cluster = Cluster::fresh(1)?;
    let options = Options { apis: 2, ..Options::default() };
    let deployment = Deployment::start_on(Engines::shared()?.with_cluster(&cluster), &options).await?;
    let all: BTreeSet<String> = (0..40).map(|n| format!("q:{n:02}")).collect();
    let lines: Vec<Value> = all.iter().map(|key| json!({"op": "put", "key": key, "value": "v"})).collect();
    batch(deployment.api(0), &lines).await?;
    let of = |shard| -> BTreeSet<String> {
        all.iter().filter(|key| deployment.shard_of(deployment.partition(key)) == shard).cloned().collect()
    };
    let first =
        query(deployment.api(0), &json!({"prefix": "q:", "limit": 5, "consistency": "strong"})).await?;
    let names: Vec<&Value> =
        first["shards"].as_array().context("shards")?.iter().map(|s| &s["name"]).collect();
    ensure!(first["complete"] == true && names.len() == 2, "{first}");
    let absent = names[1].clone();

    shut(&deployment, 1)?;
    let gone = async || Ok(query(deployment.api(1), &json!({"prefix": "q:"})).await?["complete"] == false);
    deployment.until("the shard is absent", gone).await?;
    let range = query(deployment.api(1), &json!({"prefix": "q:", "limit": 1000})).await?;
    assert_eq!(keys(&range), of(0), "what the other has is told");
    assert_eq!(range["shards"][0]["status"], "answered", "{range}");
    assert_eq!(range["shards"][1], json!({"name": absent, "status": "unavailable"}));
    let part = query(deployment.api(1), &json!({"cursor": first["next_cursor"], "limit": 1000})).await?;
    assert_eq!((&part["complete"], &part["shards"][1]["name"]), (&json!(false), &absent));
    let mut asked: Vec<&str> = all.iter().map(String::as_str).collect();
    asked.push("nil");
    let named = query(deployment.api(0), &json!({ "keys": asked })).await?;
    assert_eq!((&named["complete"], keys(&named)), (&json!(false), of(0)));
    let missing: Vec<&str> =
        named["missing"].as_array().context("missing")?.iter().filter_map(Value::as_str).collect();
    let is_of_0 = deployment.shard_of(deployment.partition("nil")) == 0;
    assert_eq!(missing, if is_of_0 { vec!["nil"] } else { vec![] }, "of an absent shard nothing is known");
    let stream =
        deployment.api(0).get("/kv?prefix=q:").header("accept", "application/x-ndjson").send().await?;
    let stream = stream.text();
    let last: Value = serde_json::from_str(stream.lines().last().context("a last line")?)?;
    assert_eq!((&last["complete"], last["next_cursor"].is_string()), (&json!(false), true), "{last}");

    open(&deployment, 1)?;
    for (cursor, before) in [
        (&range["next_cursor"], BTreeSet::new()),
        (&part["next_cursor"], keys(&first)),
        (&named["next_cursor"], BTreeSet::new()),
        (&last["next_cursor"], BTreeSet::new()),
    ] {
        let mut page = Value::Null;
        let back = async || {
            page = query(deployment.api(0), &json!({"cursor": cursor, "limit": 1000})).await?;
            Ok(page["complete"] == true)
        };
        deployment.until("the shard is back", back).await?;
        let told: BTreeSet<String> = keys(&page).union(&before).cloned().collect();
        assert_eq!((told, &page["next_cursor"]), (all.clone(), &Value::Null));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_replay_paused_a_query_is_as_fresh_as_it_was_asked_to_be() -> Result<()> {
    let cluster = Cluster::fresh(1)?;
    let deployment = Deployment::start_on(
        Engines::shared()?.with_cluster(&cluster),
        &Options { apis: 2, ..Options::default() },
    )
    .await?;
    batch(deployment.api(0), &[json!({"op": "put", "key": "p:old", "value": "v"})]).await?;
    deployment.psql(0, 1, "SELECT pg_wal_replay_pause()")?;
    let paused = async || Ok(deployment.psql(0, 1, "SELECT pg_get_wal_replay_pause_state()")? == "paused");
    deployment.until("replay is paused", paused).await?;
    let new: Vec<String> = (0..20).map(|n| format!("p:new{n:02}")).collect();
    let lines: Vec<Value> = new.iter().map(|key| json!({"op": "put", "key": key, "value": "v"})).collect();
    batch(deployment.api(0), &lines).await?;
    let mut expected: BTreeSet<String> = new.iter().cloned().collect();
    expected.insert("p:old".to_owned());
    for api in [0, 1] {
        for _ in 0..10 {
            let strong =
                query(deployment.api(api), &json!({"prefix": "p:", "consistency": "strong"})).await?;
            assert_eq!(keys(&strong), expected);
        }
    }
    let own = query(deployment.api(0), &json!({"prefix": "p:"})).await?;
    assert_eq!(keys(&own), expected, "what was written through this api");
    let token: Vec<&str> =
        own["positions"].as_array().context("positions")?.iter().filter_map(Value::as_str).collect();
    let path = "/kv?prefix=p:&consistency=session";
    let session = deployment.api(1).get(path).header("kv-min-position", &token.join(",")).send().await?;
    assert_eq!(keys(&session.json()), expected);
    // Pages are no older than the first, whoever answers them.
    let mut page = query(deployment.api(0), &json!({"prefix": "p:", "limit": 1})).await?;
    let mut told = keys(&page);
    for turn in 1.. {
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        page = query(deployment.api(turn % 2), &json!({ "cursor": cursor })).await?;
        told.extend(keys(&page));
    }
    assert_eq!(told, expected);
    deployment.psql(0, 1, "SELECT pg_wal_replay_resume()")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_without_the_mac_key_says_where_to_get_it() -> Result<()> {
    let options = Options { apis: 0, writers: 0, ..Options::default() };
    let mut deployment = Deployment::start(&options).await?;
    std::fs::remove_file(deployment.dir().join("mac.key"))?;
    deployment.spawn(Kind::Api)?;
    let role = deployment.role(Kind::Api, 0);
    let says = until_async(PATIENCE, async || role.tail().contains("copy it from another process")).await;
    ensure!(says, "it does not say it{}", role.tail());
    Ok(())
}
