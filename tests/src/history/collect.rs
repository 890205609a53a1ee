//! At a run's end: what the log, its topology, every copy and the dead-letter topic hold, into the history.
//!
//! Waits for nothing but replicas: the caller heals and drains first. Invariant: copies are read before the log, so no
//! copy can have applied what the history's log lacks.

mod kafka;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use millpond::embedded::{Embedded, Options};
use millpond_log::{
    Log, Topologies,
    kafka::{Cluster, Config},
};
use millpond_schemas::{Decoder, Keyring, Offset, PartitionId, Raw, Received, Topology, Watermark};
use millpond_shard::{Dump, Kind, Password, PostgresConfig, Shard, SqliteConfig};
use millpond_writer::Replay;
use tempfile::TempDir;

use super::{
    Copy, Event, Hole, LogBounds, LogRecord, Recorder, SkippedTime, Sums, Text, Topology as Names,
    copies::At, intent::hex,
};
use crate::{
    deployment::{Deployment, PATIENCE},
    process::until_async,
};

/// Bytes that one read of the log brings at most.
const READ_BYTES_MAX: usize = 4 << 20;
/// Records per flush of the rebuild: other ones than a writer's.
const REBUILD_RECORDS: usize = 333;

/// Everything of a deployment: the copies on every node that its topology names, a rebuild into SQLite, the log, the
/// dead-letter topic. May be called more than once; also while it runs.
///
/// # Errors
/// An engine does not answer, or a replica does not reach its primary within a minute.
pub async fn deployment(deployment: &Deployment, recorder: &Recorder) -> Result<()> {
    let config = Config { dev: true, ..Config::new(deployment.kafka(), deployment.prefix()) };
    let cluster = Cluster::connect(config)?;
    let control = cluster.control().await.context("open the control topic")?;
    let topologies = Topologies::open(control.clone()).await.context("read the control topic")?;
    let topology = topologies.current().context("there is no topology")?.clone();
    let log = cluster.mutations(topology.generation).await.context("open the mutations log")?;
    let keys = Keys::read(&deployment.dir().join("mac.key"))?;
    let source = Source { log: &log, topology: &topology, keys: &keys, recorder };
    source.names();
    for shard in 0..topology.shards.len() {
        source.nodes(shard, deployment.password()).await?;
    }
    log.close().await;
    control.close().await;
    let topics = (deployment.topic(), format!("{}.deadletters", deployment.prefix()));
    let (brokers, recorder) = (deployment.kafka().to_owned(), recorder.clone());
    tokio::task::spawn_blocking(move || {
        kafka::mutations(&brokers, &topics.0, &recorder)?;
        kafka::dead_letters(&brokers, &topics.1, &recorder)
    })
    .await
    .context("read Kafka")?
}

/// Everything of an embedded data directory whose server has ended.
///
/// # Errors
/// It is in use, or does not open.
pub async fn embedded(data_dir: &Path, recorder: &Recorder) -> Result<()> {
    let (embedded, follower) = Embedded::open(&Options::new(data_dir)).await?;
    let collected = opened(&embedded, &data_dir.join("mac.key"), recorder).await;
    drop(follower);
    embedded.close().await;
    collected
}

/// As [`embedded`], of one that is open in this process.
///
/// # Errors
/// The log or a shard does not answer.
pub async fn opened(embedded: &Embedded, mac_key_file: &Path, recorder: &Recorder) -> Result<()> {
    let (topology, keys) = (embedded.topology.borrow().clone(), Keys::read(mac_key_file)?);
    let source = Source { log: &embedded.log, topology: &topology, keys: &keys, recorder };
    source.names();
    for (shard, router) in embedded.shards.iter().enumerate() {
        for partition in topology.partitions_of(shard) {
            let name = format!("shard {shard} embedded");
            let dump = router.primary().dump(partition).await?;
            source.copy(&name, &dump);
            source.rebuild(&dump.watermark).await?;
        }
    }
    for partition in (0..topology.partitions()).map(PartitionId) {
        source.records(partition).await?;
    }
    Ok(())
}

/// The sums of everything that a copy holds.
pub fn sums(dump: &Dump) -> Sums {
    let Watermark { partition, applied, time, .. } = dump.watermark;
    let at = At { partition, applied, time };
    let outcomes = dump.outcomes.iter().map(|one| (one.offset, &one.outcome));
    Sums {
        rows: at.rows(dump.rows.iter()),
        // A dump does not tell their times; a run is shorter than what is remembered.
        outcomes: Some(at.outcomes(outcomes, |_| time)),
        seen: Some(at.seen(dump.seen.iter())),
        operations: Some(at.operations(dump.operations.iter())),
        dead_letters: Some(At::dead_letters(dump.dead_letters.iter())),
    }
}

/// The deployment's MAC keys, as a history keeps them.
struct Keys {
    ring: Keyring,
    hex: Vec<(u32, String)>,
}

impl Keys {
    fn read(path: &Path) -> Result<Self> {
        let ring = millpond::mac_key::read(path, false)?;
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self { hex: vec![(ring.current(), hex(&bytes))], ring })
    }
}

