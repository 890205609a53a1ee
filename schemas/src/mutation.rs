//! A mutation: one intended change of one key, with its conditions and its id.
//!
//! Invariant: what is in here was checked; it could apply, whatever the row holds.

use bytes::Bytes;
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};

use crate::{
    RecordKey, UnixMillis,
    limits::{EXPIRES_AT_MS_MAX, TTL_MS_MAX, TTL_MS_MIN},
};

/// The content type of a value that came without one.
pub const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// One intended change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Which key.
    pub key: RecordKey,
    /// None: not deduplicated.
    pub id: Option<MutationId>,
    /// All must hold.
    pub conditions: Conditions,
    /// What to do.
    pub op: Op,
}

/// What a mutation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Replaces value, content type and expiry.
    Put {
        /// Any bytes.
        value: Bytes,
        /// At most [`crate::limits::CONTENT_TYPE_BYTES_MAX`] bytes.
        content_type: ByteString,
        /// None: never expires.
        expiry: Option<Expiry>,
    },
    /// Leaves a tombstone.
    Delete,
    /// Changes only the expiry.
    Ttl {
        /// How the new expiry and the present one combine.
        mode: TtlMode,
        /// None: never expires (only with [`TtlMode::Set`]).
        expiry: Option<Expiry>,
    },
    /// Adds to a decimal i64 in ASCII.
    Increment {
        /// May be negative.
        by: i64,
        /// What an absent key counts as.
        initial: i64,
    },
    /// Appends bytes.
    Append {
        /// What to append.
        value: Bytes,
    },
    /// RFC 7396.
    MergePatch {
        /// Valid JSON, at most [`crate::limits::JSON_DEPTH_MAX`] deep.
        patch: Bytes,
    },
    /// RFC 6902.
    JsonPatch {
        /// A valid JSON Patch document.
        patch: Bytes,
    },
}

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// This many milliseconds after the record's append time.
    TtlMs(u64),
    /// At this moment.
    At(UnixMillis),
}

impl Op {
    /// The word for it, as operations are named in a batch.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Delete => "delete",
            Self::Ttl { .. } => "ttl",
            Self::Increment { .. } => "increment",
            Self::Append { .. } => "append",
            Self::MergePatch { .. } => "merge-patch",
            Self::JsonPatch { .. } => "json-patch",
        }
    }
}

impl Expiry {
    /// Whether it is one that a record may carry: a TTL of 1 s to 10 years, or a moment up to the year 9999.
    pub fn is_valid(self) -> bool {
        match self {
            Self::TtlMs(ms) => (TTL_MS_MIN..=TTL_MS_MAX).contains(&ms),
            Self::At(at) => (0..=EXPIRES_AT_MS_MAX).contains(&at.0),
        }
    }

    /// The moment, for a record of this time.
    pub fn at(self, record_time: UnixMillis) -> UnixMillis {
        match self {
            Self::TtlMs(ms) => record_time.plus_ms(ms),
            Self::At(at) => at,
        }
    }
}

/// How a ttl change treats the present expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlMode {
    /// Replaces it.
    Set,
    /// Adds the TTL to it; to the record's time when there is none.
    Extend,
    /// The later of the two; none counts as for ever.
    OnlyLonger,
    /// The earlier of the two; none counts as for ever.
    OnlyShorter,
    /// Only where there is none.
    IfNone,
}

/// What must hold for a mutation to apply, at its place in the log and its record's time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The key exists.
    pub exists: bool,
    /// The key does not exist.
    pub absent: bool,
    /// The key exists and its position equals this string.
    pub version: Option<String>,
}

impl Conditions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        !self.exists && !self.absent && self.version.is_none()
    }
}

/// Names a mutation for deduplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MutationId {
    /// Never all zero.
    pub bytes: [u8; 16],
    /// Remembered as an operation with its outcome, not in the window.
    pub durable: bool,
}

impl MutationId {
    /// The durable id of an Idempotency-Key: the first 16 bytes of SHA-256 over the record key (its length first) and it.
    pub fn of_idempotency_key(key: &RecordKey, idempotency_key: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((key.bytes().len() as u64).to_le_bytes());
        hash.update(key.bytes());
        hash.update(idempotency_key.as_bytes());
        Self { bytes: first_16(&hash.finalize()), durable: true }
    }

    /// What the memories are keyed by: the first 16 bytes of SHA-256 over record key and id.
    pub fn hash(&self, key: &RecordKey) -> IdHash {
        let mut hash = Sha256::new();
        hash.update(self.bytes);
        hash.update(key.bytes());
        IdHash(first_16(&hash.finalize()))
    }
}

/// Hash of a record key and an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdHash(pub [u8; 16]);

/// Hash of everything that a durable id stands for: key, operation and conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 16]);

impl Mutation {
    /// Whether its outcome can be known without the row: neither conditions nor a result.
    pub fn is_blind(&self) -> bool {
        self.conditions.is_empty() && matches!(self.op, Op::Put { .. } | Op::Delete)
    }

    /// What tells a repeat from another request under the same id. Ids are not part of it.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.key.bytes());
        part(&[u8::from(self.conditions.exists), u8::from(self.conditions.absent)]);
        part(self.conditions.version.as_deref().unwrap_or_default().as_bytes());
        match &self.op {
            Op::Put { value, content_type, expiry } => {
                part(b"put");
                part(value);
                part(content_type.as_bytes());
                part(&expiry_bytes(*expiry));
            }
            Op::Delete => part(b"delete"),
            Op::Ttl { mode, expiry } => {
                part(b"ttl");
                part(&[*mode as u8]);
                part(&expiry_bytes(*expiry));
            }
            Op::Increment { by, initial } => {
                part(b"increment");
                part(&by.to_le_bytes());
                part(&initial.to_le_bytes());
            }
            Op::Append { value } => {
                part(b"append");
                part(value);
            }
            Op::MergePatch { patch } => {
                part(b"merge-patch");
                part(patch);
            }
            Op::JsonPatch { patch } => {
                part(b"json-patch");
                part(patch);
            }
        }
        Fingerprint(first_16(&hash.finalize()))
    }
}

fn expiry_bytes(expiry: Option<Expiry>) -> [u8; 9] {
    let (tag, number) = match expiry {
        None => (0, 0),
        Some(Expiry::TtlMs(ms)) => (1, ms),
        Some(Expiry::At(at)) => (2, at.0.cast_unsigned()),
    };
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn first_16(hash: &[u8]) -> [u8; 16] {
    *hash.first_chunk().expect("SHA-256 has 32 bytes")
}
