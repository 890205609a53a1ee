//! The whole write path in one process: local log, SQLite shards, a writer. No HTTP.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millpond::embedded::{Embedded, Options};
use millpond_log::{Ack, Append};
use millpond_schemas::{
    CONTENT_TYPE_DEFAULT, Conditions, Decoder, Mutation, MutationId, Offset, Op, PartitionId, Raw, RecordKey,
    Tenant,
};
use millpond_shard::{Dump, Shard};
use millpond_writer::{Config, Phase, Replay, Statuses};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a position may take before a test fails. Far above what it takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// An open data directory.
pub struct Pond {
    /// The parts.
    pub embedded: Embedded,
    follower: JoinHandle<millpond_log::Error>,
}

/// A writer that runs.
pub struct Writer {
    /// How it stands.
    pub statuses: Statuses,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Pond {
    /// Opens a directory with these options.
    pub async fn open(options: &Options) -> Result<Self> {
        // Not by the runtime's clock, which a test may have paused.
        let ends = Instant::now() + PATIENCE;
        let (embedded, follower) = loop {
            match Embedded::open(options).await {
                Err(error) if is_held_here(&error) && Instant::now() < ends => tokio::task::yield_now().await,
                opened => break opened?,
            }
        };
        Ok(Self { embedded, follower: tokio::spawn(follower.run()) })
    }

    /// Opens a directory with few partitions.
    pub async fn small(dir: &Path) -> Result<Self> {
        Self::open(&Options { partitions: 4, ..Options::new(dir) }).await
    }

    /// Closes it, as a clean shutdown does.
    pub async fn close(self) {
        self.follower.abort();
        self.embedded.close().await;
    }

    /// Starts a writer for every shard.
    pub fn writer(&self, config: Config) -> Writer {
        let statuses = Statuses::default();
        let parts = self.embedded.writer(config, statuses.clone());
        let stop = CancellationToken::new();
        Writer { statuses, task: tokio::spawn(millpond_writer::run(parts, stop.clone())), stop }
    }

    /// P.
    pub fn partitions(&self) -> u32 {
        self.embedded.log.partitions()
    }

    /// The partition of a key.
    pub fn partition(&self, key: &RecordKey) -> PartitionId {
        key.partition(self.partitions())
    }

    /// The shard that serves a partition.
    pub fn shard(&self, partition: PartitionId) -> Shard {
        let index = self.embedded.topology.borrow().shard_of(partition).expect("every partition has a shard");
        self.embedded.shards[index].primary()
    }

    /// Appends a mutation to its partition.
    pub async fn send(&self, mutation: &Mutation) -> Result<(PartitionId, Ack)> {
        let partition = self.partition(&mutation.key);
        Ok((partition, self.append(partition, mutation.encode()).await?))
    }

    /// Appends bytes to a partition, as a foreign producer does.
    pub async fn append(&self, partition: PartitionId, raw: Raw) -> Result<Ack> {
        let acks = self.embedded.log.append(vec![Append { partition, raw }]).await?;
        acks.first().copied().context("one ack per record")
    }

    /// Waits until a copy has applied an offset.
    pub async fn applied(&self, partition: PartitionId, offset: Offset) -> Result<()> {
        let mut outcomes = self.embedded.outcomes.subscribe().await.expect("it passes through memory");
        let reached = async {
            while self.shard(partition).watermark(partition).await?.is_none_or(|mark| mark.applied < offset) {
                outcomes.next().await.context("the writer goes on")?;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, reached).await.context("the copy does not get there")?
    }

    /// Waits until every copy has applied all that is on the log now.
    pub async fn drained(&self) -> Result<()> {
        for partition in (0..self.partitions()).map(PartitionId) {
            let end = self.embedded.log.bounds(partition).await?.end;
            self.applied(partition, end.previous()).await?;
        }
        Ok(())
    }

    /// What reads the log's records.
    pub fn decoder(&self, partition: PartitionId) -> Decoder {
        Decoder {
            log_id: self.embedded.topology.borrow().log_id,
            partition,
            partitions: self.partitions(),
            keyring: self.embedded.keyring.clone(),
        }
    }

    /// Replays a partition into another shard, up to where the serving copy is.
    pub async fn replay(
        &self,
        partition: PartitionId,
        shard: &Shard,
        flush_records_max: usize,
    ) -> Result<()> {
        let to = self.shard(partition).watermark(partition).await?.context("there is a copy")?.applied;
        let topology = self.embedded.topology.borrow().clone();
        let replay = Replay {
            log: &self.embedded.log,
            decoder: self.decoder(partition),
            topology: &topology,
            to,
            flush_records_max,
        };
        let reached = replay.run(shard).await?.applied;
        ensure!(reached == to, "the replay ended at {reached}, not at {to}");
        Ok(())
    }

    /// Everything of the serving copy.
    pub async fn dump(&self, partition: PartitionId) -> Result<Dump> {
        Ok(self.shard(partition).dump(partition).await?)
    }
}

impl Writer {
    /// Stops it and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("a writer never panics");
    }

    /// Waits until a partition has halted: the reason's name.
    pub async fn halted(&self, partition: PartitionId) -> Result<&'static str> {
        let halted = async {
            loop {
                if let Some(Phase::Halted(halt)) =
                    self.statuses.partitions().get(&partition).map(|s| s.phase.clone())
                {
                    return halt.name();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, halted).await.context("the partition does not halt")
    }
}

/// Whether the lock of a data directory that this process has closed is held still: a command that another test starts
/// just then inherits it, until it becomes its program.
fn is_held_here(error: &anyhow::Error) -> bool {
    let held = format!("is in use by process {}", std::process::id());
    error.chain().any(|cause| cause.to_string().ends_with(&held))
}

/// A record key of the tenant `test`.
pub fn key(name: &str) -> RecordKey {
    RecordKey::new(&Tenant::new("test").expect("a tenant"), name.as_bytes()).expect("a key")
}

/// A mutation without conditions and id.
pub fn mutation(name: &str, op: Op) -> Mutation {
    Mutation { key: key(name), id: None, conditions: Conditions::default(), op }
}

/// A put without a TTL.
pub fn put(name: &str, value: &'static str) -> Mutation {
    put_bytes(name, value)
}

/// As [`put`], of any value.
pub fn put_bytes(name: &str, value: impl Into<Bytes>) -> Mutation {
    let content_type = CONTENT_TYPE_DEFAULT.into();
    mutation(name, Op::Put { value: value.into(), content_type, expiry: None })
}

/// An increment by one that is deduplicated by an Idempotency-Key.
pub fn increment(name: &str, idempotency_key: &str) -> Mutation {
    let id = Some(MutationId::of_idempotency_key(&key(name), idempotency_key));
    Mutation { id, ..mutation(name, Op::Increment { by: 1, initial: 0 }) }
}
