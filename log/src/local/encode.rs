//! Calls become one group.
//!
//! Two steps, because a group's place is known only when its length is: [`Encoder::plan`] gives out offsets and
//! measures, [`Encoder::write`] makes the bytes in a buffer that is used again.
//! Invariant: within a partition, records keep the order of the calls and of each call.

use crc32c::crc32c;
use millpond_schemas::{Offset, PartitionId, UnixMillis};

use super::{
    format::{ALIGNMENT_BYTES, Entry, GroupHeader, group_header_bytes, put_record, record_bytes},
    index::slot,
    queue::Call,
};
use crate::Ack;

/// A block is closed when it has this many bytes, so that a reader need not fetch a whole group for one record.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Holds the buffers from one group to the next.
pub(super) struct Encoder {
    /// Of every partition: its records, as indexes of call and record.
    records: Vec<Vec<(u32, u32)>>,
    /// The partitions that have any.
    touched: Vec<PartitionId>,
    header: GroupHeader,
    header_bytes: Vec<u8>,
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(partitions: usize) -> Self {
        Self {
            records: vec![Vec::new(); partitions],
            touched: Vec::new(),
            header: GroupHeader { time: UnixMillis::EPOCH, length: 0, blocks: Vec::new() },
            header_bytes: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Gives every record its offset, counting on from `next`, and lays out the group. Returns the acks of each
    /// call. The group's length is then [`Encoder::length`].
    pub(super) fn plan(&mut self, calls: &[Call], next: &mut [Offset], time: UnixMillis) -> Vec<Vec<Ack>> {
        self.header.time = time;
        self.header.blocks.clear();
        self.touched.drain(..).for_each(|partition| self.records[slot(partition)].clear());
        let mut acks = Vec::with_capacity(calls.len());
        let mut firsts = Vec::new();
        for (call_at, call) in calls.iter().enumerate() {
            let mut of_call = Vec::with_capacity(call.records.len());
            for (record_at, record) in call.records.iter().enumerate() {
                let next = &mut next[slot(record.partition)];
                let of_partition = &mut self.records[slot(record.partition)];
                if of_partition.is_empty() {
                    self.touched.push(record.partition);
                    firsts.push(*next);
                }
                of_partition.push((short(call_at), short(record_at)));
                of_call.push(Ack { offset: *next, time });
                *next = next.next();
            }
            acks.push(of_call);
        }
        self.lay_out(calls, &firsts);
        acks
    }

    fn lay_out(&mut self, calls: &[Call], firsts: &[Offset]) {
        let blocks = &mut self.header.blocks;
        for (&partition, &first) in self.touched.iter().zip(firsts) {
            let open = |first| Entry { partition, count: 0, first, start: 0, length: 0, crc: 0 };
            let mut block = open(first);
            for &(call, record) in &self.records[slot(partition)] {
                if block.length as usize >= BLOCK_BYTES {
                    blocks.push(block);
                    block = open(Offset(block.first.0 + i64::from(block.count)));
                }
                block.count += 1;
                block.length += short(record_bytes(&calls[call as usize].records[record as usize].raw));
            }
            blocks.push(block);
        }
        let mut end = group_header_bytes(blocks.len());
        for block in blocks.iter_mut() {
            block.start = short(end);
            end += block.length as usize;
        }
        self.header.length = short(end.next_multiple_of(ALIGNMENT_BYTES));
    }

    /// Bytes of the planned group.
    pub(super) fn length(&self) -> u64 {
        u64::from(self.header.length)
    }

    /// The header of the group that was written last.
    pub(super) fn header(&self) -> &GroupHeader {
        &self.header
    }

    /// Makes the bytes of the planned group for its place. `calls` are those that were planned.
    pub(super) fn write(&mut self, calls: &[Call], mark: u64, position: u64) -> &[u8] {
        self.bytes.clear();
        self.bytes.resize(group_header_bytes(self.header.blocks.len()), 0);
        let mut blocks = self.header.blocks.iter_mut();
        for &partition in &self.touched {
            let mut records = self.records[slot(partition)].iter();
            while records.len() > 0 {
                let block = blocks.next().expect("every record was planned into a block");
                let start = self.bytes.len();
                for &(call, record) in records.by_ref().take(block.count as usize) {
                    put_record(&calls[call as usize].records[record as usize].raw, &mut self.bytes);
                }
                block.crc = crc32c(&self.bytes[start..]);
            }
        }
        self.header_bytes.clear();
        self.header.encode(mark, position, &mut self.header_bytes);
        self.bytes[..self.header_bytes.len()].copy_from_slice(&self.header_bytes);
        self.bytes.resize(self.header.length as usize, 0);
        &self.bytes
    }

    /// Gives back the memory of a large group.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes);
    }
}

/// A call's records, and so a group, are bounded far below 4 GiB.
fn short(length: usize) -> u32 {
    u32::try_from(length).expect("a group is bounded far below 4 GiB")
}
