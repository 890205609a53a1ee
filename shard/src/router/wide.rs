//! Reads of several partitions at once: of keys, and of ranges.
//!
//! Not here: merging what several shards answer. Invariant: an answer has a state for every partition that was asked
//! for; a shard that lacks the copy of one has not answered.

use millpond_schemas::{Offset, PartitionId, RecordKey};
use tokio::time::Instant;

use super::{
    Router,
    ask::{Many, Range},
    read::Read,
};
use crate::{Error, ManyRead, Scan, Scanned};

/// What a read of several partitions asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// The partitions, each once, and what the answer is to have applied of it; [`Offset::NONE`]: whatever is there.
    pub at_least: Vec<(PartitionId, Offset)>,
    /// Until when nodes may be asked.
    pub deadline: Instant,
}

/// Reads of several partitions, from whichever node is best for all of them: as [`Router::read`].
impl Router {
    /// As [`Router::read`], of keys of several partitions, each of which is in `wants`: see
    /// [`crate::Shard::read_many_within`].
    ///
    /// # Errors
    /// [`Error::Unavailable`]: no node has answered in time, or none that did has a copy of every partition.
    pub async fn read_many(
        &self,
        keys: Vec<(PartitionId, RecordKey)>,
        bytes_max: usize,
        wants: &Wants,
    ) -> Result<ManyRead, Error> {
        let lease = self.0.lease();
        Read::new(&self.0, &lease.set, Many(keys, bytes_max), (&wants.at_least, wants.deadline)).run().await
    }

    /// As [`Router::read`], of a range over the partitions in `wants`: see [`crate::Shard::range`].
    ///
    /// # Errors
    /// [`Error::Unavailable`]: no node has answered in time, or none that did has a copy of every partition.
    pub async fn range(&self, scan: Scan, wants: &Wants) -> Result<Scanned, Error> {
        let lease = self.0.lease();
        let partitions = wants.at_least.iter().map(|(partition, _)| *partition).collect();
        Read::new(&self.0, &lease.set, Range(partitions, scan), (&wants.at_least, wants.deadline)).run().await
    }
}
