//! Tenants and keys, and `tenant/key`, the record key that the partition is computed from.
//!
//! Invariant: a [`RecordKey`] holds a valid tenant and a key of 1..=1024 bytes, whoever made it.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    PartitionId,
    limits::{KEY_BYTES_MAX, TENANT_BYTES_MAX},
};

/// Bytes of the allocations that joined keys share.
const SHARED_BYTES: usize = 4 << 10;

/// Why a tenant or a key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyInvalid {
    /// Not `[a-z0-9][a-z0-9_-]{0,62}`.
    #[error("a tenant is 1 to 63 of a-z, 0-9, _ and -, and starts with a letter or digit")]
    Tenant,
    /// Empty, or longer than 1,024 bytes.
    #[error("a key is 1 to 1024 bytes; this one has {bytes}")]
    Key {
        /// Its length.
        bytes: usize,
    },
    /// A record key without a `/`.
    #[error("a record key is <tenant>/<key>")]
    NoTenant,
}

/// Who owns keys: `[a-z0-9][a-z0-9_-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Bytes);

impl Tenant {
    /// Checks a name.
    pub fn new(name: impl Into<Bytes>) -> Result<Self, KeyInvalid> {
        let name = name.into();
        if is_tenant(&name) { Ok(Self(name)) } else { Err(KeyInvalid::Tenant) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a tenant is ASCII")
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_tenant(name: &[u8]) -> bool {
    let lower = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= TENANT_BYTES_MAX
        && name.first().is_some_and(lower)
        && name.iter().all(|b| lower(b) || *b == b'_' || *b == b'-')
}

/// `tenant/key` in one buffer, ordered bytewise within a tenant.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RecordKey {
    bytes: Bytes,
    tenant_bytes: u8,
}

impl RecordKey {
    /// Joins a tenant and a key.
    pub fn new(tenant: &Tenant, key: &[u8]) -> Result<Self, KeyInvalid> {
        check_key(key)?;
        let mut bytes = BytesMut::with_capacity(joined_bytes(tenant, key));
        join(tenant, key, &mut bytes);
        Ok(Self::of(bytes.freeze(), tenant))
    }

    fn of(bytes: Bytes, tenant: &Tenant) -> Self {
        Self { bytes, tenant_bytes: length_u8(tenant.0.len()) }
    }

    /// Reads `tenant/key` as it lies on the log. The first `/` ends the tenant.
    pub fn parse(bytes: Bytes) -> Result<Self, KeyInvalid> {
        let slash = bytes.iter().position(|b| *b == b'/').ok_or(KeyInvalid::NoTenant)?;
        let (tenant, rest) = bytes.split_at(slash);
        if !is_tenant(tenant) {
            return Err(KeyInvalid::Tenant);
        }
        check_key(rest.get(1..).unwrap_or_default())?;
        Ok(Self { tenant_bytes: length_u8(slash), bytes })
    }

    /// The whole, as it lies on the log.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Who owns it.
    pub fn tenant(&self) -> &str {
        std::str::from_utf8(self.tenant_bytes()).expect("a tenant is ASCII")
    }

    /// As [`RecordKey::tenant`], without looking at them.
    fn tenant_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.tenant_bytes)]
    }

    /// The key without its tenant.
    pub fn key(&self) -> Bytes {
        self.bytes.slice(usize::from(self.tenant_bytes) + 1..)
    }

    /// The key without its tenant, borrowed.
    pub fn key_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.tenant_bytes) + 1..]
    }

    /// The partition of `partitions` that this key belongs to: Kafka's default partitioner.
    ///
    /// Source: `org.apache.kafka.clients.producer.internals.BuiltInPartitioner`.
    pub fn partition(&self, partitions: u32) -> PartitionId {
        partition_of(&self.bytes, partitions)
    }

    /// A short name for this key where the key itself must not be told, such as in log lines: XXH3-64 of it all.
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.bytes)
    }
}

/// Joins many keys that live about as long as each other: they share allocations of 4 KiB.
#[derive(Default)]
pub struct KeyJoiner(BytesMut);

