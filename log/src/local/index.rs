//! Where the blocks of one segment lie, by partition; and the walk over groups that finds them.
//!
//! Invariant: the blocks of a partition are contiguous in offsets and rise in position; times never go back.

use millpond_schemas::{Offset, PartitionId, UnixMillis};

use super::format::{Bad, GroupHeader, SegmentHeader};

/// Records of one partition, together in one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) first: Offset,
    pub(super) time: UnixMillis,
    /// In the file.
    pub(super) position: u64,
    pub(super) count: u32,
    pub(super) length: u32,
    pub(super) crc: u32,
}

impl Block {
    /// The offset behind its last record.
    pub(super) fn end(&self) -> Offset {
        Offset(self.first.0 + i64::from(self.count))
    }
}

/// All blocks of one segment.
#[derive(Debug)]
pub(super) struct Index(Vec<Vec<Block>>);

impl Index {
    pub(super) fn new(partitions: usize) -> Self {
        Self(vec![Vec::new(); partitions])
    }

    pub(super) fn push(&mut self, partition: PartitionId, block: Block) {
        self.0[slot(partition)].push(block);
    }

    /// How many blocks it holds.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// The block with offset `from`, and those behind it that fit `bytes_max` together with it.
    pub(super) fn find(&self, partition: PartitionId, from: Offset, bytes_max: usize) -> &[Block] {
        let blocks = &self.0[slot(partition)];
        let start = blocks.partition_point(|block| block.end() <= from);
        let rest = &blocks[start..];
        let mut bytes = 0;
        let fits = |block: &&Block| {
            bytes += block.length as usize;
            bytes <= bytes_max
        };
        let count = rest.iter().take_while(fits).count().max(1);
        &rest[..count.min(rest.len())]
    }
}

/// A partition as an index into per-partition lists.
pub(super) fn slot(partition: PartitionId) -> usize {
    partition.0 as usize
}

/// Where the log stands after some group.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    /// In the segment's file: where the next group starts.
    pub(super) position: u64,
    /// Of the last group.
    pub(super) time: UnixMillis,
    /// Of every partition: the next offset.
    pub(super) next: Vec<Offset>,
}

impl Cursor {
    /// Before the first group of a segment.
    pub(super) fn at_start(header: &SegmentHeader) -> Self {
        let position = super::format::segment_header_bytes(header.first.len()) as u64;
        Self { position, time: header.time, next: header.first.clone() }
    }

    /// Goes over one group and notes its blocks. After an error the cursor is of no use.
    pub(super) fn advance(&mut self, group: &GroupHeader, index: &mut Index) -> Result<(), Bad> {
        if group.time < self.time {
            return Err(Bad("its time is before its predecessor's"));
        }
        for entry in &group.blocks {
            let next =
                self.next.get_mut(slot(entry.partition)).ok_or(Bad("it names an unknown partition"))?;
            if entry.first != *next || entry.count == 0 {
                return Err(Bad("its offsets do not follow their predecessors"));
            }
            let block = Block {
                first: entry.first,
                time: group.time,
                position: self.position + u64::from(entry.start),
                count: entry.count,
                length: entry.length,
                crc: entry.crc,
            };
            *next = block.end();
            index.push(entry.partition, block);
        }
        self.position += u64::from(group.length);
        self.time = group.time;
        Ok(())
    }
}
