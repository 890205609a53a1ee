//! Control records: what the system itself says on the mutations log, and the MAC that proves it.
//!
//! Invariant: a [`Control`] in hand was made with a key of this deployment, for this log and partition.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

use crate::{Generation, IdHash, LogId, Offset, PartitionId};

/// A control record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Deduplicates; never all zero.
    pub id: [u8; 16],
    /// Which log it was made for.
    pub log_id: LogId,
    /// Which partition it was made for.
    pub partition: PartitionId,
    /// The partition's end as its appender saw it.
    pub end_seen: Offset,
    /// Which key made its MAC.
    pub mac_key_id: u32,
    /// What it says.
    pub op: ControlOp,
}

impl Control {
    /// What the duplicate window knows it by: the first 16 bytes of SHA-256 over its id.
    pub fn id_hash(&self) -> IdHash {
        let hash = Sha256::digest(self.id);
        IdHash(*hash.first_chunk().expect("SHA-256 has 32 bytes"))
    }
}

/// What a control record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlOp {
    /// The first record of every partition.
    Genesis {
        /// Which life of the log this is.
        generation: Generation,
        /// P of this generation.
        partitions: u32,
    },
    /// Takes a copy for one writer.
    Claim(Claim),
    /// Expires keys that are due.
    Sweep {
        /// At most this many.
        rows_max: u32,
    },
    /// Removes old tombstones.
    Purge {
        /// At most this many.
        rows_max: u32,
    },
    /// Ends the generation.
    Seal {
        /// The one that follows.
        next_generation: Generation,
    },
}

/// Everything that the fold depends on and that is not a record. The last one by offset is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The shard that holds the copy.
    pub copy: String,
    /// Repeats the log's.
    pub generation: Generation,
    /// Repeats the log's P.
    pub partitions: u32,
    /// Never falls within a generation.
    pub fold_version: u32,
    /// The highest record format from here on. Never falls within a generation.
    pub format_max: u32,
    /// Longest value, bytes. Never falls within a generation.
    pub value_bytes_max: u64,
    /// How long a tombstone stays, ms of log time.
    pub purge_grace_ms: u64,
    /// The key that writers make MACs with from here on.
    pub mac_key_id: u32,
}

/// The deployment's MAC keys by id. Retired ones are kept. Has no Debug: it holds secrets.
#[derive(Clone)]
pub struct Keyring {
    keys: BTreeMap<u32, [u8; 32]>,
    current: u32,
}

/// The ring lacks the key that a record or a Claim names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the MAC key {id} is not held")]
pub struct KeyMissing {
    /// Its id.
    pub id: u32,
}

impl Keyring {
    /// A ring whose `current` key makes new MACs; later `with` calls add older ones.
    pub fn new(current: u32, key: [u8; 32]) -> Self {
        Self { keys: BTreeMap::from([(current, key)]), current }
    }

    /// Adds a key that only verifies.
    #[must_use]
    pub fn with(mut self, id: u32, key: [u8; 32]) -> Self {
        self.keys.entry(id).or_insert(key);
        self
    }

    /// The key that makes new MACs.
    pub fn current(&self) -> u32 {
        self.current
    }

    /// Whether key `id` is in the ring.
    pub fn holds(&self, id: u32) -> Result<(), KeyMissing> {
        self.keys.get(&id).map(drop).ok_or(KeyMissing { id })
    }

    /// The MAC of a control record's value by key `id`.
    pub fn sign(&self, id: u32, value: &[u8]) -> Result<[u8; 32], KeyMissing> {
        Ok(self.mac(id, value)?.finalize().into_bytes().into())
    }

    /// Whether `mac` is that of `value` by key `id`, in constant time.
    pub fn verify(&self, id: u32, value: &[u8], mac: &[u8]) -> Result<bool, KeyMissing> {
        Ok(self.mac(id, value)?.verify_slice(mac).is_ok())
    }

    /// A key for another purpose, made from the current one. Knowing it tells nothing of that one.
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        let key = self.keys.get(&self.current).expect("the current key is in the ring");
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn mac(&self, id: u32, value: &[u8]) -> Result<Hmac<Sha256>, KeyMissing> {
        let key = self.keys.get(&id).ok_or(KeyMissing { id })?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        mac.update(b"millpond.v1 control\0");
        mac.update(value);
        Ok(mac)
    }
}
