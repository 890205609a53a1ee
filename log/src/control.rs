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

/// Follows the control topic. One per process.
#[derive(Debug)]
pub struct Topologies {
    topic: Log,
    next: Offset,
    current: watch::Sender<Option<Arc<Topology>>>,
}

impl Topologies {
    /// Reads the whole topic.
    pub async fn open(topic: Log) -> Result<Self, Error> {
        let mut topologies = Self { topic, next: Offset(0), current: watch::Sender::new(None) };
        topologies.catch_up().await?;
        Ok(topologies)
    }

    /// The topology now, and whenever it changes; none on a topic that is still empty.
    pub fn current(&self) -> watch::Receiver<Option<Arc<Topology>>> {
        self.current.subscribe()
    }

    /// Proposes the document that replaces the epoch before its own. Whether it won.
    pub async fn propose(&mut self, topology: &Topology) -> Result<bool, Error> {
        let raw = Raw { value: Some(topology.encode_change()), ..Raw::default() };
        self.topic.append(vec![Append { partition: PARTITION, raw }]).await?;
        self.catch_up().await?;
        Ok(self.current.borrow().as_deref() == Some(topology))
    }

    /// Follows the topic until dropped. Not cancel-safe in the middle of a change, which is then read again.
    pub async fn follow(mut self) -> Error {
        let mut changes = self.topic.changes();
        loop {
            if let Err(error) = self.catch_up().await {
                return error;
            }
            if changes.changed().await.is_err() {
                return Error::closed();
            }
        }
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
        let epoch = self.current.borrow().as_ref().map_or(0, |current| current.epoch);
        if replaces == epoch && topology.epoch == epoch + 1 {
            self.current.send_replace(Some(Arc::new(topology)));
        }
        self.next = offset.next();
        Ok(())
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
