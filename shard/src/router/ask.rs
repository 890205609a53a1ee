//! What a read asks a node for: keys of one partition, keys of several, or a range.
//!
//! Not here: which node. Invariant: whatever is asked, rows and states come from one statement.

use millpond_schemas::{PartitionId, RecordKey};

use super::node::{Fault, Node};
use crate::{Freshness, ManyRead, Scan, Scanned, Snapshot};

/// Something that can be asked of any node of a shard, and of several in turn.
pub(super) trait Ask: Sync {
    /// Rows, and the states that they were read from.
    type Answer: Send;

    /// Asks one node.
    fn of(&self, node: &Node) -> impl Future<Output = Result<Self::Answer, Fault>> + Send;

    /// The states of an answer.
    fn states(answer: &Self::Answer) -> &[Freshness];
}

/// Keys of one partition. They gather with those of other calls.
pub(super) struct One(pub(super) PartitionId, pub(super) Vec<RecordKey>);

impl Ask for One {
    type Answer = Snapshot;

    async fn of(&self, node: &Node) -> Result<Snapshot, Fault> {
        node.read(self.0, self.1.clone()).await
    }

    fn states(answer: &Snapshot) -> &[Freshness] {
        std::slice::from_ref(&answer.freshness)
    }
}

/// Keys of several partitions, and most bytes of their values.
pub(super) struct Many(pub(super) Vec<(PartitionId, RecordKey)>, pub(super) usize);

impl Ask for Many {
    type Answer = ManyRead;

    async fn of(&self, node: &Node) -> Result<ManyRead, Fault> {
        node.shard.read_many_within(self.0.clone(), self.1).await.map_err(Fault::of)
    }

    fn states(answer: &ManyRead) -> &[Freshness] {
        &answer.freshness
    }
}

/// A range over several partitions.
pub(super) struct Range(pub(super) Vec<PartitionId>, pub(super) Scan);

impl Ask for Range {
    type Answer = Scanned;

    async fn of(&self, node: &Node) -> Result<Scanned, Fault> {
        node.shard.range(self.0.clone(), self.1.clone()).await.map_err(Fault::of)
    }

    fn states(answer: &Scanned) -> &[Freshness] {
        &answer.freshness
    }
}
