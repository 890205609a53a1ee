//! How much a log holds, and which of it is old.
//!
//! Age is told by segments: a segment goes as a whole. Invariant: what is called older is; what is counted is at least what is there.

use std::{fs, io};

use millpond_schemas::{Offset, PartitionId, UnixMillis};
use rustix::fs::statvfs;

use super::{
    index::{Index, slot},
    segment,
    shared::Shared,
};
use crate::{Bounds, Error, Extent, Space};

impl Shared {
    /// For each partition an offset below which every record is older than its time.
    pub(super) fn older(&self, times: &[UnixMillis]) -> Vec<Offset> {
        let state = self.state();
        let below = |(at, time): (usize, &UnixMillis)| {
            // A segment says the time of the last group before it, and times never go back.
            let after = state.segments.partition_point(|segment| segment.time < *time);
            state.segments[after.saturating_sub(1)].first[at]
        };
        times.iter().enumerate().map(below).collect()
    }

    /// What lies on the log from these offsets on, one per partition. Of the segment that they begin in, all counts that
    /// is not known to lie before them.
    pub(super) fn extent(&self, from: &[Offset]) -> Result<Extent, Error> {
        let state = self.state();
        let (mut records, mut lowest, mut firsts) = (0, usize::MAX, Vec::new());
        for (partition, from) in (0..).map(PartitionId).zip(from) {
            let Bounds { start, end } = state.bounds(partition);
            let from = (*from).max(start);
            if from >= end {
                continue;
            }
            records += end.0.abs_diff(from.0);
            let after = state.segments.partition_point(|segment| segment.first[slot(partition)] <= from);
            lowest = lowest.min(after - 1);
            firsts.push((after - 1, partition, from));
        }
        let Some(segments) = state.segments.get(lowest..) else { return Ok(Extent::default()) };
        firsts.retain(|(segment, ..)| *segment == lowest);
        let before = |index: &Index| {
            let first = |(_, partition, from): &(_, PartitionId, Offset)| {
                index.find(*partition, *from, 0).first().map_or(0, |block| block.position)
            };
            firsts.iter().map(first).min().unwrap_or(0)
        };
        let sequences: Vec<u64> = segments.iter().map(|header| header.sequence).collect();
        let mut bytes = state.cursor.position;
        let Some((first, sealed)) = sequences.split_last().and_then(|(_, sealed)| sealed.split_first())
        else {
            return Ok(Extent { records, bytes: bytes - before(&state.index) });
        };
        drop(state);
        bytes += self.file_bytes(*first)?;
        bytes -= self.sealed.get(*first).map_or(0, |sealed| before(&sealed.index)).min(bytes);
        for sequence in sealed {
            bytes += self.file_bytes(*sequence)?;
        }
        Ok(Extent { records, bytes })
    }

    /// Of a segment; 0 when it was trimmed meanwhile.
    fn file_bytes(&self, sequence: u64) -> Result<u64, Error> {
        match fs::metadata(segment::path(&self.dir, sequence)) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(segment::reading(error)),
        }
    }

    /// The file system that the log lies on.
    pub(super) fn space(&self) -> Result<Space, Error> {
        let of = statvfs(&self.dir).map_err(|error| segment::reading(error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(of.f_frsize);
        Ok(Space { free: bytes(of.f_bavail), of: bytes(of.f_blocks) })
    }
}
