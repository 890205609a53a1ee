//! `millpond doctor`, `millpond deadletters` and answers that lack a shard.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options},
    postgres::Cluster,
    roles::Kind,
    server::{Fresh, millpond},
};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};

use super::{Said, put, run};

#[tokio::test]
async fn a_healthy_server_has_nothing_wrong_and_one_that_is_gone_is_said_to_be() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server, "a", "1").await?;
    let said = run(&server, &["doctor"]).await?.ended(0)?;
    ensure!(said.text().starts_with("nothing wrong (asked http://127.0.0.1:"), "{}", said.text());
    let told = run(&server, &["doctor", "--json"]).await?.ended(0)?.json()?;
    assert_eq!((&told["wrong"], &told["findings"]), (&json!(false), &json!([])));
    let letters = run(&server, &["deadletters", "list"]).await?.ended(0)?;
    assert_eq!(letters.text(), "no dead letters\n");
    let letters = server.ops.get("/admin/dead-letters?partition=3&limit=5").send().await?.json();
    let none = json!({"total": 0, "reasons": {}, "dead_letters": [], "complete": true, "unreachable": []});
    assert_eq!(letters, none);
    for (query, code) in
        [("limit=0", "limit-invalid"), ("limit=1001", "limit-invalid"), ("partition=8", "partition-unknown")]
    {
        let refused = server.ops.get(&format!("/admin/dead-letters?{query}")).send().await?;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (400, &json!(code)), "{query}");
    }
    let gone = run(&server, &["doctor", "--ops", "http://127.0.0.1:9"]).await?.ended(1)?;
    let text = gone.text();
    ensure!(
        text.starts_with("critical: nothing answers at http://127.0.0.1:9\n  next: `millpond`"),
        "{text}"
    );
    ensure!(text.ends_with("1 thing is wrong (asked http://127.0.0.1:9)\n"), "{text}");
    Ok(())
}

/// A command that talks to a deployment's first api, and to the ops listeners of its api and its writer.
async fn ask(deployment: &Deployment, arguments: &[&str]) -> Result<Said> {
    let ops = |kind| deployment.ops_address(kind, 0);
    let output = millpond()
        .args(arguments)
        .env("MILLPOND_SERVER", format!("http://{}", deployment.address_of_api(0)))
        .env("MILLPOND_OPS", format!("http://{},http://{}", ops(Kind::Api), ops(Kind::Writer)))
        .output()
        .await?;
    Ok(Said::of(output))
}

/// Puts a record on the log that can never apply, under a key with an escape in it.
fn poison(deployment: &Deployment) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", deployment.kafka()).set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.create()?;
    let topic = deployment.topic();
    let format = Header { key: "kv-format", value: Some("record") };
    let headers = OwnedHeaders::new().insert(format);
    let record = BaseRecord::to(&topic).key("default/\u{1b}[2Jevil").payload("no record").headers(headers);
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(Duration::from_mins(1))?;
    Ok(())
}

