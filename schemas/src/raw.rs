//! A record as bytes: what the log stores and gives back, before anyone looks inside.
//!
//! Invariant: the log changes no byte of it. Digest and MAC cover these bytes, never a re-encoding.

use bytes::Bytes;
use bytestring::ByteString;
use xxhash_rust::xxh3::Xxh3;

use crate::{Offset, UnixMillis};

/// The header that tells the two forms of value apart; see [`FORMAT_RECORD`].
pub const HEADER_FORMAT: &str = "kv-format";
/// Value of [`HEADER_FORMAT`] when the record's value is an encoded `millpond.v1.Record`.
pub const FORMAT_RECORD: &[u8] = b"record";
/// The header with a control record's MAC, 32 bytes.
pub const HEADER_MAC: &str = "kv-mac";

/// One record's bytes, as appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// `tenant/key`; none for control records.
    pub key: Option<Bytes>,
    /// In order; names may repeat, the last one counts.
    pub headers: Vec<(ByteString, Bytes)>,
    /// None is a Kafka tombstone.
    pub value: Option<Bytes>,
}

/// One record as read back from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its append time, as the log gave it: not yet clamped.
    pub time: UnixMillis,
    /// Its bytes.
    pub raw: Raw,
}

/// Identifies a record's bytes. Not secret, not order-dependent beyond one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// What an empty copy has applied.
    pub const NONE: Self = Self([0; 16]);
}

impl Raw {
    /// The last header of this name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// Bytes that this record holds: key, headers and value.
    pub fn len(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len)
            + self.header_bytes()
            + self.value.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it holds no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of header names and values.
    pub fn header_bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// The digest of these bytes: XXH3-128 over every part, each preceded by its length.
    pub fn digest(&self) -> Digest {
        let mut hash = Xxh3::new();
        let mut part = |bytes: Option<&[u8]>| {
            let length = bytes.map_or(u64::MAX, |b| b.len() as u64);
            hash.update(&length.to_le_bytes());
            hash.update(bytes.unwrap_or_default());
        };
        part(self.key.as_deref());
        part(self.value.as_deref());
        for (name, value) in &self.headers {
            part(Some(name.as_bytes()));
            part(Some(value));
        }
        Digest(hash.digest128().to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_none_from_empty_and_parts_from_their_join() {
        let raw = |key: Option<&'static str>, value: Option<&'static str>| {
            Raw { key: key.map(Bytes::from), headers: vec![], value: value.map(Bytes::from) }.digest()
        };
        assert_ne!(raw(Some("ab"), Some("c")), raw(Some("a"), Some("bc")));
        assert_ne!(raw(Some("a"), None), raw(Some("a"), Some("")));
        assert_eq!(raw(Some("a"), Some("b")), raw(Some("a"), Some("b")));
    }
}
