//! Waiting for outcomes: one slab entry a mutation, one shard query a partition when time runs out.
//!
//! Invariant: what is told is the outcome of that very position, or of the one that it repeats.

use std::{collections::BTreeMap, time::Duration};

use millpond_schemas::{Offset, Outcome, PartitionId, Position};
use millpond_shard::Outcomes;
use tokio::time::{Instant, timeout_at};

use crate::{
    partitions::Awaited,
    state::{State, kept_outcome},
};

/// Longest that a shard is asked when a waiter's time is over.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// Longest that a waiter goes on once the api drains.
pub(crate) const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// What became of a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Whose outcome it is: the mutation's own position, or that of the first one with its id.
    pub(crate) position: Position,
    /// Never a duplicate.
    pub(crate) outcome: Outcome,
    /// Whether an earlier mutation with the same id stands.
    pub(crate) duplicate: bool,
}

impl State {
    /// Waits for one outcome. None: it is still open when time is over.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, and many may wait")]
    pub(crate) fn settle(
        &self,
        position: Position,
        until: Instant,
    ) -> impl Future<Output = Option<Settled>> + Send {
        async move {
            let outcome = self.outcome_within(&position, &until).await?;
            self.first_of(position, outcome).await
        }
    }

    /// As [`State::settle`], with a duplicate as it is.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, and many may wait")]
    fn outcome_within(
        &self,
        position: &Position,
        until: &Instant,
    ) -> impl Future<Output = Option<Outcome>> + Send {
        async move {
            let mut waiter = match self.partitions.await_outcome(position.partition, position.offset) {
                Awaited::Waiter(waiter) => waiter,
                Awaited::Known(outcome) => return Some(outcome),
                Awaited::Full => return None,
            };
            if let Ok(Some(told)) = timeout_at(*until, waiter.told()).await {
                return Some(told.into());
            }
            let looked = Box::pin(self.last_look(std::slice::from_ref(position))).await;
            waiter.told_already().map(Outcome::from).or_else(|| looked.of(*position))
        }
    }

    /// Waits for many outcomes, in their order. None: still open when time is over.
    pub(crate) async fn settle_all(&self, positions: &[Position], until: Instant) -> Vec<Option<Settled>> {
        let outcomes = self.outcomes_of(positions, until).await;
        let mut settled = Vec::with_capacity(positions.len());
        for (position, outcome) in positions.iter().zip(outcomes) {
            settled.push(match outcome {
                Some(outcome) => self.first_of(*position, outcome).await,
                None => None,
            });
        }
        settled
    }

    /// As [`State::settle_all`], with duplicates as they are.
    pub(crate) async fn outcomes_of(&self, positions: &[Position], until: Instant) -> Vec<Option<Outcome>> {
        let mut awaited: Vec<Awaited> = positions
            .iter()
            .map(|position| self.partitions.await_outcome(position.partition, position.offset))
            .collect();
        wait(&mut awaited, until).await;
        let open = positions.iter().zip(&awaited).filter(|(_, awaited)| awaited.is_open());
        let open: Vec<Position> = open.map(|(position, _)| *position).collect();
        let looked = self.last_look(&open).await;
        let told = positions.iter().zip(awaited);
        told.map(|(position, awaited)| awaited.told_already().or_else(|| looked.of(*position))).collect()
    }

    /// Reads from the shard what has not come: one query a partition.
    async fn last_look(&self, open: &[Position]) -> Looked {
        let mut spans: BTreeMap<PartitionId, (Offset, Offset)> = BTreeMap::new();
        for position in open {
            let span = spans.entry(position.partition).or_insert((position.offset, position.offset));
            *span = (span.0.min(position.offset), span.1.max(position.offset));
        }
        let mut looked = Looked::default();
        for (partition, span) in spans {
            match self.read_outcomes(partition, span, LAST_LOOK).await {
                Ok(outcomes) => drop(looked.0.insert(partition, (span, outcomes))),
                Err(_) => tracing::debug!(%partition, "an outcome stays open: its shard does not answer"),
            }
        }
        looked
    }

    /// Follows a duplicate to the first one. None: what became of that cannot be read now.
    async fn first_of(&self, position: Position, outcome: Outcome) -> Option<Settled> {
        self.metrics.told(&outcome);
        match outcome {
            Outcome::Duplicate { of, original: Some(original) } => {
                Some(Settled { position: of, outcome: *original, duplicate: true })
            }
            Outcome::Duplicate { of, original: None } => {
                let outcome = Box::pin(self.outcome_now(of)).await?;
                Some(Settled { position: of, outcome, duplicate: true })
            }
            outcome @ (Outcome::Applied(_) | Outcome::Rejected(_) | Outcome::DeadLettered(_)) => {
                Some(Settled { position, outcome, duplicate: false })
            }
        }
    }

    /// What is known now: from what was heard lately, or from the shard. None: open, or the shard does not answer.
    async fn outcome_now(&self, position: Position) -> Option<Outcome> {
        if position.partition.0 >= self.partitions.count() {
            return None;
        }
        let known = self.partitions.of(position.partition).outcome(position.offset);
        if known.is_some() {
            return known;
        }
        let span = (position.offset, position.offset);
        let outcomes = self.read_outcomes(position.partition, span, LAST_LOOK).await.ok()?;
        kept_outcome(&outcomes, position.offset)
    }
}

/// Waits until all have come, time is over, or they are let go.
async fn wait(awaited: &mut [Awaited], until: Instant) {
    for one in awaited {
        let Awaited::Waiter(waiter) = one else { continue };
        match timeout_at(until, waiter.told()).await {
            Ok(Some(told)) => *one = Awaited::Known(told.into()),
            Ok(None) => {}
            Err(_late) => return,
        }
    }
}

/// What shards told of offsets between two.
#[derive(Debug, Default)]
struct Looked(BTreeMap<PartitionId, ((Offset, Offset), Outcomes)>);

impl Looked {
    fn of(&self, position: Position) -> Option<Outcome> {
        let ((from, to), outcomes) = self.0.get(&position.partition)?;
        let asked = (*from..=*to).contains(&position.offset);
        asked.then(|| kept_outcome(outcomes, position.offset)).flatten()
    }
}
