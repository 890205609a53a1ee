//! Who holds what: shards by name and address, and the shard of every partition, explicitly.
//!
//! Invariant: a change names the epoch that it replaces; the first that names the current one wins.

use bytes::Bytes;
use prost::Message;

use crate::{Generation, LogId, Offset, PartitionId, Position, UnixMillis, wire};

/// The versioned document on the control topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Rises by one with every change.
    pub epoch: u64,
    /// The generation that is written to.
    pub generation: Generation,
    /// The mutations log.
    pub log_id: LogId,
    /// In order of their index.
    pub shards: Vec<Shard>,
    /// For each partition, the index of the shard whose copy serves.
    pub placement: Vec<u32>,
    /// Records that an operator gave up.
    pub skips: Vec<Position>,
    /// Records whose append time is wrong.
    pub skip_times: Vec<SkipTime>,
}

/// One SQL database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Unique.
    pub name: String,
    /// Address of the primary; a file name in the data directory for SQLite. Never a secret.
    pub primary: String,
    /// Addresses of the replicas.
    pub replicas: Vec<String>,
}

/// Records of one partition that take the preceding clamped time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipTime {
    /// First record.
    pub from: Position,
    /// Last record, inclusive; same partition and generation.
    pub to: Offset,
}

/// What an operator did to the topology, for those who ask later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// As the command knew it.
    pub who: String,
    /// By the clock of whoever wrote the change.
    pub at: UnixMillis,
    /// The command, such as `skip 1-3-42`.
    pub what: String,
    /// In the operator's words.
    pub why: String,
}

/// An encoded topology is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a topology: {0}")]
pub struct TopologyInvalid(pub(crate) String);

impl Topology {
    /// P.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.placement.len()).expect("at most PARTITIONS_MAX partitions")
    }

    /// Index of the shard that serves a partition.
    pub fn shard_of(&self, partition: PartitionId) -> Option<usize> {
        self.placement.get(partition.0 as usize).map(|index| *index as usize)
    }

    /// The partitions whose serving copy a shard holds, rising.
    pub fn partitions_of(&self, shard: usize) -> impl Iterator<Item = PartitionId> + '_ {
        (0u32..).zip(&self.placement).filter(move |(_, s)| **s as usize == shard).map(|(p, _)| PartitionId(p))
    }

    /// Protobuf bytes of the `millpond.v1.TopologyChange` that puts this document in place of the epoch before it.
    pub fn encode_change(&self, audit: Option<&Audit>) -> Bytes {
        let audit = audit.map(|audit| wire::Audit {
            who: audit.who.clone(),
            at_ms: audit.at.0,
            what: audit.what.clone(),
            why: audit.why.clone(),
        });
        let change = wire::TopologyChange {
            replaces_epoch: self.epoch.saturating_sub(1),
            topology: Some(wire::topology_out(self)),
            audit,
        };
        change.encode_to_vec().into()
    }

    /// Reads a change.
    pub fn decode_change(bytes: Bytes) -> Result<Change, TopologyInvalid> {
        let change =
            wire::TopologyChange::decode(bytes).map_err(|error| TopologyInvalid(error.to_string()))?;
        let topology = change.topology.ok_or_else(|| TopologyInvalid("no document".into()))?;
        let audit = change.audit.map(|audit| Audit {
            who: audit.who,
            at: UnixMillis(audit.at_ms),
            what: audit.what,
            why: audit.why,
        });
        Ok(Change { replaces: change.replaces_epoch, topology: wire::topology_in(topology)?, audit })
    }
}

/// One change, as it lies on the control topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The epoch that it replaces.
    pub replaces: u64,
    /// The document.
    pub topology: Topology,
    /// Who asked for it.
    pub audit: Option<Audit>,
}
