//! The control topic: follows the topology, proposes changes of it, and starts new logs with their Genesis.
//!
//! Invariant: the current topology is a function of the topic; the first change that names the current epoch wins.

use std::sync::Arc;

use millpond_schemas::{
    Control, ControlOp, Generation, Keyring, LogId, Offset, PartitionId, Raw, Received, Topology,
};
use tokio::sync::watch;

use crate::{Append, Error, Log};

/// The control topic's only partition.
const PARTITION: PartitionId = PartitionId(0);
/// How much of the topic is read at once.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// The control topic, read up to some point.
#[derive(Debug)]
pub struct Topologies {
    topic: Log,
    next: Offset,
    current: Option<Arc<Topology>>,
}

/// Keeps a topology up to date; see [`Topologies::follow`].
#[derive(Debug)]
pub struct Follower {
    topologies: Topologies,
    sender: watch::Sender<Arc<Topology>>,
}

impl Topologies {
    /// Reads the whole topic.
    pub async fn open(topic: Log) -> Result<Self, Error> {
        let mut topologies = Self { topic, next: Offset(0), current: None };
        topologies.catch_up().await?;
        Ok(topologies)
    }

    /// The topology as far as the topic was read; none on one that is empty.
    pub fn current(&self) -> Option<&Arc<Topology>> {
        self.current.as_ref()
    }

    /// Proposes the document that replaces the epoch before its own. Whether it won.
    pub async fn propose(&mut self, topology: &Topology) -> Result<bool, Error> {
        let raw = Raw { value: Some(topology.encode_change()), ..Raw::default() };
        self.topic.append(vec![Append { partition: PARTITION, raw }]).await?;
        self.catch_up().await?;
        Ok(self.current.as_deref() == Some(topology))
    }

    /// The topology as it changes, while the follower runs. None where there is no topology yet.
    pub fn follow(self) -> Option<(watch::Receiver<Arc<Topology>>, Follower)> {
        let (sender, receiver) = watch::channel(Arc::clone(self.current.as_ref()?));
        Some((receiver, Follower { topologies: self, sender }))
    }

    async fn catch_up(&mut self) -> Result<(), Error> {
        loop {
            let records = self.topic.read(PARTITION, self.next, READ_BYTES_MAX).await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in records {
                self.take(record)?;
            }
        }
    }

    fn take(&mut self, record: Received) -> Result<(), Error> {
        let offset = record.offset;
        let corrupt =
            |detail: String| Error::Corrupt { detail: format!("control topic, offset {offset}: {detail}") };
        let value = record.raw.value.unwrap_or_default();
        let (replaces, topology) =
            Topology::decode_change(value).map_err(|error| corrupt(error.to_string()))?;
        let epoch = self.current.as_ref().map_or(0, |current| current.epoch);
        if replaces == epoch && topology.epoch == epoch + 1 {
            self.current = Some(Arc::new(topology));
        }
        self.next = offset.next();
        Ok(())
    }
}

impl Follower {
    /// Follows the topic until it cannot be read any more, and says why.
    pub async fn run(mut self) -> Error {
        let mut changes = self.topologies.topic.changes();
        loop {
            if let Err(error) = self.topologies.catch_up().await {
                return error;
            }
            self.sender.send_if_modified(|sent| {
                let current = self.topologies.current.as_ref().filter(|current| *current != sent);
                current.map(|current| *sent = Arc::clone(current)).is_some()
            });
            if changes.changed().await.is_err() {
                return Error::closed();
            }
        }
    }
}

/// Makes sure that every partition starts with a Genesis. Safe to repeat.
///
/// # Errors
/// As [`Log::append`]; repeating it is safe after any of them.
/// # Panics
/// When the keyring lacks its own current key.
pub async fn genesis(log: &Log, log_id: LogId, keyring: &Keyring) -> Result<(), Error> {
    let mut records = Vec::new();
    for partition in (0..log.partitions()).map(PartitionId) {
        let bounds = log.bounds(partition).await?;
        if bounds.end == Offset(0) {
            records.push(Append { partition, raw: genesis_record(log, partition, log_id, keyring) });
        }
    }
    if !records.is_empty() {
        log.append(records).await?;
    }
    Ok(())
}

fn genesis_record(log: &Log, partition: PartitionId, log_id: LogId, keyring: &Keyring) -> Raw {
    let control = Control {
        // One id per log and partition: a Genesis that is appended twice is a duplicate.
        id: log_id.0,
        log_id,
        partition,
        end_seen: Offset(0),
        mac_key_id: keyring.current(),
        op: ControlOp::Genesis { generation: Generation::FIRST, partitions: log.partitions() },
    };
    control.encode(keyring).expect("a ring holds its current key")
}
