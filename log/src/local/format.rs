//! The bytes of a segment file. All integers are little-endian.
//!
//! ```text
//! segment  header, zeros up to a multiple of 4096; groups; zeros
//! header   "MILLPOND", version u32, partitions u32, sequence u64, mark u64, previous mark u64, time i64,
//!          first offset i64 of every partition, crc u32
//! group    mark u64, position u64, time i64, length u32, blocks u32; per block: partition u32, count u32,
//!          first offset i64, start u32, length u32, crc u32; crc u32; the blocks; zeros up to a multiple of 8
//! block    records of one partition
//! record   key length u32, value length u32 (u32::MAX: none), headers u32; per header: name length u32,
//!          value length u32, name, value; key; value
//! ```
//!
//! The *mark* is random and differs in every segment. Together with its own position it makes a group header that
//! no user's value can imitate, and no copied or moved bytes can repeat. Every crc is CRC32C; a header's covers
//! all of the header before it. Not here: files.
//! Invariant: decoding never panics and never reads past what a crc covers.

#![warn(clippy::indexing_slicing)]

use bytes::{Buf, BufMut, Bytes, TryGetError};
use crc32c::crc32c;
use millpond_schemas::{ByteString, Offset, PartitionId, Raw, UnixMillis};

/// The first bytes of a segment.
const MAGIC: &[u8; 8] = b"MILLPOND";
/// Raised whenever the layout changes.
const VERSION: u32 = 1;
/// Groups start on a multiple of this, so that a search for them need not try every byte.
pub(crate) const ALIGNMENT_BYTES: usize = 8;
/// The first group of a segment starts on a multiple of this, off the header's disk sectors.
const HEADER_ALIGNMENT_BYTES: usize = 4096;
/// Mark, position, time, length, blocks.
pub(crate) const GROUP_FIXED_BYTES: usize = 32;
/// One entry of a group's directory.
const ENTRY_BYTES: usize = 28;
const CRC_BYTES: usize = 4;
/// Stands for a key or value that is none.
const NONE: u32 = u32::MAX;

/// What is wrong with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub(crate) &'static str);

impl From<TryGetError> for Bad {
    fn from(_: TryGetError) -> Self {
        Self("it ends too early")
    }
}

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Rises by one from segment to segment.
    pub(crate) sequence: u64,
    /// Random.
    pub(crate) mark: u64,
    /// The mark of the segment before; 0 for the first.
    pub(crate) previous_mark: u64,
    /// The last append time before this segment.
    pub(crate) time: UnixMillis,
    /// Every partition's next offset when the segment was made.
    pub(crate) first: Vec<Offset>,
}

/// A group's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// The append time of all its records.
    pub(crate) time: UnixMillis,
    /// Bytes of the whole group.
    pub(crate) length: u32,
    /// Its blocks; of one partition in order.
    pub(crate) blocks: Vec<Entry>,
}

/// Where one block of a group lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) partition: PartitionId,
    /// Records in it; at least one.
    pub(crate) count: u32,
    /// The offset of its first record.
    pub(crate) first: Offset,
    /// Bytes from the group's start.
    pub(crate) start: u32,
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

/// Where the first group of a segment with so many partitions starts.
pub(crate) fn segment_header_bytes(partitions: usize) -> usize {
    (48 + 8 * partitions + CRC_BYTES).next_multiple_of(HEADER_ALIGNMENT_BYTES)
}

/// Bytes of a group's header with so many blocks.
pub(crate) fn group_header_bytes(blocks: usize) -> usize {
    GROUP_FIXED_BYTES + ENTRY_BYTES * blocks + CRC_BYTES
}

impl SegmentHeader {
    /// [`segment_header_bytes`] bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = segment_header_bytes(self.first.len());
        let mut out = Vec::with_capacity(length);
        out.put_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(u32::try_from(self.first.len()).expect("partitions are counted in 32 bits"));
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.mark);
        out.put_u64_le(self.previous_mark);
        out.put_i64_le(self.time.0);
        self.first.iter().for_each(|offset| out.put_i64_le(offset.0));
        out.put_u32_le(crc32c(&out));
        out.resize(length, 0);
        out
    }

    /// Decodes the header of a log with so many partitions.
    pub(crate) fn decode(bytes: &[u8], partitions: usize) -> Result<Self, Bad> {
        let mut rest = bytes;
        if rest.try_get_u64_le()? != u64::from_le_bytes(*MAGIC) {
            return Err(Bad("it is not a segment"));
        }
        if rest.try_get_u32_le()? != VERSION {
            return Err(Bad("its version is unknown"));
        }
        if usize::try_from(rest.try_get_u32_le()?) != Ok(partitions) {
            return Err(Bad("it was made with another number of partitions"));
        }
        let (sequence, mark, previous_mark) =
            (rest.try_get_u64_le()?, rest.try_get_u64_le()?, rest.try_get_u64_le()?);
        let time = UnixMillis(rest.try_get_i64_le()?);
        let mut first = Vec::with_capacity(partitions);
        for _ in 0..partitions {
            first.push(Offset(rest.try_get_i64_le()?));
        }
        check_crc(bytes, &mut rest)?;
        Ok(Self { sequence, mark, previous_mark, time, first })
    }
}

