//! A deployment on Kafka and Postgres: made once by `init`, connected to by every role.
//!
//! Not here: what runs on it. Invariant: nothing is made anew that is there; a log or shard that is not as this build
//! needs it is refused with what to do.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use millpond_log::{
    Clock, Error as LogError, Follower, Log, Topologies, genesis,
    kafka::{Cluster, Config, Report, Topics},
};
use millpond_schemas::{
    Generation, Keyring, LogId, Offset, PartitionId, Shard as Entry, Topology, Watermark,
};
use millpond_shard::{Kind, PostgresConfig, Router, Shard};
use tokio::{sync::watch, time::Instant};

use crate::{
    mac_key,
    nodes::{Nodes, Options},
    settings::{Settings, ShardSeed},
};

/// How long a role waits for Kafka at its start.
const START_WAIT: Duration = Duration::from_mins(1);
const START_PAUSE: Duration = Duration::from_millis(500);
const NO_TOPOLOGY: &str = "there is no topology yet: run `millpond init`";

/// What every role stands on.
pub struct Deployment {
    /// The brokers.
    pub cluster: Cluster,
    /// The mutations log.
    pub log: Log,
    /// The control topic.
    pub control: Log,
    /// The topology as it changes, while [`Background`] runs.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// By index in the topology.
    pub shards: Vec<Router>,
    /// The machine's.
    pub clock: Clock,
}

/// What keeps a deployment up to date. To be run beside the roles.
pub struct Background {
    follower: Follower,
    nodes: Nodes,
    topology: watch::Receiver<Arc<Topology>>,
}

impl Background {
    /// Follows the control topic until it cannot be read any more, and says why.
    pub async fn run(self) -> LogError {
        tokio::select! {
            error = self.follower.run() => error,
            () = self.nodes.follow(self.topology) => unreachable!("it never ends"),
        }
    }
}

impl Deployment {
    /// Connects: waits a while for Kafka, not at all for shards. `role` is what the engines show of this process.
    pub async fn connect(settings: &Settings, role: &str) -> Result<(Self, Background)> {
        let cluster = cluster(settings)?;
        let (control, topologies) = patiently(async || {
            let control = cluster.control().await?;
            let topologies = Topologies::open(control.clone()).await?;
            Ok((control, topologies))
        })
        .await
        .context("read the control topic")?;
        let (topology, follower) = topologies.follow().context(NO_TOPOLOGY)?;
        let current = topology.borrow().clone();
        let wanted = topics(settings, &current);
        let report = patiently(async || cluster.check(&wanted).await).await.context("check the topics")?;
        refuse(&report)?;
        let log = patiently(async || cluster.mutations(current.generation).await);
        let log = log.await.context("open the mutations log")?;
        let nodes = Nodes::open(&current, Options::of(settings, role)?)?;
        let shards = nodes.routers();
        let background = Background { follower, nodes, topology: topology.clone() };
        Ok((Self { cluster, log, control, topology, shards, clock: Clock::System }, background))
    }

    /// The deployment's MAC keys.
    pub fn keyring(settings: &Settings) -> Result<Keyring> {
        mac_key::read(&settings.mac_key_file(), false).context("read the MAC key")
    }

    /// Makes what was taken durable, and closes everything.
    pub async fn close(self) {
        self.log.close().await;
        self.control.close().await;
        for shard in &self.shards {
            shard.close().await;
        }
    }
}

/// What `init` found and made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The topology in force.
    pub topology: Arc<Topology>,
    /// Whether it was written just now.
    pub first: bool,
    /// For the operator to read.
    pub warnings: Vec<String>,
}