/// What is collected from.
struct Source<'a> {
    log: &'a Log,
    topology: &'a Topology,
    keys: &'a Keys,
    recorder: &'a Recorder,
}

impl Source<'_> {
    fn names(&self) {
        let Topology { log_id, generation, skips, skip_times, .. } = self.topology;
        self.recorder.record(&Event::Topology(Names {
            log_id: log_id.to_string(),
            generation: generation.0,
            partitions: self.topology.partitions(),
            mac_keys: self.keys.hex.clone(),
            skips: skips.iter().map(ToString::to_string).collect(),
            skip_times: skip_times
                .iter()
                .map(|skip| SkippedTime { from: skip.from.to_string(), to: skip.to.0 })
                .collect(),
        }));
    }

    /// The copies of a Postgres shard: primary, replicas, and a rebuild.
    async fn nodes(&self, shard: usize, password: &str) -> Result<()> {
        let entry = &self.topology.shards[shard];
        let open = |address: &str, kind| {
            let mut config = PostgresConfig::new(address.to_owned(), kind);
            config.password = Some(Password::new(password));
            Shard::open_postgres(&config)
        };
        let primary = open(&entry.primary, Kind::Primary)?;
        let mut reached = Vec::new();
        for partition in self.topology.partitions_of(shard) {
            let dump = primary.dump(partition).await.with_context(|| format!("dump {partition}"))?;
            self.copy(&format!("shard {shard} primary"), &dump);
            self.rebuild(&dump.watermark).await.with_context(|| format!("rebuild {partition}"))?;
            reached.push(dump.watermark);
        }
        primary.close().await;
        for (number, address) in entry.replicas.iter().enumerate() {
            let replica = open(address, Kind::Replica)?;
            for watermark in &reached {
                caught_up(&replica, watermark).await?;
                self.copy(
                    &format!("shard {shard} replica {number}"),
                    &replica.dump(watermark.partition).await?,
                );
            }
            replica.close().await;
        }
        Ok(())
    }

    fn copy(&self, name: &str, dump: &Dump) {
        let copy = Copy::new(name, &dump.watermark, sums(dump)).with_letters(&dump.dead_letters);
        self.recorder.record(&Event::Copy(copy));
    }

    /// A replay of the log into an empty SQLite shard, up to a watermark.
    async fn rebuild(&self, to: &Watermark) -> Result<()> {
        let folder = TempDir::new()?;
        let shard = Shard::open(&SqliteConfig::new(folder.path().join("rebuild.sqlite"))).await?;
        let decoder = Decoder {
            log_id: self.topology.log_id,
            partition: to.partition,
            partitions: self.topology.partitions(),
            keyring: self.keys.ring.clone(),
        };
        let replay = Replay {
            log: self.log,
            decoder,
            topology: self.topology,
            to: to.applied,
            flush_records_max: REBUILD_RECORDS,
        };
        replay.run(&shard).await?;
        self.copy("rebuild sqlite", &shard.dump(to.partition).await?);
        shard.close().await;
        Ok(())
    }

    /// Every record of a partition of the local log.
    async fn records(&self, partition: PartitionId) -> Result<()> {
        let bounds = self.log.bounds(partition).await?;
        let (mut next, mut expected, mut holes) = (bounds.start, bounds.start, Vec::new());
        while next < bounds.end {
            let read = self.log.read(partition, next, READ_BYTES_MAX).await?;
            ensure!(read.next > next, "partition {partition} cannot be read on from {next}");
            for record in read.records {
                hole(&mut holes, expected, record.offset);
                expected = record.offset.next();
                self.recorder.record(&Event::Log(record_of(partition, record)));
            }
            next = read.next;
        }
        hole(&mut holes, expected, bounds.end);
        let (start, end) = (bounds.start.0, bounds.end.0);
        self.recorder.record(&Event::Bounds(LogBounds { partition: partition.0, start, end, holes }));
        Ok(())
    }
}

async fn caught_up(replica: &Shard, watermark: &Watermark) -> Result<()> {
    let wanted = vec![watermark.partition];
    let reached = until_async(PATIENCE, async || {
        let found = replica.read_watermarks(wanted.clone()).await;
        found.is_ok_and(|found| found.first().is_some_and(|found| found.applied >= watermark.applied))
    });
    ensure!(
        reached.await,
        "a replica does not reach {} in partition {}",
        watermark.applied,
        watermark.partition
    );
    Ok(())
}

fn hole(holes: &mut Vec<Hole>, expected: Offset, found: Offset) {
    if expected < found {
        holes.push(Hole { from: expected.0, to: found.0 - 1 });
    }
}

fn record_of(partition: PartitionId, record: Received) -> LogRecord {
    let Raw { key, headers, value } = record.raw;
    LogRecord {
        partition: partition.0,
        offset: record.offset.0,
        time_ms: record.time.0,
        key: key.map(Text),
        headers: headers.into_iter().map(|(name, value)| (name.to_string(), Text(value))).collect(),
        value: value.map(Text),
    }
}
