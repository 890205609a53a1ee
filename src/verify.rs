//! Verifying copies of a deployment or a data directory: which nodes, several partitions at a time.
//!
//! Not here: comparing (the writer's `verify`), and how it is shown. Invariant: nothing is written but scratch files,
//! which are gone afterwards, and a shard that does not answer hides nothing but its own partitions.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail, ensure};
use millpond_log::Topologies;
use millpond_schemas::{PartitionId, Shard as Entry, Topology};
use millpond_shard::{Kind, Shard, SqliteConfig};
use millpond_writer::{CannotTell, Verdict, Verify, Verifying};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{nodes::Options, rebuild::Source, settings::Settings};

/// Which nodes of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Those that serve writes.
    Primaries,
    /// The replica of this number, from 0, of every shard.
    Replica(usize),
    /// Primaries and replicas.
    All,
    /// The one at this address, whatever the topology says of it.
    At(String),
}

/// What to verify.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which partitions. None, and no shards: all.
    pub partitions: Vec<PartitionId>,
    /// All partitions of the shards of these names, besides.
    pub shards: Vec<String>,
    /// Where.
    pub nodes: Nodes,
    /// The folder that scratch files are made in.
    pub scratch: PathBuf,
    /// How many at a time.
    pub jobs: usize,
    /// Most differences of a copy that are named.
    pub differences_max: usize,
}

/// What became of one copy.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Which partition.
    pub partition: PartitionId,
    /// The shard's name.
    pub shard: String,
    /// The node: a file's name, or an address.
    pub node: String,
    /// What was found.
    pub ended: Result<Verdict, CannotTell>,
}

/// How far all of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many copies are to be verified.
    Begins(usize),
    /// The copy of this number has come so far.
    Copy(usize, Verifying),
    /// The copy of this number is done.
    Done(usize),
}

/// Hears of it.
pub type Told = Arc<dyn Fn(Event) + Send + Sync>;

/// One copy to be verified.
#[derive(Clone, Debug)]
struct Place {
    /// Its number.
    number: usize,
    partition: PartitionId,
    shard: String,
    node: String,
}

/// What all jobs share.
struct Shared {
    source: Source,
    settings: Settings,
    topologies: tokio::sync::Mutex<Topologies>,
    waiting: Mutex<VecDeque<Place>>,
    scratch: TempDir,
    differences_max: usize,
    told: Told,
    stop: CancellationToken,
}

/// Verifies. Answers what became of each copy, by partition and node. One that `stop` has ended says so.
///
/// # Errors
/// The log or the topology cannot be read, or the request names what is not there.
pub async fn run(
    settings: Settings,
    request: Request,
    told: Told,
    stop: CancellationToken,
) -> Result<Vec<Verified>> {
    let source = tokio::select! {
        source = Source::open(&settings, false) => source?,
        () = stop.cancelled() => bail!("stopped"),
    };
    let topologies = Topologies::open(source.control.clone()).await.context("read the control topic")?;
    let places = places(&source.topology, &request)?;
    let local = settings.kafka.brokers.is_empty();
    ensure!(
        !local || request.nodes == Nodes::Primaries,
        "the shards of a data directory have one node each: leave out --replica, --node and --all-nodes"
    );
    let scratch = tempfile::Builder::new().prefix("millpond-verify-").tempdir_in(&request.scratch);
    let scratch = scratch.with_context(|| format!("make a folder in {}", request.scratch.display()))?;
    let jobs = request.jobs.clamp(1, places.len().max(1));
    told(Event::Begins(places.len()));
    let shared = Arc::new(Shared {
        source,
        settings,
        topologies: tokio::sync::Mutex::new(topologies),
        waiting: Mutex::new(places.into()),
        scratch,
        differences_max: request.differences_max,
        told,
        stop,
    });
    let mut running = JoinSet::new();
    for _ in 0..jobs {
        running.spawn(work(Arc::clone(&shared)));
    }
    let mut verified = Vec::new();
    while let Some(ended) = running.join_next().await {
        verified.extend(ended.expect("a verification never panics"));
    }
    verified.sort_by_key(|(number, _)| *number);
    if let Some(shared) = Arc::into_inner(shared) {
        shared.scratch.close().context("remove the scratch files")?;
        shared.source.close().await;
    }
    Ok(verified.into_iter().map(|(_, verified)| verified).collect())
}