/// Makes topics, tables, MAC key and the first topology, each where it is missing. Safe to repeat.
pub async fn init(settings: &Settings) -> Result<Made> {
    let seeds = seeds(settings)?;
    let cluster = cluster(settings)?;
    let wanted = Topics {
        generation: Generation::FIRST,
        partitions: settings.log.partitions,
        value_bytes_max: settings.api.value_bytes_max.to_usize(),
    };
    let report = patiently(async || cluster.init(&wanted).await).await.context("make the topics")?;
    refuse(&report)?;
    let topologies = patiently(async || Topologies::open(cluster.control().await?).await).await;
    let mut topologies = topologies.context("read the control topic")?;
    let first = topologies.current().is_none();
    let keyring = mac_key::read(&settings.mac_key_file(), first).context("read the MAC key")?;
    if first {
        // Another `init` may have won; then its topology is in force.
        topologies.propose(&first_topology(settings, &seeds)).await.context("write the first topology")?;
    }
    let topology = Arc::clone(topologies.current().context("the control topic holds no topology")?);
    let options = Options::of(settings, "init")?;
    for entry in &topology.shards {
        migrate(entry, &options).await.with_context(|| format!("make the tables of {}", entry.name))?;
    }
    let log = patiently(async || cluster.mutations(topology.generation).await);
    let log = log.await.context("open the mutations log")?;
    genesis(&log, topology.log_id, &keyring).await.context("write the Genesis records")?;
    log.close().await;
    let mut warnings = report.warnings;
    if topology.shards != seeds {
        warnings.push(
            "the shards in the settings are not those of the topology, which stays as it is".to_owned(),
        );
    }
    Ok(Made { topology, first, warnings })
}

/// The control topic, read to its end.
pub async fn topologies(settings: &Settings) -> Result<Topologies> {
    let control = cluster(settings)?.control().await.context("open the control topic")?;
    Topologies::open(control).await.context("read the control topic")
}

/// Whether a database can be written to by this build.
pub async fn is_primary(settings: &Settings, address: &str) -> Result<()> {
    let shard = Shard::open_postgres(&Options::of(settings, "topology")?.config(address, Kind::Primary))?;
    let state = shard.node_state().await;
    shard.close().await;
    ensure!(!state?.in_recovery, "{address} is in recovery: promote it first");
    Ok(())
}

/// Why the partitions of a shard could not go on from the database at an address: what each needs next is not on the log
/// any more. None: all could.
///
/// # Errors
/// The database or the log cannot be asked.
pub async fn out_of_reach(
    settings: &Settings,
    (topology, shard): (&Topology, usize),
    address: &str,
) -> Result<Option<String>> {
    let options = Options::of(settings, "topology")?;
    let node = Shard::open_postgres(&options.config(address, Kind::Primary))?;
    let partitions: Vec<PartitionId> = topology.partitions_of(shard).collect();
    let marks = node.read_watermarks(partitions.clone()).await;
    node.close().await;
    let marks = marks.with_context(|| format!("ask {address} where its copies stand"))?;
    let log = cluster(settings)?.mutations(topology.generation).await.context("open the mutations log")?;
    let mut lacking = Vec::new();
    for partition in partitions {
        let start = log.bounds(partition).await.context("read where the log starts")?.start;
        let mark = marks.iter().find(|mark| mark.partition == partition);
        lacking.extend(lacks(partition, mark, start));
    }
    log.close().await;
    Ok((!lacking.is_empty()).then(|| lacking.join("; ")))
}

/// What a copy that stands here lacks of a log that starts there.
fn lacks(partition: PartitionId, mark: Option<&Watermark>, start: Offset) -> Option<String> {
    let wanted = mark.map_or(Offset::NONE, |mark| mark.applied).next();
    let gap = || {
        let last = start.previous();
        format!(
            "partition {partition} needs the log from offset {wanted} on, and {wanted} to {last} are trimmed"
        )
    };
    (start > wanted).then(gap)
}

fn cluster(settings: &Settings) -> Result<Cluster> {
    let kafka = &settings.kafka;
    ensure!(
        !kafka.brokers.is_empty(),
        "kafka.brokers is not set: name the brokers in the file given by --config"
    );
    let config = Config {
        dev: kafka.dev,
        accept: kafka.accept.clone(),
        properties: kafka.properties.0.clone(),
        queue_bytes_max: settings.log.queue_bytes_max.to_usize(),
        read_ahead_bytes_max: kafka.read_ahead_bytes_max.to_usize(),
        ..Config::new(&kafka.brokers, &kafka.prefix)
    };
    Cluster::connect(config).context("read the settings of Kafka")
}

