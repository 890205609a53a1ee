//! Two builds of the writer side by side, of which the next one's fold has a higher version: the old one halts where the
//! new one has been, and drops nothing; the new one goes on.
//!
//! Without the checker, which is of the old build: the new one verifies the copies. The short form has no second build and
//! puts a Claim of a higher version on the log instead.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use millpond_log::{
    Append, Topologies,
    kafka::{Cluster, Config},
};
use millpond_schemas::{Claim, Control, ControlOp, Generation, Keyring, Offset, PartitionId, limits};

use super::{
    Context, Drill, Length, Need,
    stage::{self, owned},
    steady::Steady,
};
use crate::{
    deployment::{Deployment, Options},
    process::run as run_command,
    roles::Kind,
};

/// Names a build of the next version; without it one is built.
const NEWER: &str = "MILLPOND_TEST_NEWER";
/// What such a build makes of this: it speaks the next version of the fold.
const PICKED: (&str, &str) = ("MUTANT", "newer-fold");
/// The writer of the old build, and that of the next one.
const OLD: usize = 0;
const NEW: usize = 1;
/// Puts that have to be accepted at each stage.
const ACCEPTED: u64 = 20;
/// The halt.
const UNKNOWN: &str = "version-unknown";

pub(super) const DRILL: Drill = Drill {
    name: "versions",
    number: 23,
    about: "writers of two builds side by side: where the next one has been the old one halts and drops nothing; the next \
            one goes on",
    engines: Need::Shared,
    long: Length::new(300, 1),
    short: Length::new(20, 1),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let options = Options { apis: 1, writers: 1, sweepers: 1, ..stage::options() };
    let mut deployment = Deployment::start(&options).await?;
    stage::until_shared_out(&deployment).await?;
    let steady = Steady::start(&context, &deployment);
    steady.more(ACCEPTED).await?;
    if context.is_long() {
        let newer = tokio::task::spawn_blocking(newer).await.context("the build panicked")??;
        side_by_side(&context, &mut deployment, &steady, &newer).await?;
        steady.stop(&context).await?;
        deployment.drained().await?;
        ensure!(letters(&deployment)? == 0, "something is a dead letter");
        context.deadlocks(&deployment)?;
        verified(&deployment, &newer)
    } else {
        by_hand(&context, &mut deployment, &steady).await?;
        steady.stop(&context).await?;
        context.deadlocks(&deployment)
    }
}

/// A Claim of a higher version comes, then the writer is another one: it stands before the Claim both times.
async fn by_hand(context: &Context, deployment: &mut Deployment, steady: &Steady) -> Result<()> {
    let claim = claim_next(deployment, 0).await?;
    context.fault("Claim of a next version", "partition 0");
    for round in 0..2 {
        until_halted(deployment, &[0]).await?;
        steady.more(ACCEPTED).await?;
        ensure!(deployment.applied(0)? == claim - 1, "it does not stand before the Claim");
        ensure!(letters(deployment)? == 0, "something is a dead letter");
        until_others_apply(deployment, &[0]).await?;
        if round == 0 {
            deployment.kill(Kind::Writer, OLD)?;
            context.fault("kill -9", "writer-0");
            deployment.start_again(Kind::Writer, OLD).await?;
        }
    }
    Ok(())
}

/// The next build's writer comes, goes, and comes again for good.
async fn side_by_side(
    context: &Context,
    deployment: &mut Deployment,
    steady: &Steady,
    newer: &Path,
) -> Result<()> {
    let binary = newer.to_string_lossy().into_owned();
    let (name, value) = PICKED;
    let environment = [("MILLPOND_TEST_BINARY", binary.as_str()), (name, value)];
    let environment: BTreeMap<_, _> =
        environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    deployment.spawn_with(Kind::Writer, environment)?;
    deployment.until_ready().await?;
    stage::until_shared_out(deployment).await?;
    context.fault("writer of the next build beside the old one", "writer-1");
    let new: Vec<u32> = owned(deployment, NEW).await?.into_iter().map(|(partition, _)| partition).collect();
    for partition in &new {
        let version = version(deployment, *partition).await?;
        let wanted = limits::FOLD_VERSION + 1;
        ensure!(version == wanted, "the next build claims {version}: is it built with --features mutants?");
    }
    steady.more(ACCEPTED).await?;
    until_others_apply(deployment, &[]).await?;

    deployment.kill(Kind::Writer, NEW)?;
    context.fault("kill -9 of the next build", "writer-1");
    until_halted(deployment, &new).await?;
    let stand =
        |deployment: &Deployment| new.iter().map(|at| deployment.applied(*at)).collect::<Result<Vec<_>>>();
    let before = stand(deployment)?;
    steady.more(ACCEPTED).await?;
    until_others_apply(deployment, &new).await?;
    ensure!(stand(deployment)? == before, "the old build has applied something where it halts");
    ensure!(letters(deployment)? == 0, "something is a dead letter");
    context.figure("halted", format!("partitions {new:?}, at {before:?}, while the others go on"));

    deployment.start_again(Kind::Writer, NEW).await?;
    steady.more(ACCEPTED).await?;
    deployment.terminate(Kind::Writer, OLD).await?;
    context.fault("the old build ends", "writer-0");
    steady.more(ACCEPTED).await?;
    until_others_apply(deployment, &[]).await
}