/// One job: a copy after the other.
async fn work(shared: Arc<Shared>) -> Vec<(usize, Verified)> {
    let mut done = Vec::new();
    loop {
        let next = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(place) = next else { return done };
        let ended =
            if shared.stop.is_cancelled() { Err(CannotTell::Stopped) } else { one(&shared, &place).await };
        let Place { number, partition, shard, node } = place;
        (shared.told)(Event::Done(number));
        done.push((number, Verified { partition, shard, node, ended }));
    }
}

async fn one(shared: &Shared, place: &Place) -> Result<Verdict, CannotTell> {
    let unavailable = |error: anyhow::Error| CannotTell::Unavailable(format!("{error:#}"));
    let shard = open(shared, &place.node).await.map_err(unavailable)?;
    let scratch = scratch(shared.scratch.path(), place.number).map_err(unavailable)?;
    let told = |_, progress| (shared.told)(Event::Copy(place.number, progress));
    let verify = Verify {
        log: &shared.source.log,
        topologies: &shared.topologies,
        keyring: shared.source.keyring.clone(),
        scratch: &scratch,
        differences_max: shared.differences_max,
        told: &told,
        stop: shared.stop.clone(),
    };
    let verified = verify.run(&shard, place.partition).await;
    shard.close().await;
    verified
}

fn scratch(folder: &Path, number: usize) -> Result<PathBuf> {
    let scratch = folder.join(number.to_string());
    std::fs::create_dir(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    Ok(scratch)
}

/// Only to be read.
async fn open(shared: &Shared, node: &str) -> Result<Shard> {
    if shared.settings.kafka.brokers.is_empty() {
        let path = shared.settings.data_dir().join(node);
        let config = SqliteConfig { readers: 1, ..SqliteConfig::new(&path) };
        return Shard::open_read_only(&config).await.with_context(|| format!("open {}", path.display()));
    }
    let config = Options::of(&shared.settings, "verify")?.config(node, Kind::Replica);
    Shard::open_postgres(&config).with_context(|| format!("open the shard at {node}"))
}

/// The copies that are asked for.
fn places(topology: &Topology, request: &Request) -> Result<Vec<Place>> {
    let all = request.partitions.is_empty() && request.shards.is_empty();
    for name in &request.shards {
        crate::rebuild::shard_name(topology, name)?;
    }
    for partition in &request.partitions {
        ensure!(
            partition.0 < topology.partitions(),
            "there is no partition {partition}: they are 0 to {}",
            topology.partitions().saturating_sub(1)
        );
    }
    let mut places = Vec::new();
    for partition in (0..topology.partitions()).map(PartitionId) {
        let shard = topology.shard_of(partition).and_then(|index| topology.shards.get(index));
        let shard = shard.with_context(|| format!("no shard serves partition {partition}"))?;
        if all || request.partitions.contains(&partition) || request.shards.contains(&shard.name) {
            for node in nodes(shard, &request.nodes)? {
                let number = places.len();
                places.push(Place { number, partition, shard: shard.name.clone(), node });
            }
        }
    }
    ensure!(!places.is_empty(), "nothing is asked for: {} has no partition", request.shards.join(", "));
    Ok(places)
}

fn nodes(shard: &Entry, nodes: &Nodes) -> Result<Vec<String>> {
    Ok(match nodes {
        Nodes::Primaries => vec![shard.primary.clone()],
        Nodes::All => std::iter::once(&shard.primary).chain(&shard.replicas).cloned().collect(),
        Nodes::At(address) => vec![address.clone()],
        Nodes::Replica(number) => {
            let replica = shard.replicas.get(*number).cloned();
            vec![replica.with_context(|| {
                format!("{} has {} replicas: there is no number {number}", shard.name, shard.replicas.len())
            })?]
        }
    })
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{Generation, LogId};

    use super::*;

    fn request(shards: &[&str]) -> Request {
        Request {
            partitions: Vec::new(),
            shards: shards.iter().map(ToString::to_string).collect(),
            nodes: Nodes::Primaries,
            scratch: PathBuf::new(),
            jobs: 1,
            differences_max: 1,
        }
    }

    #[test]
    fn nothing_to_look_at_is_no_certificate() {
        let entry = |name: &str| Entry { name: name.into(), primary: name.into(), replicas: Vec::new() };
        let topology = Topology {
            epoch: 1,
            generation: Generation::FIRST,
            log_id: LogId([1; 16]),
            shards: vec![entry("a"), entry("b")],
            placement: vec![0, 0],
            skips: vec![],
            skip_times: vec![],
        };
        assert_eq!(places(&topology, &request(&["a"])).unwrap().len(), 2);
        let told = places(&topology, &request(&["b"])).unwrap_err().to_string();
        assert!(told.contains("b has no partition"), "{told}");
    }
}