fn finding<'t>(told: &'t Value, what: &str) -> Result<&'t Value> {
    let findings = told["findings"].as_array().context("findings")?;
    let found =
        findings.iter().find(|finding| finding["what"].as_str().is_some_and(|text| text.contains(what)));
    found.with_context(|| format!("no finding says {what}: {told}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_partition_and_a_dead_letter_are_named_with_reason_and_next_command() -> Result<()> {
    let deployment = Deployment::start(&Options::default()).await?;
    poison(&deployment)?;
    let judged = async || {
        let letters = ask(&deployment, &["deadletters", "list", "--json"]).await?.ended(0)?.json()?;
        Ok(letters["total"] == 1)
    };
    deployment.until("the record is a dead letter", judged).await?;
    let letters = ask(&deployment, &["deadletters", "list", "--json"]).await?.ended(0)?.json()?;
    let position = letters["dead_letters"][0]["position"].as_str().context("a position")?.to_owned();
    let partition: u32 = position.split('-').nth(1).context("a partition")?.parse()?;
    let listed = ask(&deployment, &["deadletters", "list"]).await?.ended(0)?;
    let text = listed.text();
    ensure!(text.starts_with("1 dead letter: 1 undecodable\n") && text.contains(&position), "{text}");
    ensure!(text.contains("tenant default, key \\u{1b}[2Jevil, 9 bytes"), "{text}");
    let elsewhere = (partition + 1) % deployment.partitions();
    let other = ["deadletters", "list", "--partition", &elsewhere.to_string()];
    assert_eq!(ask(&deployment, &other).await?.ended(0)?.text(), "no dead letters\n");
    let healthy = ask(&deployment, &["doctor"]).await?.ended(0)?.text();
    ensure!(healthy.contains("notice: 1 dead letter") && healthy.contains(&position), "{healthy}");
    ensure!(
        healthy.contains("millpond deadletters list") && healthy.contains("nothing wrong otherwise"),
        "{healthy}"
    );

    deployment.psql(0, 0, "REVOKE INSERT ON kv_p00000 FROM CURRENT_USER")?;
    let key = deployment.keys("halt")[0].clone();
    deployment.api(0).put(&format!("/kv/{key}"), "x").send().await?;
    let config = deployment.dir().join("millpond.toml");
    let doctor = ["doctor", "--json", "--behind", "0", "--config", config.to_str().context("a path")?];
    let halted =
        async || Ok(finding(&ask(&deployment, &doctor).await?.json()?, "partition 0 is halted").is_ok());
    deployment.until("the doctor names the halted partition", halted).await?;
    let told = ask(&deployment, &doctor).await?.ended(1)?.json()?;
    let found = finding(&told, "partition 0 is halted: shard-refused")?;
    assert_eq!((&told["wrong"], &found["severity"]), (&json!(true), &json!("error")));
    ensure!(found["why"].as_str().is_some_and(|why| why.contains("permission denied")), "{found}");
    ensure!(found["next"].as_str().is_some_and(|next| next.contains("millpond init")), "{found}");
    finding(&told, "behind the log")?;
    assert_eq!(told["findings"][0]["severity"], "error", "the worst comes first");
    Ok(())
}

/// Nobody can connect to a shard's database any more.
fn shut(deployment: &Deployment, shard: usize) -> Result<()> {
    let url = deployment.url(shard, 0);
    let name = url.rsplit('/').next().context("a URL ends in its database")?;
    let other = 1 - shard;
    deployment.psql(other, 0, &format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false"))?;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    for node in 0..2 {
        deployment.psql(other, node, &end)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_a_shards_keys_never_looks_whole() -> Result<()> {
    let cluster = Cluster::fresh(1)?;
    let deployment =
        Deployment::start_on(Engines::shared()?.with_cluster(&cluster), &Options::default()).await?;
    for key in deployment.keys("list") {
        let put =
            deployment.api(0).put(&format!("/kv/{key}"), "v").header("Prefer", "wait=30").send().await?;
        ensure!(put.status == 200, "{put:?}");
    }
    let whole = ask(&deployment, &["scan", "--prefix", "list"]).await?.ended(0)?;
    let keys = whole.text().lines().count();
    ensure!(keys == deployment.keys("list").len(), "{}", whole.text());
    shut(&deployment, 1)?;
    let short = async || Ok(ask(&deployment, &["scan", "--prefix", "list"]).await?.code == Some(3));
    deployment.until("a scan says that it is not whole", short).await?;
    let said = ask(&deployment, &["scan", "--prefix", "list"]).await?.ended(3)?;
    ensure!(said.err.contains("error: not all keys: no answer from shard-1"), "{}", said.err);
    ensure!(said.text().lines().count() < keys, "{}", said.text());
    let out = deployment.dir().join("out");
    let export = ["export", "--out", out.to_str().context("a path")?, "--retry-for", "0"];
    let said = ask(&deployment, &export).await?.ended(3)?;
    ensure!(said.err.contains("shard-1") && said.err.contains("run the same command again"), "{}", said.err);
    let told = ask(&deployment, &["doctor", "--json"]).await?.ended(1)?.json()?;
    finding(&told, "no answer from shard-1")?;
    let letters = ask(&deployment, &["deadletters", "list"]).await?.ended(3)?;
    ensure!(letters.err.contains("shard-1"), "{}", letters.err);
    Ok(())
}

#[tokio::test]
async fn lag_is_told_by_the_one_process_where_no_kafka_is_set() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server, "a", "1").await?;
    let told = run(&server, &["lag", "--json"]).await?.ended(0)?.json()?;
    let partitions = told["partitions"].as_array().context("a list")?;
    assert_eq!(partitions.len(), 8);
    assert!(partitions.iter().all(|lag| lag["log_end"].as_i64() >= Some(2)), "{told}");
    let said = run(&server, &["lag"]).await?.ended(0)?;
    assert_eq!(said.text().lines().count(), 9, "{}", said.text());
    let gone = run(&server, &["lag", "--ops", "http://127.0.0.1:9"]).await?;
    ensure!(gone.ended(5).is_ok(), "a process that is gone is unreachable");
    Ok(())
}
