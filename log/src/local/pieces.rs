//! A call's records as the bytes that they will be on the disk, by partition.
//!
//! Made by who calls, on its own thread and while its records are still in the processor's caches; the appender only
//! puts pieces one behind the other. Not here: offsets, which a record does not contain.
//! Invariant: within a partition, records keep the order of the call.

use millpond_schemas::PartitionId;

use super::{
    encode::BLOCK_BYTES,
    format::{put_record, record_bytes},
    index::slot,
};
use crate::Append;

/// Some records of one call in one partition, one behind the other.
pub(super) struct Piece {
    pub(super) partition: PartitionId,
    /// Records in it; at least one.
    pub(super) count: u32,
    pub(super) bytes: Vec<u8>,
}

/// What is known of a partition on the way through a call.
#[derive(Clone, Default)]
struct Lane {
    /// Bytes of the records that are still to come.
    left: usize,
    /// Which piece is the last.
    last: Option<usize>,
}

impl Piece {
    fn new(partition: PartitionId, bytes: usize) -> Self {
        Self { partition, count: 0, bytes: Vec::with_capacity(bytes) }
    }

    fn put(&mut self, record: &Append) {
        put_record(&record.raw, &mut self.bytes);
        self.count += 1;
    }

    /// Those of a call. A piece takes no more records once it has [`BLOCK_BYTES`].
    pub(super) fn of(records: &[Append], partitions: usize) -> Vec<Self> {
        if let [record] = records {
            let mut piece = Self::new(record.partition, record_bytes(&record.raw));
            piece.put(record);
            return vec![piece];
        }
        let mut lanes = vec![Lane::default(); partitions];
        for record in records {
            lanes[slot(record.partition)].left += record_bytes(&record.raw);
        }
        let mut pieces: Vec<Self> = Vec::new();
        for record in records {
            let (lane, bytes) = (&mut lanes[slot(record.partition)], record_bytes(&record.raw));
            let open = lane.last.filter(|&at| pieces[at].bytes.len() < BLOCK_BYTES);
            let at = open.unwrap_or_else(|| {
                pieces.push(Self::new(record.partition, lane.left.min(BLOCK_BYTES + bytes)));
                pieces.len() - 1
            });
            pieces[at].put(record);
            lane.left -= bytes;
            lane.last = Some(at);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millpond_schemas::Raw;
    use proptest::prelude::*;

    use super::*;
    use crate::local::format::take_record;

    const PARTITIONS: u32 = 3;

    fn call() -> impl Strategy<Value = Vec<Append>> {
        let record = (0..PARTITIONS, 0..BLOCK_BYTES, any::<u8>()).prop_map(|(partition, bytes, fill)| {
            let value = Some(vec![fill; bytes].into());
            Append { partition: PartitionId(partition), raw: Raw { value, ..Raw::default() } }
        });
        prop::collection::vec(record, 1..20)
    }

    proptest! {
        #[test]
        fn pieces_of_a_partition_are_its_records_in_the_order_of_the_call(call in call()) {
            let pieces = Piece::of(&call, PARTITIONS as usize);
            for partition in (0..PARTITIONS).map(PartitionId) {
                let mut raws = Vec::new();
                for piece in pieces.iter().filter(|piece| piece.partition == partition) {
                    prop_assert!(piece.count > 0);
                    let (before, mut rest) = (raws.len(), Bytes::copy_from_slice(&piece.bytes));
                    while !rest.is_empty() {
                        prop_assert!(piece.bytes.len() - rest.len() < BLOCK_BYTES, "it was full already");
                        raws.push(take_record(&mut rest).unwrap());
                    }
                    prop_assert_eq!(raws.len() - before, piece.count as usize);
                }
                let sent = call.iter().filter(|record| record.partition == partition);
                prop_assert_eq!(raws, sent.map(|record| record.raw.clone()).collect::<Vec<_>>());
            }
        }
    }
}
