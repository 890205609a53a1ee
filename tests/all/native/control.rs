//! What only the system may say on the log: a Seal, a newer format, and a record that an operator gives up.
//!
//! Invariant: records here are signed with the deployment's own key; a foreign client only carries them.

use anyhow::{Context, Result, ensure};
use millpond_log::{
    Topologies,
    kafka::{Cluster, Config},
};
use millpond_schemas::{
    Claim, Control, ControlOp, Generation, Keyring, Offset, PartitionId, Topology,
    limits::{FOLD_VERSION, FORMAT, VALUE_BYTES_MAX},
};
use millpond_tests::{deployment::Deployment, roles::Kind};

use super::{
    deployment,
    foreign::{Client, Sent, Topic},
    get, outcome,
};
use crate::halts::Shell;

/// The deployment's control topic and MAC key, as an operator's command has them.
struct Operator<'a> {
    deployment: &'a Deployment,
    topologies: Topologies,
    keyring: Keyring,
}

impl<'a> Operator<'a> {
    async fn of(deployment: &'a Deployment) -> Result<Self> {
        let config = Config { dev: true, ..Config::new(deployment.kafka(), deployment.prefix()) };
        let topologies = Topologies::open(Cluster::connect(config)?.control().await?).await?;
        let key = std::fs::read(deployment.dir().join("mac.key"))?;
        let keyring = Keyring::new(1, key.try_into().ok().context("the key has 32 bytes")?);
        Ok(Self { deployment, topologies, keyring })
    }

    fn topology(&self) -> Result<Topology> {
        Ok(self.topologies.current().context("there is a topology")?.as_ref().clone())
    }

    /// A control record as its appender would make it now.
    fn signed(&self, partition: u32, op: ControlOp) -> Result<Sent> {
        let (_, end) = self.deployment.topics()?.bounds(&self.deployment.topic(), partition)?;
        self.signed_at(partition, end, op)
    }

    fn signed_at(&self, partition: u32, end: i64, op: ControlOp) -> Result<Sent> {
        let control = Control {
            id: rand::random(),
            log_id: self.topology()?.log_id,
            partition: PartitionId(partition),
            end_seen: Offset(end),
            mac_key_id: 1,
            op,
        };
        let raw = control.encode(&self.keyring)?;
        let sent = Sent::default().valued(raw.value.context("it has a value")?);
        Ok(raw.headers.into_iter().fold(sent, |sent, (name, value)| sent.header(&name, value)).to(partition))
    }
}

/// The reason of the dead letter at a place; empty where there is none.
fn reason(deployment: &Deployment, (partition, offset): (u32, i64)) -> Result<String> {
    let sql =
        format!("SELECT reason FROM dead_letter WHERE partition = {partition} AND log_offset = {offset}");
    deployment.psql(deployment.shard_of(partition), 0, &sql)
}

