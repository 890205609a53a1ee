//! A row of `kv`: the state of one key, live or tombstone.
//!
//! Invariant: `checksum` covers every other column but `created_at`; a row that fails it is never served.

use bytes::Bytes;
use bytestring::ByteString;
use xxhash_rust::xxh3::Xxh3;

use crate::{PartitionId, RecordKey, UnixMillis, Version};

/// The state of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which key.
    pub key: RecordKey,
    /// Position of the mutation that last changed it.
    pub version: Version,
    /// None on a tombstone.
    pub value: Option<Bytes>,
    /// Empty on a tombstone.
    pub content_type: ByteString,
    /// When it expires; none: never. On a tombstone, when it became one.
    pub expires_at: Option<UnixMillis>,
    /// When a put made the key exist. On a tombstone, when it became one.
    pub created_at: UnixMillis,
    /// Clamped time of the record that last changed it.
    pub updated_at: UnixMillis,
}

impl Row {
    /// A deleted or expired key.
    pub fn tombstone(key: RecordKey, version: Version, at: UnixMillis) -> Self {
        Self {
            key,
            version,
            value: None,
            content_type: ByteString::new(),
            expires_at: Some(at),
            created_at: at,
            updated_at: at,
        }
    }

    /// Whether the key was deleted or has been expired by a Sweep.
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// Whether the key exists at `time`: neither a tombstone nor expired.
    pub fn is_live_at(&self, time: UnixMillis) -> bool {
        !self.is_tombstone() && self.expires_at.is_none_or(|at| at > time)
    }

    /// XXH3-64 over every column but `created_at`, each of variable length preceded by its length.
    pub fn checksum(&self, partition: PartitionId) -> i64 {
        let mut hash = Xxh3::new();
        hash.update(&partition.0.to_le_bytes());
        hash.update(&self.version.0.to_le_bytes());
        hash.update(&self.updated_at.0.to_le_bytes());
        hash.update(&self.expires_at.map_or(i64::MIN, |at| at.0).to_le_bytes());
        let mut part = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(self.key.bytes());
        part(self.content_type.as_bytes());
        match &self.value {
            Some(value) => part(value),
            None => hash.update(&u64::MAX.to_le_bytes()),
        }
        hash.digest().cast_signed()
    }

    /// This row's part in the digest of a copy: XXH3-128 over every column. Parts add up, wrapping, in any order.
    pub fn digest(&self, partition: PartitionId) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(&self.checksum(partition).to_le_bytes());
        hash.update(&self.created_at.0.to_le_bytes());
        hash.update(self.key.bytes());
        hash.update(&self.version.0.to_le_bytes());
        hash.update(self.value.as_deref().unwrap_or_default());
        hash.digest128()
    }
}

/// Where a row's `created_at` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The row says it.
    Known,
    /// The row before was not read: its `created_at` stays if it is live at the row's `created_at`
    /// (the time of the key's first put in the flush), which holds otherwise.
    KeepIfLive,
}

/// A row to write, with where its `created_at` comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upsert {
    /// What the row becomes.
    pub row: Row,
    /// See [`Created`].
    pub created: Created,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generation, Offset, Tenant};

    #[test]
    fn every_column_but_created_at_is_in_the_checksum() {
        let key = |k: &[u8]| RecordKey::new(&Tenant::new("t").unwrap(), k).unwrap();
        let row = Row {
            key: key(b"a"),
            version: Version::new(Generation(1), Offset(5)),
            value: Some(Bytes::from_static(b"v")),
            content_type: "text/plain".into(),
            expires_at: None,
            created_at: UnixMillis(1),
            updated_at: UnixMillis(2),
        };
        let sum = row.checksum(PartitionId(0));
        assert_eq!(Row { created_at: UnixMillis(9), ..row.clone() }.checksum(PartitionId(0)), sum);
        let others = [
            Row { key: key(b"b"), ..row.clone() },
            Row { version: Version(7), ..row.clone() },
            Row { value: Some(Bytes::new()), ..row.clone() },
            Row { value: None, ..row.clone() },
            Row { content_type: "text/html".into(), ..row.clone() },
            Row { expires_at: Some(UnixMillis(3)), ..row.clone() },
            Row { updated_at: UnixMillis(3), ..row.clone() },
        ];
        for other in others {
            assert_ne!(other.checksum(PartitionId(0)), sum, "{other:?}");
        }
        assert_ne!(row.checksum(PartitionId(1)), sum);
    }
}