impl KeyJoiner {
    /// As [`RecordKey::new`].
    pub fn join(&mut self, tenant: &Tenant, key: &[u8]) -> Result<RecordKey, KeyInvalid> {
        check_key(key)?;
        let needed = joined_bytes(tenant, key);
        if self.0.capacity() < needed {
            self.0 = BytesMut::with_capacity(needed.max(SHARED_BYTES));
        }
        join(tenant, key, &mut self.0);
        Ok(RecordKey::of(self.0.split().freeze(), tenant))
    }
}

fn joined_bytes(tenant: &Tenant, key: &[u8]) -> usize {
    tenant.0.len() + 1 + key.len()
}

fn join(tenant: &Tenant, key: &[u8], into: &mut BytesMut) {
    into.put_slice(&tenant.0);
    into.put_u8(b'/');
    into.put_slice(key);
}

/// The partition of any record key's bytes: `(murmur2 & 0x7fffffff) % partitions`.
pub fn partition_of(record_key: &[u8], partitions: u32) -> PartitionId {
    const KAFKA_SEED: u32 = 0x9747_b28c;
    PartitionId((murmur2::murmur2(record_key, KAFKA_SEED) & 0x7fff_ffff) % partitions)
}

impl PartialOrd for RecordKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// By tenant, then by key: the order of a shard's primary key, which differs from the joined bytes' order.
impl Ord for RecordKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.tenant_bytes(), self.key_bytes()).cmp(&(other.tenant_bytes(), other.key_bytes()))
    }
}

/// Keys are user data: never printed, only their length.
impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({}/{} bytes)", self.tenant(), self.key_bytes().len())
    }
}

fn check_key(key: &[u8]) -> Result<(), KeyInvalid> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(KeyInvalid::Key { bytes: key.len() });
    }
    Ok(())
}

fn length_u8(length: usize) -> u8 {
    u8::try_from(length).expect("a tenant has at most 63 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_key_is_what_it_was_made_of() {
        let key = RecordKey::new(&Tenant::new("acme").unwrap(), b"a/b/\xff").unwrap();
        assert_eq!((key.tenant(), key.key_bytes()), ("acme", &b"a/b/\xff"[..]));
        assert_eq!(RecordKey::parse(key.bytes().clone()).unwrap(), key);
    }

    #[test]
    fn bad_keys_are_refused_with_their_reason() {
        let parse = |text: &'static [u8]| RecordKey::parse(Bytes::from_static(text)).unwrap_err();
        assert_eq!(parse(b"nokey"), KeyInvalid::NoTenant);
        assert_eq!(parse(b"Acme/a"), KeyInvalid::Tenant);
        assert_eq!(parse(b"/a"), KeyInvalid::Tenant);
        assert_eq!(parse(b"acme/"), KeyInvalid::Key { bytes: 0 });
        let tenant = Tenant::new("a").unwrap();
        assert_eq!(RecordKey::new(&tenant, &[0; 1025]).unwrap_err(), KeyInvalid::Key { bytes: 1025 });
        assert!(RecordKey::new(&tenant, &[0; 1024]).is_ok());
        assert!(Tenant::new("a".repeat(64)).is_err());
    }

    #[test]
    fn known_partitions_are_those_of_kafka() {
        for (key, partition) in [
            ("21", 44),
            ("foobar", 62),
            ("a-little-bit-long-string", 32),
            ("a-little-bit-longer-string", 3),
            ("abc", 27),
        ] {
            assert_eq!(partition_of(key.as_bytes(), 64), PartitionId(partition), "{key}");
        }
    }

    #[test]
    fn order_is_by_tenant_then_key() {
        let key =
            |tenant: &'static str, key: &[u8]| RecordKey::new(&Tenant::new(tenant).unwrap(), key).unwrap();
        assert!(key("a", b"z") < key("a-b", b"a"));
        assert!(key("a", b"a") < key("a", b"b"));
    }
}
