//! Waiting for outcomes: one slab entry a mutation, one shard query a partition when time runs out.
//!
//! Invariant: what is told is the outcome of that very position, or of the one that it repeats.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use millpond_schemas::{Offset, Outcome, PartitionId, Position};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    partitions::Awaited,
    state::{State, kept_outcome},
};

/// Longest that a shard is asked when a waiter's time is over.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// Longest that a waiter goes on once the api drains.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

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
    pub(crate) async fn settle(&self, position: Position, until: Instant) -> Option<Settled> {
        let outcome = self.outcome_within(position, until).await?;
        self.first_of(position, outcome).await
    }

    /// As [`State::settle`], with a duplicate as it is. Small, for there may be many that wait.
    async fn outcome_within(&self, position: Position, until: Instant) -> Option<Outcome> {
        let mut awaited = self.partitions.await_outcome(position.partition, position.offset);
        self.wait(std::slice::from_mut(&mut awaited), until).await;
        if awaited.is_open() {
            Box::pin(self.last_look(&[position], std::slice::from_ref(&awaited))).await;
        }
        awaited.told_already()
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
        self.wait(&mut awaited, until).await;
        self.last_look(positions, &awaited).await;
        awaited.into_iter().map(Awaited::told_already).collect()
    }

    /// Waits until all have come or time is over.
    async fn wait(&self, awaited: &mut [Awaited], until: Instant) {
        let mut over = pin!(self.over(until));
        for one in awaited {
            let Awaited::Waiter(waiter) = one else { continue };
            let told = tokio::select! {
                biased;
                told = waiter.told() => told,
                () = &mut over => return,
            };
            if let Some(outcome) = told {
                *one = Awaited::Known(outcome);
            }
        }
    }

    /// Ends at `until`, or soon after the api began to drain.
    async fn over(&self, until: Instant) {
        let drained = async {
            self.draining.cancelled().await;
            sleep(DRAIN_WAIT).await;
        };
        tokio::select! {
            () = sleep_until(until) => {}
            () = drained => {}
        }
    }

    /// Reads from the shard what has not come: one query a partition. The answers reach the waiters.
    async fn last_look(&self, positions: &[Position], awaited: &[Awaited]) {
        let mut open: BTreeMap<PartitionId, (Offset, Offset)> = BTreeMap::new();
        for (position, awaited) in positions.iter().zip(awaited) {
            if awaited.is_open() {
                let span = open.entry(position.partition).or_insert((position.offset, position.offset));
                *span = (span.0.min(position.offset), span.1.max(position.offset));
            }
        }
        for (partition, span) in open {
            if self.read_outcomes(partition, span, LAST_LOOK).await.is_err() {
                tracing::debug!(%partition, "an outcome stays open: its shard does not answer");
            }
        }
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