fn topics(settings: &Settings, topology: &Topology) -> Topics {
    Topics {
        generation: topology.generation,
        partitions: topology.partitions(),
        value_bytes_max: settings.api.value_bytes_max.to_usize(),
    }
}

fn refuse(report: &Report) -> Result<()> {
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    if report.mismatches.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = report.mismatches.iter().map(ToString::to_string).collect();
    bail!(
        "the log is not set as Millpond relies on:\n  {}\nWhere a managed service hides a setting, kafka.accept waives it \
         by name.",
        lines.join("\n  ")
    )
}

/// The shards that the settings name.
fn seeds(settings: &Settings) -> Result<Vec<Entry>> {
    let seeds = &settings.seeds;
    ensure!(
        !seeds.is_empty(),
        "no shard is named: add a table [[shard]] with name and primary to the settings"
    );
    let names: BTreeSet<&str> = seeds.iter().map(|seed| seed.name.as_str()).collect();
    ensure!(names.len() == seeds.len(), "two tables [[shard]] have the same name");
    ensure!(
        seeds.len() <= settings.log.partitions as usize,
        "there are more shards than log.partitions: some would hold nothing"
    );
    let entry = |seed: &ShardSeed| Entry {
        name: seed.name.clone(),
        primary: seed.primary.clone(),
        replicas: seed.replicas.clone(),
    };
    for (seed, address) in seeds.iter().flat_map(|seed| {
        std::iter::once(&seed.primary).chain(&seed.replicas).map(move |address| (seed, address))
    }) {
        Shard::open_postgres(&PostgresConfig::new(address, Kind::Replica))
            .with_context(|| format!("read an address of {}", seed.name))?;
    }
    Ok(seeds.iter().map(entry).collect())
}

fn first_topology(settings: &Settings, seeds: &[Entry]) -> Topology {
    let shards = u32::try_from(seeds.len()).expect("no more shards than partitions");
    Topology {
        epoch: 1,
        generation: Generation::FIRST,
        log_id: LogId(rand::random()),
        shards: seeds.to_vec(),
        placement: (0..settings.log.partitions).map(|partition| partition % shards).collect(),
        skips: Vec::new(),
        skip_times: Vec::new(),
    }
}

async fn migrate(entry: &Entry, options: &Options) -> Result<()> {
    let shard = Shard::open_postgres(&options.config(&entry.primary, Kind::Primary))?;
    let migrated = shard.migrate().await;
    shard.close().await;
    Ok(migrated?)
}

/// Tries again while the log is unavailable, for a while.
async fn patiently<T>(mut what: impl AsyncFnMut() -> Result<T, LogError>) -> Result<T, LogError> {
    let until = Instant::now() + START_WAIT;
    loop {
        match what().await {
            Err(error @ LogError::Unavailable { .. }) if Instant::now() < until => {
                tracing::warn!(error = &error as &dyn std::error::Error, "waiting for Kafka");
                tokio::time::sleep(START_PAUSE).await;
            }
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_lacks_what_was_trimmed_behind_it_and_nothing_else() {
        const P: PartitionId = PartitionId(3);
        let at = |applied| Watermark {
            applied: Offset(applied),
            ..Watermark::empty(P, Generation::FIRST, LogId([1; 16]))
        };
        assert_eq!(lacks(P, Some(&at(9)), Offset(9)), None);
        assert_eq!(lacks(P, Some(&at(9)), Offset(10)), None, "it goes on with the first record");
        let told = lacks(P, Some(&at(9)), Offset(12)).unwrap();
        assert!(told.contains("10 to 11 are trimmed"), "{told}");
        assert_eq!(lacks(P, None, Offset(0)), None, "it is made from the first record");
        assert!(lacks(P, None, Offset(1)).is_some());
    }
}