fn etag(position: &str) -> String {
    format!("\"{position}\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_seal_is_a_dead_letter_and_other_partitions_go_on() -> Result<()> {
    let mut deployment = deployment(2).await?;
    let keys = deployment.keys("key-").into_iter().map(|key| format!("default/{key}"));
    let keys: Vec<String> = keys.collect();
    let mut client = Client::confluent(&deployment)?;
    let operator = Operator::of(&deployment).await?;
    let before = client.send(&Sent::plain(keys[0].clone(), "before")).await?;
    let seal = ControlOp::Seal { next_generation: Generation(2) };
    let seal = client.place(&operator.signed(0, seal)?).await?;
    let after = client.place(&Sent::plain(keys[0].clone(), "after")).await?;
    let sweep = client.place(&operator.signed(0, ControlOp::Sweep { rows_max: 1 })?).await?;
    let elsewhere = client.send(&Sent::plain(keys[1].clone(), "elsewhere")).await?;
    deployment.drained().await?;
    assert_eq!(reason(&deployment, seal)?, "");
    assert_eq!(reason(&deployment, after)?, "sealed");
    assert_eq!(reason(&deployment, sweep)?, "sealed");
    let mut letters = Topic::follow(&deployment, &format!("{}.deadletters", deployment.prefix()), None)?;
    let letters = letters.until(|all| all.len() == 2).await?;
    assert_eq!(letters[0].header("kv-error-code")?, "sealed");
    assert_eq!(
        (letters[0].key.as_deref(), letters[0].value.as_deref()),
        (Some(keys[0].as_bytes()), Some(&b"after"[..]))
    );
    drop(operator);

    // Its writer may still be followed by another one: a Claim is no mutation.
    deployment.kill(Kind::Writer, 0)?;
    deployment.start_again(Kind::Writer, 0).await?;
    let last = client.place(&Sent::plain(keys[0].clone(), "last")).await?;
    deployment.drained().await?;
    assert_eq!(reason(&deployment, last)?, "sealed");
    for (key, position) in [(&keys[0], before), (&keys[1], elsewhere)] {
        assert_eq!(get(deployment.api(0), key.as_bytes()).await?.header("etag"), etag(&position), "{key}");
    }
    let dead = super::count(&deployment, 0, "SELECT count(*) FROM dead_letter WHERE partition = 0")?;
    assert_eq!(dead, 3, "no Claim among them");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_genuine_control_record_in_another_place_is_forged() -> Result<()> {
    let deployment = deployment(2).await?;
    let operator = Operator::of(&deployment).await?;
    let mut client = Client::confluent(&deployment)?;
    let seal = || ControlOp::Seal { next_generation: Generation(2) };
    let key = format!("default/{}", deployment.keys("key-")[0]);
    let keyed = operator.signed(0, seal())?.keyed(key.clone());
    let mut forged = Vec::new();
    for sent in [
        operator.signed(1, seal())?.to(0),
        operator.signed_at(0, 1_000_000, seal())?,
        keyed,
        operator.signed(0, seal())?.valued(&b"\x0a\x00"[..]),
    ] {
        forged.push(client.place(&sent).await?);
    }
    let after = client.send(&Sent::plain(key.clone(), "after")).await?;
    assert_eq!(
        get(deployment.api(0), key.as_bytes()).await?.header("etag"),
        etag(&after),
        "nothing is sealed"
    );
    for (place, wanted) in forged.into_iter().zip([
        "forged-control-record",
        "forged-control-record",
        "forged-control-record",
        "undecodable",
    ]) {
        assert_eq!(reason(&deployment, place)?, wanted, "{place:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_newer_format_halts_its_partition_until_an_operator_gives_the_record_up() -> Result<()> {
    const NEWER: &str = "format: 200 put { value: \"newer\" }";
    let deployment = deployment(2).await?;
    let keys = deployment.keys("key-").into_iter().map(|key| format!("default/{key}"));
    let keys: Vec<String> = keys.collect();
    let (api, mut client) = (deployment.api(0), Client::kafka_python(&deployment)?);
    let operator = Operator::of(&deployment).await?;
    let early = client.place(&Sent::record(keys[0].clone(), NEWER)).await?;
    client.send(&Sent::plain(keys[0].clone(), "before")).await?;
    assert_eq!(get(api, keys[0].as_bytes()).await?.text(), "before");
    assert_eq!(reason(&deployment, early)?, "format-unknown", "nobody has announced it");

    let claim = Claim {
        copy: operator.topology()?.shards[0].name.clone(),
        generation: Generation::FIRST,
        partitions: 2,
        fold_version: FOLD_VERSION,
        format_max: 200,
        value_bytes_max: VALUE_BYTES_MAX as u64,
        purge_grace_ms: 1000,
        mac_key_id: 1,
    };
    client.place(&operator.signed(0, ControlOp::Claim(claim))?).await?;
    let (partition, offset) = client.place(&Sent::record(keys[0].clone(), NEWER)).await?;
    let behind = client.send(&Sent::plain(keys[0].clone(), "behind")).await?;
    let shell = Shell::of_deployment(&deployment);
    let printed = shell.sees(partition, "version-unknown").await?;
    assert_eq!(printed, format!("millpond skip 1-{partition}-{offset} --dry-run"));
    assert_eq!(deployment.applied(0)?, offset - 1, "it stands before the record");
    assert_eq!(reason(&deployment, (partition, offset))?, "", "a roll-back drops nothing");
    client.send(&Sent::plain(keys[1].clone(), "elsewhere")).await?;
    assert_eq!(get(api, keys[1].as_bytes()).await?.text(), "elsewhere");

    shell.follows(&printed).await?;
    shell.goes_on(partition).await?;
    let told = outcome(api, &behind).await?;
    assert_eq!(told["status"], "applied", "{told}");
    assert_eq!(get(api, keys[0].as_bytes()).await?.text(), "behind");
    assert_eq!(reason(&deployment, (partition, offset))?, "skipped");
    let mut letters = Topic::follow(&deployment, &format!("{}.deadletters", deployment.prefix()), None)?;
    let letters = letters.until(|all| all.len() == 2).await?;
    assert_eq!(letters[1].header("kv-error-code")?, "skipped");
    assert_eq!(letters[1].header("__connect.errors.offset")?, offset.to_string());
    assert_eq!(letters[1].key.as_deref(), Some(keys[0].as_bytes()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_claim_announces_halts_a_writer_until_its_file_lies_beside_the_first() -> Result<()> {
    let mut deployment = deployment(2).await?;
    let key = format!("default/{}", deployment.keys("key-")[0]);
    let mut client = Client::kafka_python(&deployment)?;
    let operator = Operator::of(&deployment).await?;
    let claim = Claim {
        copy: operator.topology()?.shards[0].name.clone(),
        generation: Generation::FIRST,
        partitions: 2,
        fold_version: FOLD_VERSION,
        format_max: FORMAT,
        value_bytes_max: VALUE_BYTES_MAX as u64,
        purge_grace_ms: 1000,
        mac_key_id: 2,
    };
    client.place(&operator.signed(0, ControlOp::Claim(claim))?).await?;
    let behind = client.send(&Sent::plain(key.clone(), "behind")).await?;
    let shell = Shell::of_deployment(&deployment);
    let printed = shell.sees(0, "key-missing").await?;
    let config = deployment.dir().join("millpond.toml");
    let shown =
        shell.run(&printed.replace("FILE", config.to_str().context("a path")?), &[]).await?.ended(0)?;
    ensure!(shown.out.contains("mac_key_file"), "{}", shown.out);

    // As it says: beside the file that mac_key_file names, with the key's number at its end.
    std::fs::write(deployment.dir().join("mac.key.2"), [2; 32])?;
    deployment.terminate(Kind::Writer, 0).await?;
    deployment.start_again(Kind::Writer, 0).await?;
    Shell::of_deployment(&deployment).goes_on(0).await?;
    let told = outcome(deployment.api(0), &behind).await?;
    assert_eq!(told["status"], "applied", "{told}");
    Ok(())
}
