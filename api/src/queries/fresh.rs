//! How fresh each partition of a page has to be, and waiting for it.
//!
//! Not here: reading. Invariant: a page is never older than the pages before it, whatever node answers.

use std::collections::BTreeMap;

use futures_util::future::{join_all, try_join_all};
use millpond_schemas::{Offset, PartitionId, Position, RecordKey};
use tokio::time::Instant;

use crate::{consistency::Consistency, problem::Problem, state::State, submit::key_hash};

/// What a page is to have applied of each of its partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// By partition; [`Offset::NONE`]: whatever is there.
    pub(super) at_least: BTreeMap<PartitionId, Offset>,
    /// Nothing older is answered. Otherwise what is older is answered after a moment, and says so.
    pub(super) strict: bool,
}

impl State {
    /// What a page over these partitions wants by its consistency, and by what pages before it were read at.
    ///
    /// # Errors
    /// `position-invalid`, `log-unavailable`.
    pub(super) async fn wants(
        &self,
        partitions: impl Iterator<Item = PartitionId>,
        consistency: &Consistency,
        seen: &[Position],
    ) -> Result<Wants, Problem> {
        let mut at_least: BTreeMap<_, _> = partitions.map(|partition| (partition, Offset::NONE)).collect();
        let (positions, strong) = match consistency {
            Consistency::Eventual => (&[][..], false),
            Consistency::Session(positions) => (positions.as_slice(), false),
            Consistency::Strong(positions) => (positions.as_slice(), true),
        };
        for position in positions {
            self.check_issued(*position).await?;
        }
        if strong {
            let ends = at_least.keys().map(|partition| self.log_end(*partition));
            let ends = try_join_all(ends).await?;
            for (wanted, end) in at_least.values_mut().zip(ends) {
                *wanted = end.previous();
            }
        }
        let generation = self.generation();
        // An older generation is sealed and applied: whatever it names has been reached.
        for position in positions.iter().chain(seen).filter(|position| position.generation == generation) {
            if let Some(wanted) = at_least.get_mut(&position.partition) {
                *wanted = position.offset.max(*wanted);
            }
        }
        let strict = *consistency != Consistency::Eventual || !seen.is_empty();
        Ok(Wants { at_least, strict })
    }

    /// What was written through this api and some node may lack: of these keys, or else of any.
    pub(super) fn own_writes(&self, wants: &mut Wants, keys: Option<&[(PartitionId, RecordKey)]>) {
        let Some(keys) = keys else {
            for (partition, wanted) in &mut wants.at_least {
                *wanted = self.partitions.of(*partition).wanted_of_any();
            }
            return;
        };
        for (partition, key) in keys {
            let own = self.partitions.of(*partition).wanted(key_hash(key.bytes()));
            if let Some(wanted) = wants.at_least.get_mut(partition) {
                *wanted = own.max(*wanted);
            }
        }
    }

    /// Waits until all of this is known to be applied, or `until`.
    pub(super) async fn all_reached(&self, wants: &Wants, until: Instant) {
        let each = wants.at_least.iter().map(|(partition, wanted)| self.reached(*partition, *wanted, until));
        join_all(each).await;
    }
}
