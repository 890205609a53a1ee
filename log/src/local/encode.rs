//! Calls become one group.
//!
//! Two steps, because a group's place is known only when its length is: [`Encoder::plan`] gives out offsets and lays
//! the group out, [`Encoder::parts`] names its bytes where they lie, so that none of a record is copied.
//! Invariant: within a partition, records keep the order of the calls and of each call.

use std::io::IoSlice;

use crc32c::crc32c_append;
use millpond_schemas::{Offset, PartitionId, UnixMillis};

use super::{
    format::{ALIGNMENT_BYTES, Entry, GroupHeader, group_header_bytes},
    index::slot,
    pieces::Piece,
    queue::Call,
};
use crate::Ack;

/// A block is closed at about this many bytes, so that a reader need not fetch a whole group for one record.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Holds the buffers from one group to the next.
pub(super) struct Encoder {
    /// Of every partition: its pieces, as indexes of call and piece.
    pieces: Vec<Vec<(u32, u32)>>,
    /// The partitions that have any.
    touched: Vec<PartitionId>,
    header: GroupHeader,
    header_bytes: Vec<u8>,
    /// Behind the last block.
    padding: usize,
}

impl Encoder {
    pub(super) fn new(partitions: usize) -> Self {
        Self {
            pieces: vec![Vec::new(); partitions],
            touched: Vec::new(),
            header: GroupHeader { time: UnixMillis::EPOCH, length: 0, blocks: Vec::new() },
            header_bytes: Vec::new(),
            padding: 0,
        }
    }

    /// Gives every record its offset, counting on from `next`, and lays out the group. Returns the acks of each
    /// call. The group's length is then [`Encoder::length`].
    pub(super) fn plan(&mut self, calls: &[Call], next: &mut [Offset], time: UnixMillis) -> Vec<Vec<Ack>> {
        self.header.time = time;
        self.header.blocks.clear();
        self.touched.drain(..).for_each(|partition| self.pieces[slot(partition)].clear());
        let mut acks = Vec::with_capacity(calls.len());
        let mut firsts = Vec::new();
        for (call_at, call) in calls.iter().enumerate() {
            for (piece_at, piece) in call.pieces.iter().enumerate() {
                let of_partition = &mut self.pieces[slot(piece.partition)];
                if of_partition.is_empty() {
                    self.touched.push(piece.partition);
                    firsts.push(next[slot(piece.partition)]);
                }
                of_partition.push((short(call_at), short(piece_at)));
            }
            let ack = |&partition: &PartitionId| {
                let next = &mut next[slot(partition)];
                let ack = Ack { offset: *next, time };
                *next = next.next();
                ack
            };
            acks.push(call.partitions.iter().map(ack).collect());
        }
        self.lay_out(calls, &firsts);
        acks
    }

    fn lay_out(&mut self, calls: &[Call], firsts: &[Offset]) {
        let blocks = &mut self.header.blocks;
        for (&partition, &first) in self.touched.iter().zip(firsts) {
            let open = |first| Entry { partition, count: 0, first, start: 0, length: 0, crc: 0 };
            let mut block = open(first);
            for &at in &self.pieces[slot(partition)] {
                let piece = piece(calls, at);
                if block.count > 0 && block.length as usize + piece.bytes.len() > BLOCK_BYTES {
                    blocks.push(block);
                    block = open(Offset(block.first.0 + i64::from(block.count)));
                }
                block.count += piece.count;
                block.length += short(piece.bytes.len());
                block.crc = crc32c_append(block.crc, &piece.bytes);
            }
            blocks.push(block);
        }
        let mut end = group_header_bytes(blocks.len());
        for block in blocks.iter_mut() {
            block.start = short(end);
            end += block.length as usize;
        }
        let length = end.next_multiple_of(ALIGNMENT_BYTES);
        self.header.length = short(length);
        self.padding = length - end;
    }

    /// Bytes of the planned group.
    pub(super) fn length(&self) -> u64 {
        u64::from(self.header.length)
    }

    /// The header of the group that was planned last.
    pub(super) fn header(&self) -> &GroupHeader {
        &self.header
    }

    /// The bytes of the planned group for its place, part after part. `calls` are those that were planned.
    pub(super) fn parts<'a>(&'a mut self, calls: &'a [Call], mark: u64, position: u64) -> Vec<IoSlice<'a>> {
        self.header_bytes.clear();
        self.header.encode(mark, position, &mut self.header_bytes);
        let pieces = self.touched.iter().flat_map(|&partition| &self.pieces[slot(partition)]);
        let mut parts = vec![IoSlice::new(&self.header_bytes)];
        parts.extend(pieces.map(|&at| IoSlice::new(&piece(calls, at).bytes)));
        parts.push(IoSlice::new(&[0; ALIGNMENT_BYTES][..self.padding]));
        parts
    }
}

fn piece(calls: &[Call], (call, piece): (u32, u32)) -> &Piece {
    &calls[call as usize].pieces[piece as usize]
}

/// A call's records, and so a group, are bounded far below 4 GiB.
fn short(length: usize) -> u32 {
    u32::try_from(length).expect("a group is bounded far below 4 GiB")
}