/// Waits until the old writer halts in all of these.
async fn until_halted(deployment: &Deployment, wanted: &[u32]) -> Result<()> {
    let halted = async || {
        let owned = owned(deployment, OLD).await?;
        let halts = |at: &u32| owned.iter().any(|(own, state)| own == at && state.contains(UNKNOWN));
        Ok(wanted.iter().all(halts))
    };
    deployment.until(&format!("partitions {wanted:?} halt with {UNKNOWN}"), halted).await
}

/// Waits until all but these have applied what is on the log now.
async fn until_others_apply(deployment: &Deployment, halted: &[u32]) -> Result<()> {
    let topics = deployment.topics()?;
    for partition in (0..deployment.partitions()).filter(|partition| !halted.contains(partition)) {
        let (_, end) = topics.bounds(&deployment.topic(), partition)?;
        let applied = async || Ok(deployment.applied(partition)? >= end - 1);
        deployment.until(&format!("partition {partition} is applied up to {end}"), applied).await?;
    }
    Ok(())
}

/// The fold's version in the Claim in force.
async fn version(deployment: &Deployment, partition: u32) -> Result<u32> {
    let shard = deployment.open(deployment.shard_of(partition))?;
    let watermarks = shard.read_watermarks(vec![PartitionId(partition)]).await?;
    shard.close().await;
    let watermark = watermarks.into_iter().next().context("the partition has a copy")?;
    Ok(Claim::decode(watermark.claim).context("a Claim is in force")?.fold_version)
}

fn letters(deployment: &Deployment) -> Result<u64> {
    let sql = "SELECT count(*) FROM dead_letter";
    Ok(deployment.psql(0, 0, sql)?.parse::<u64>()? + deployment.psql(1, 0, sql)?.parse::<u64>()?)
}

/// Appends a Claim of the next version, as a writer of the next build would; its offset.
async fn claim_next(deployment: &Deployment, partition: u32) -> Result<i64> {
    let config = Config { dev: true, ..Config::new(deployment.kafka(), deployment.prefix()) };
    let cluster = Cluster::connect(config)?;
    let topologies = Topologies::open(cluster.control().await?).await?;
    let topology = topologies.current().context("there is a topology")?.clone();
    let log = cluster.mutations(topology.generation).await?;
    let key = std::fs::read(deployment.dir().join("mac.key"))?;
    let keyring = Keyring::new(1, key.try_into().ok().context("the key has 32 bytes")?);
    let (_, end) = deployment.topics()?.bounds(&deployment.topic(), partition)?;
    let partition = PartitionId(partition);
    let control = Control {
        id: rand::random(),
        log_id: topology.log_id,
        partition,
        end_seen: Offset(end),
        mac_key_id: 1,
        op: ControlOp::Claim(Claim {
            copy: topology.shards[0].name.clone(),
            generation: Generation::FIRST,
            partitions: deployment.partitions(),
            fold_version: limits::FOLD_VERSION + 1,
            format_max: limits::FORMAT,
            value_bytes_max: limits::VALUE_BYTES_MAX as u64,
            purge_grace_ms: limits::PURGE_GRACE_MS,
            mac_key_id: 1,
        }),
    };
    let acks = log.append(vec![Append { partition, raw: control.encode(&keyring)? }]).await?;
    log.close().await;
    Ok(acks.first().context("one ack per record")?.offset.0)
}

/// The build that may play the next version.
fn newer() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(NEWER) {
        return Ok(named.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the folder lies in the tree")?;
    let mut build = Command::new("cargo");
    build.args(["build", "-q", "--locked", "-p", "millpond", "--features", "mutants"]).current_dir(root);
    run_command(&mut build).context("build the next version")?;
    let folder = root.join("target/mutants");
    std::fs::create_dir_all(&folder)?;
    let newer = folder.join("millpond");
    std::fs::copy(root.join("target/debug/millpond"), &newer)?;
    Ok(newer)
}

/// The next build's `millpond verify`.
fn verified(deployment: &Deployment, newer: &Path) -> Result<()> {
    let mut verify = Command::new(newer);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLPOND_") {
            verify.env_remove(name);
        }
    }
    let (name, value) = PICKED;
    verify.arg("--config").arg(deployment.dir().join("millpond.toml")).arg("verify").env(name, value);
    let output = verify.current_dir(deployment.dir()).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "millpond verify ended with {}: {said}{error}", output.status);
    Ok(())
}
