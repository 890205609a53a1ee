//! The embedded default: local logs and SQLite shards in one data directory, opened and closed together.
//!
//! Not here: what runs on them. Layout: `millpond.lock`, `mac.key`, `log/<stream>/`, `shard-<n>.sqlite`.
//! Invariant: safe to open again after a crash at any step of the first start.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, ensure};
use millpond_log::{Clock, Follower, Log, Outcomes, Topologies, genesis, local};
use millpond_schemas::{
    Generation, Keyring, LogId, PartitionId, Shard as ShardEntry, Topology, limits::PARTITIONS_MAX,
};
use millpond_shard::{Router, Shard, SqliteConfig};
use millpond_trace::Tracer;
use millpond_writer::Statuses;
use tokio::sync::watch;

use crate::mac_key;

/// How to open a data directory.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; made when it is not there.
    pub data_dir: PathBuf,
    /// The file with the MAC key; made at the first start.
    pub mac_key_file: PathBuf,
    /// Partitions of the log: only at the first start, fixed afterwards.
    pub partitions: u32,
    /// SQLite shards: only at the first start, fixed afterwards.
    pub shards: u32,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// Bytes of records that may wait for the log.
    pub queue_bytes_max: usize,
    /// Connections that read, per shard.
    pub read_connections: u32,
    /// Gives append times.
    pub clock: Clock,
}

impl Options {
    /// The defaults for a directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            mac_key_file: data_dir.join("mac.key"),
            data_dir,
            partitions: 8,
            shards: 2,
            segment_bytes: local::SEGMENT_BYTES,
            queue_bytes_max: local::QUEUE_BYTES_MAX,
            read_connections: 4,
            clock: Clock::System,
        }
    }
}

/// An open data directory.
pub struct Embedded {
    /// The mutations log.
    pub log: Log,
    /// The control topic.
    pub control: Log,
    /// Where outcomes go.
    pub outcomes: Outcomes,
    /// The topology as it changes, while `follower` runs.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// By index in the topology.
    pub shards: Vec<Router>,
    /// The deployment's MAC keys.
    pub keyring: Keyring,
    /// As given.
    pub clock: Clock,
}

impl Embedded {
    /// Opens a data directory, or makes one; settles what a crash left.
    pub async fn open(options: &Options) -> Result<(Self, Follower)> {
        ensure!(
            (1..=PARTITIONS_MAX).contains(&options.partitions) && options.shards >= 1,
            "log.partitions is 1 to {PARTITIONS_MAX}, shards.count at least 1"
        );
        let lock = local::DirLock::acquire(&options.data_dir).context("lock the data directory")?;
        let control = open_stream(&lock, "log/control", 1, options).await?;
        let mut topologies = Topologies::open(control.clone()).await.context("read the control topic")?;
        // A lost key must not be made anew: what it has signed would all look forged.
        let first_start = topologies.current().is_none();
        let keyring = mac_key::read(&options.mac_key_file, first_start).context("read the MAC key")?;
        if first_start {
            let won =
                topologies.propose(&first_topology(options)).await.context("write the first topology")?;
            ensure!(won, "the control topic holds another first topology");
        }
        let (topology, follower) = topologies.follow().context("the control topic holds no topology")?;
        let current = topology.borrow().clone();
        let log = open_stream(&lock, "log/mutations.1", current.partitions(), options).await?;
        genesis(&log, current.log_id, &keyring).await.context("write the Genesis records")?;
        let shards = open_shards(&current, options).await?;
        let outcomes = Outcomes::memory();
        let clock = options.clock.clone();
        Ok((Self { log, control, outcomes, topology, shards, keyring, clock }, follower))
    }

    /// What a writer of its shards stands on.
    pub fn writer(&self, config: millpond_writer::Config, statuses: Statuses) -> millpond_writer::Parts {
        millpond_writer::Parts {
            config,
            log: self.log.clone(),
            outcomes: self.outcomes.clone(),
            dead_letters: None,
            assigned: self.all(),
            topology: self.topology.clone(),
            shards: self.shards.clone(),
            clock: self.clock.clone(),
            keyring: self.keyring.clone(),
            statuses,
            tracer: Tracer::default(),
        }
    }

    /// What a sweeper of its shards stands on.
    pub fn sweeper(&self, config: millpond_sweeper::Config) -> millpond_sweeper::Parts {
        millpond_sweeper::Parts {
            config,
            log: self.log.clone(),
            assigned: self.all(),
            topology: self.topology.clone(),
            shards: self.shards.clone(),
            clock: self.clock.clone(),
            keyring: self.keyring.clone(),
            metrics: millpond_sweeper::Metrics::default(),
        }
    }

    /// Every partition, always.
    fn all(&self) -> watch::Receiver<BTreeSet<PartitionId>> {
        watch::channel((0..self.log.partitions()).map(PartitionId).collect()).1
    }

    /// What an api in front of it stands on.
    pub async fn api(&self) -> Result<millpond_api::Parts> {
        Ok(millpond_api::Parts {
            log: self.log.clone(),
            outcomes: self.outcomes.subscribe().await.context("follow outcomes")?,
            topology: self.topology.clone(),
            shards: self.shards.clone(),
            clock: self.clock.clone(),
            tracer: Tracer::default(),
            cursor_key: mac_key::cursors(&self.keyring),
            tokens: None,
        })
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

async fn open_stream(lock: &local::DirLock, stream: &str, partitions: u32, options: &Options) -> Result<Log> {
    let options = local::Options {
        partitions,
        segment_bytes: options.segment_bytes,
        queue_bytes_max: options.queue_bytes_max,
        clock: options.clock.clone(),
    };
    let log = local::Log::open(lock, stream, options).await.with_context(|| format!("open {stream}"))?;
    Ok(Log::Local(log))
}

async fn open_shards(topology: &Topology, options: &Options) -> Result<Vec<Router>> {
    let mut shards = Vec::with_capacity(topology.shards.len());
    for entry in &topology.shards {
        let path = options.data_dir.join(&entry.primary);
        let config = SqliteConfig { readers: options.read_connections, ..SqliteConfig::new(path) };
        let shard = Shard::open(&config).await.with_context(|| format!("open {}", entry.name))?;
        shards.push(Router::new(entry.name.as_str(), shard, Vec::new()));
    }
    Ok(shards)
}

fn first_topology(options: &Options) -> Topology {
    let shard = |index: u32| ShardEntry {
        name: format!("shard-{index}"),
        primary: format!("shard-{index}.sqlite"),
        replicas: Vec::new(),
    };
    Topology {
        epoch: 1,
        generation: Generation::FIRST,
        log_id: LogId(rand::random()),
        shards: (0..options.shards).map(shard).collect(),
        placement: (0..options.partitions).map(|partition| partition % options.shards).collect(),
        skips: Vec::new(),
        skip_times: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_lost_mac_key_is_missed_and_not_made_anew() {
        let dir = tempfile::TempDir::new().unwrap();
        let options = Options::new(dir.path());
        let (embedded, follower) = Embedded::open(&options).await.unwrap();
        embedded.close().await;
        drop(follower);
        let key = options.mac_key_file.clone();
        let bytes = fs::read(&key).unwrap();
        fs::remove_file(&key).unwrap();
        let refused = Embedded::open(&options).await.map(drop).unwrap_err();
        assert!(format!("{refused:#}").contains("restore it"), "{refused:#}");
        fs::write(&key, bytes).unwrap();
        Embedded::open(&options).await.unwrap().0.close().await;
    }
}
