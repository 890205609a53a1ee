//! What one flush writes for one partition: rows, memories, dead letters, and last the watermark.
//!
//! Invariant: everything here is a function of the log up to `next.applied`; nothing depends on how it was cut.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    Digest, Fingerprint, Generation, IdHash, LogId, Offset, Outcome, OutcomeRange, PartitionId, Position,
    Raw, RecordKey, Refusal, UnixMillis, Upsert, Version,
};

/// How far a copy of a partition has applied its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Which partition.
    pub partition: PartitionId,
    /// Which life of the log.
    pub generation: Generation,
    /// Which log.
    pub log_id: LogId,
    /// The highest offset applied; [`Offset::NONE`] in an empty copy.
    pub applied: Offset,
    /// The last real record at or below `applied`: lower than it only over transaction markers.
    pub digest_offset: Offset,
    /// Digest of the record at `digest_offset`.
    pub digest: Digest,
    /// Clamped time of the record at `digest_offset`.
    pub time: UnixMillis,
    /// Offset of the Claim by which this copy's writer owns it; [`Offset::NONE`] before the first.
    pub owner: Offset,
    /// The Claim in force, encoded as `millpond.v1.Claim`; empty before the first.
    pub claim: Bytes,
    /// Whether a Seal was applied.
    pub sealed: bool,
}

impl Watermark {
    /// That of an empty copy.
    pub fn empty(partition: PartitionId, generation: Generation, log_id: LogId) -> Self {
        Self {
            partition,
            generation,
            log_id,
            applied: Offset::NONE,
            digest_offset: Offset::NONE,
            digest: Digest::NONE,
            time: UnixMillis::EPOCH,
            owner: Offset::NONE,
            claim: Bytes::new(),
            sealed: false,
        }
    }

    /// The position that this watermark stands for, as a read answers it.
    pub fn position(&self) -> Position {
        Position { generation: self.generation, partition: self.partition, offset: self.applied }
    }
}

/// One partition's part of a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flush {
    /// The watermark that this flush was folded from; compared before anything is committed.
    pub previous: Watermark,
    /// The watermark after it.
    pub next: Watermark,
    /// One per key, sorted by key.
    pub rows: Vec<Upsert>,
    /// Tombstones to remove, with the version that each must have.
    pub purged: Vec<(RecordKey, Version)>,
    /// From `previous.applied + 1` to `next.applied`. Kept when it holds exceptions.
    pub outcomes: OutcomeRange,
    /// Window ids first seen here, by offset.
    pub seen: Vec<Seen>,
    /// Durable ids first seen here.
    pub operations: Vec<Operation>,
    /// Records that can never apply.
    pub dead_letters: Vec<DeadLetter>,
}

impl Flush {
    /// Moves the watermark on over holes that follow the last record.
    ///
    /// # Panics
    /// When `to` lies below the watermark: our bug.
    pub fn pass_over(&mut self, to: Offset) {
        assert!(to >= self.next.applied, "a watermark never goes back");
        self.next.applied = to;
        self.outcomes.to = to;
    }
}

/// One id in the duplicate window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The record that brought it.
    pub offset: Offset,
    /// That record's clamped time.
    pub time: UnixMillis,
    /// The id.
    pub hash: IdHash,
}

/// A durable id and what became of its mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The id.
    pub hash: IdHash,
    /// The mutation.
    pub position: Position,
    /// Its record's clamped time.
    pub time: UnixMillis,
    /// What the id stands for.
    pub fingerprint: Fingerprint,
    /// What became of it. Never a duplicate.
    pub outcome: Outcome,
}

/// A record that can never apply, unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it lies on the log.
    pub offset: Offset,
    /// Its clamped time.
    pub time: UnixMillis,
    /// Why.
    pub refusal: Refusal,
    /// Its bytes.
    pub raw: Raw,
}

/// A `seen` blob is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row of `seen` cannot be read")]
pub struct SeenInvalid;

impl Seen {
    /// Packs a flush's ids, sorted by offset: per id a varint of the offset's rise, one of the time's, and the hash.
    /// The rises of the first are counted from `first` and from 0.
    pub fn pack(first: Offset, seen: &[Self]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(seen.len() * 19);
        let (mut offset, mut time) = (first.0, 0);
        for one in seen {
            put_varint(&mut bytes, (one.offset.0 - offset).cast_unsigned());
            put_varint(&mut bytes, (one.time.0 - time).cast_unsigned());
            bytes.put_slice(&one.hash.0);
            (offset, time) = (one.offset.0, one.time.0);
        }
        bytes.freeze()
    }

    /// Reads what [`Seen::pack`] wrote.
    pub fn unpack(first: Offset, mut bytes: Bytes) -> Result<Vec<Self>, SeenInvalid> {
        let (mut offset, mut time) = (first.0, 0i64);
        let mut seen = Vec::with_capacity(bytes.len() / 18);
        while bytes.has_remaining() {
            offset = offset.checked_add_unsigned(take_varint(&mut bytes)?).ok_or(SeenInvalid)?;
            time = time.checked_add_unsigned(take_varint(&mut bytes)?).ok_or(SeenInvalid)?;
            let mut hash = [0; 16];
            bytes.try_copy_to_slice(&mut hash).map_err(|_| SeenInvalid)?;
            seen.push(Self { offset: Offset(offset), time: UnixMillis(time), hash: IdHash(hash) });
        }
        Ok(seen)
    }
}

fn put_varint(bytes: &mut BytesMut, number: u64) {
    prost::encoding::encode_varint(number, bytes);
}

fn take_varint(bytes: &mut Bytes) -> Result<u64, SeenInvalid> {
    prost::encoding::decode_varint(bytes).map_err(|_| SeenInvalid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packed_ids_come_back(first in 0i64..1000, rises in prop::collection::vec((0i64..70_000, 0i64..1 << 40, any::<[u8; 16]>()), 0..40)) {
            let (mut offset, mut time) = (first, 0);
            let seen: Vec<Seen> = rises.into_iter().map(|(o, t, hash)| {
                offset += o;
                time += t;
                Seen { offset: Offset(offset), time: UnixMillis(time), hash: IdHash(hash) }
            }).collect();
            prop_assert_eq!(Seen::unpack(Offset(first), Seen::pack(Offset(first), &seen)), Ok(seen));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Seen::unpack(Offset(0), bytes.into());
        }
    }
}
