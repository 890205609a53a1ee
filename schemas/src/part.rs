//! Parts of a copy's digest: one for each thing that a copy holds. Parts add up, wrapping, in any order.
//!
//! Not here: a row's part, which stands with the row. Invariant: a part says nothing of the engine, and nothing of how
//! flushes were cut.

use xxhash_rust::xxh3::Xxh3;

use crate::{DeadLetter, Exception, Generation, Operation, PartitionId, Seen, Watermark};

/// One part in the making. The first byte tells kinds apart.
struct Part(Xxh3);

impl Part {
    fn new(kind: u8, partition: PartitionId) -> Self {
        let mut hash = Xxh3::new();
        hash.update(&[kind]);
        hash.update(&partition.0.to_le_bytes());
        Self(hash)
    }

    fn number(mut self, number: i64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// Preceded by its length.
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn maybe_bytes(mut self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => {
                self.0.update(&u64::MAX.to_le_bytes());
                self
            }
        }
    }

    fn done(self) -> u128 {
        self.0.digest128()
    }
}

impl Watermark {
    /// Its part: everything but the owner, which only the copy that serves has.
    pub fn part(&self) -> u128 {
        Part::new(b'w', self.partition)
            .number(i64::from(self.generation.0))
            .bytes(&self.log_id.0)
            .number(self.applied.0)
            .number(self.digest_offset.0)
            .bytes(&self.digest.0)
            .number(self.time.0)
            .bytes(&self.claim)
            .number(i64::from(self.sealed))
            .done()
    }
}

impl Exception {
    /// Its part in the digest of a copy.
    pub fn part(&self, partition: PartitionId, generation: Generation) -> u128 {
        Part::new(b'o', partition)
            .number(i64::from(generation.0))
            .number(self.offset.0)
            .maybe_bytes(self.id.as_ref().map(<[u8; 16]>::as_slice))
            .bytes(&self.outcome.encode())
            .done()
    }
}

impl Seen {
    /// Its part in the digest of a copy.
    pub fn part(&self, partition: PartitionId, generation: Generation) -> u128 {
        Part::new(b's', partition)
            .number(i64::from(generation.0))
            .number(self.offset.0)
            .number(self.time.0)
            .bytes(&self.hash.0)
            .done()
    }
}

impl Operation {
    /// Its part in the digest of a copy.
    pub fn part(&self, partition: PartitionId) -> u128 {
        Part::new(b'i', partition)
            .bytes(&self.hash.0)
            .number(i64::from(self.position.generation.0))
            .number(i64::from(self.position.partition.0))
            .number(self.position.offset.0)
            .number(self.time.0)
            .bytes(&self.fingerprint.0)
            .bytes(&self.outcome.encode())
            .done()
    }
}

impl DeadLetter {
    /// Its part in the digest of a copy.
    pub fn part(&self, partition: PartitionId, generation: Generation) -> u128 {
        let mut part = Part::new(b'd', partition)
            .number(i64::from(generation.0))
            .number(self.offset.0)
            .number(self.time.0)
            .bytes(self.refusal.reason.code().as_bytes())
            .bytes(self.refusal.detail.as_bytes())
            .maybe_bytes(self.raw.key.as_deref())
            .maybe_bytes(self.raw.value.as_deref());
        for (name, value) in &self.raw.headers {
            part = part.bytes(name.as_bytes()).bytes(value);
        }
        part.done()
    }
}
