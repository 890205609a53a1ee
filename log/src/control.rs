//! The control topic: follows the topology, proposes changes of it, and starts new logs with their Genesis.
//!
//! Invariant: the current topology is a function of the topic; the first change that names the current epoch wins.

use std::{sync::Arc, time::Duration};

use millpond_schemas::{
    Audit, Change, Control, ControlOp, Generation, Keyring, LogId, Offset, PartitionId, Raw, Received,
    Topology,
};
use tokio::{sync::watch, time::sleep};

use crate::{Append, Error, Log};

/// The control topic's only partition.
const PARTITION: PartitionId = PartitionId(0);
/// How much of the topic is read at once.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Changes of others that an amendment gives way to. Each one that comes first is one that was made.
const TRIES_MAX: u32 = 32;
/// Before a topic that does not answer is read again.
const AGAIN: Duration = Duration::from_millis(500);

/// The control topic, read up to some point.
#[derive(Debug)]
pub struct Topologies {
    topic: Log,
    next: Offset,
    current: Option<Arc<Topology>>,
    audits: Vec<(u64, Audit)>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum AmendError<E> {
    /// There is nothing to change: run `millpond init`.
    #[error("there is no topology yet: run `millpond init`")]
    Empty,
    /// The topology as it is now does not allow it.
    #[error("{0}")]
    Refused(E),
    /// Others change it all the time: try again.
    #[error("other changes came first, {TRIES_MAX} times in a row")]
    Lost,
    /// The control topic. It may have been written, or not: look.
    #[error(transparent)]
    Log(#[from] Error),
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
        let mut topologies = Self { topic, next: Offset(0), current: None, audits: Vec::new() };
        topologies.catch_up().await?;
        Ok(topologies)
    }

    /// The topology as far as the topic was read; none on one that is empty.
    pub fn current(&self) -> Option<&Arc<Topology>> {
        self.current.as_ref()
    }

    /// What operators did, by the epoch that it made, oldest first.
    pub fn audits(&self) -> &[(u64, Audit)] {
        &self.audits
    }

    /// Changes the topology: what `change` makes of it as it is now, and again where another change came first.
    ///
    /// # Shape
    /// `change` makes the next document, whose epoch is set here; none: it is as wanted already. It is called anew with
    /// each topology that came first.
    /// # Errors
    /// [`AmendError`]. Repeating it is safe where `change` finds out that it has been made.
    pub async fn amend<E>(
        &mut self,
        audit: &Audit,
        mut change: impl FnMut(&Topology) -> Result<Option<Topology>, E>,
    ) -> Result<Arc<Topology>, AmendError<E>> {
        for _ in 0..TRIES_MAX {
            self.catch_up().await?;
            let current = Arc::clone(self.current.as_ref().ok_or(AmendError::Empty)?);
            let Some(mut next) = change(&current).map_err(AmendError::Refused)? else { return Ok(current) };
            next.epoch = current.epoch + 1;
            if self.write(&next, Some(audit)).await? {
                return Ok(Arc::new(next));
            }
        }
        Err(AmendError::Lost)
    }

    /// Reads what has come on the topic since.
    pub async fn read_on(&mut self) -> Result<(), Error> {
        self.catch_up().await
    }

    /// Proposes the document that replaces the epoch before its own. Whether it won.
    pub async fn propose(&mut self, topology: &Topology) -> Result<bool, Error> {
        self.write(topology, None).await
    }

    async fn write(&mut self, topology: &Topology, audit: Option<&Audit>) -> Result<bool, Error> {
        let raw = Raw { value: Some(topology.encode_change(audit)), ..Raw::default() };
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
            let read = self.topic.read(PARTITION, self.next, READ_BYTES_MAX).await?;
            if read.next == self.next {
                return Ok(());
            }
            for record in read.records {
                self.take(record)?;
            }
            self.next = read.next;
        }
    }

    fn take(&mut self, record: Received) -> Result<(), Error> {
        let offset = record.offset;
        let corrupt =
            |detail: String| Error::Corrupt { detail: format!("control topic, offset {offset}: {detail}") };
        let value = record.raw.value.unwrap_or_default();
        let Change { replaces, topology, audit } =
            Topology::decode_change(value).map_err(|error| corrupt(error.to_string()))?;
        let epoch = self.current.as_ref().map_or(0, |current| current.epoch);
        if replaces == epoch && topology.epoch == epoch + 1 {
            self.audits.extend(audit.map(|audit| (topology.epoch, audit)));
            self.current = Some(Arc::new(topology));
        }
        Ok(())
    }
}

impl Follower {
    /// Follows the topic until it holds what cannot be followed, and says what. While it does not answer, the topology
    /// stays as it is.
    pub async fn run(mut self) -> Error {
        let mut changes = self.topologies.topic.changes();
        loop {
            match self.topologies.catch_up().await {
                Ok(()) => {}
                Err(Error::Unavailable { reason, .. }) => {
                    tracing::debug!(reason, "the control topic does not answer");
                    sleep(AGAIN).await;
                    continue;
                }
                Err(error) => return error,
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