/// Compares what comes next in `rest` with the crc of everything in `bytes` before it.
fn check_crc(bytes: &[u8], rest: &mut &[u8]) -> Result<(), Bad> {
    let covered = bytes.get(..bytes.len() - rest.len()).ok_or(Bad("it ends too early"))?;
    if rest.try_get_u32_le()? == crc32c(covered) { Ok(()) } else { Err(Bad("its header's checksum differs")) }
}

/// The fixed part of a group's header: how long the header and the group are. Not yet to be trusted.
pub(crate) fn group_extent(bytes: &[u8], mark: u64, position: u64) -> Result<(usize, u32), Bad> {
    let mut rest = bytes;
    if rest.try_get_u64_le()? != mark {
        return Err(Bad("no group starts there"));
    }
    if rest.try_get_u64_le()? != position {
        return Err(Bad("the group there belongs elsewhere"));
    }
    rest.try_get_i64_le()?;
    let (length, blocks) = (rest.try_get_u32_le()?, rest.try_get_u32_le()?);
    let fits = u64::from(blocks) * ENTRY_BYTES as u64 + ((GROUP_FIXED_BYTES + CRC_BYTES) as u64);
    if blocks == 0 || fits > u64::from(length) {
        return Err(Bad("its header's lengths are impossible"));
    }
    Ok((group_header_bytes(usize::try_from(blocks).expect("below a u32 length")), length))
}

impl GroupHeader {
    /// Appends it to `out`, which holds nothing else.
    pub(crate) fn encode(&self, mark: u64, position: u64, out: &mut Vec<u8>) {
        out.put_u64_le(mark);
        out.put_u64_le(position);
        out.put_i64_le(self.time.0);
        out.put_u32_le(self.length);
        out.put_u32_le(u32::try_from(self.blocks.len()).expect("blocks are fewer than bytes"));
        for block in &self.blocks {
            out.put_u32_le(block.partition.0);
            out.put_u32_le(block.count);
            out.put_i64_le(block.first.0);
            out.put_u32_le(block.start);
            out.put_u32_le(block.length);
            out.put_u32_le(block.crc);
        }
        out.put_u32_le(crc32c(out));
    }

    /// Decodes the header that [`group_extent`] measured.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let mut rest = bytes;
        rest.try_get_u64_le()?;
        rest.try_get_u64_le()?;
        let time = UnixMillis(rest.try_get_i64_le()?);
        let (length, count) = (rest.try_get_u32_le()?, rest.try_get_u32_le()?);
        let mut blocks = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        for _ in 0..count {
            blocks.push(Entry {
                partition: PartitionId(rest.try_get_u32_le()?),
                count: rest.try_get_u32_le()?,
                first: Offset(rest.try_get_i64_le()?),
                start: rest.try_get_u32_le()?,
                length: rest.try_get_u32_le()?,
                crc: rest.try_get_u32_le()?,
            });
        }
        check_crc(bytes, &mut rest)?;
        let inside = |b: &Entry| b.start.checked_add(b.length).is_some_and(|end| end <= length);
        if blocks.iter().all(inside) {
            Ok(Self { time, length, blocks })
        } else {
            Err(Bad("a block lies outside its group"))
        }
    }
}

/// Bytes of a record in a block.
pub(crate) fn record_bytes(raw: &Raw) -> usize {
    12 + 8 * raw.headers.len() + raw.len()
}

/// Appends a record. Its lengths fit 32 bits: the log refuses far smaller ones.
pub(crate) fn put_record(raw: &Raw, out: &mut Vec<u8>) {
    let length = |bytes: usize| u32::try_from(bytes).expect("a record is bounded far below 4 GiB");
    let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(NONE, |b| length(b.len()));
    out.put_u32_le(optional(&raw.key));
    out.put_u32_le(optional(&raw.value));
    out.put_u32_le(length(raw.headers.len()));
    for (name, value) in &raw.headers {
        out.put_u32_le(length(name.len()));
        out.put_u32_le(length(value.len()));
        out.put_slice(name.as_bytes());
        out.put_slice(value);
    }
    out.put_slice(raw.key.as_deref().unwrap_or_default());
    out.put_slice(raw.value.as_deref().unwrap_or_default());
}

/// Takes one record off a block whose crc has been checked.
pub(crate) fn take_record(block: &mut Bytes) -> Result<Raw, Bad> {
    let (key, value, headers) = (block.try_get_u32_le()?, block.try_get_u32_le()?, block.try_get_u32_le()?);
    let mut raw = Raw::default();
    for _ in 0..headers {
        let (name, value) = (block.try_get_u32_le()?, block.try_get_u32_le()?);
        let name =
            ByteString::try_from(take(block, name)?).map_err(|_| Bad("a header's name is not text"))?;
        raw.headers.push((name, take(block, value)?));
    }
    raw.key = (key != NONE).then(|| take(block, key)).transpose()?;
    raw.value = (value != NONE).then(|| take(block, value)).transpose()?;
    Ok(raw)
}

fn take(block: &mut Bytes, length: u32) -> Result<Bytes, Bad> {
    match usize::try_from(length) {
        Ok(length) if length <= block.len() => Ok(block.split_to(length)),
        _ => Err(Bad("a record is longer than its block")),
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a case may panic")]
mod tests;
