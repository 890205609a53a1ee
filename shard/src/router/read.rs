//! One read: which nodes are asked, one after another, and which answer is given.
//!
//! Not here: what is asked (`ask.rs`). Invariant: an answer that is too old, and a miss just as a hit, is given only
//! when no node had a fresher one; one that lacks a partition, or is from an old timeline, never.

use std::{sync::Arc, time::Duration};

use millpond_schemas::{Offset, PartitionId};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Inner, OLD, Set,
    ask::Ask,
    choose::{self, Candidate},
    marks::Seen,
    node::{Fault, Node},
    report::{Kind, Reached},
};
use crate::{Error, error::no_copy};

/// Longest that a read waits for replicas that are close before it asks the primary.
const CLOSE_WAIT: Duration = Duration::from_millis(20);
/// First pause between two looks at them; each next is twice as long.
const CLOSE_PAUSE: Duration = Duration::from_millis(2);
/// Replicas that may fail one read before it asks the primary.
const FAILURES_MAX: u32 = 2;
/// A node that had less time than this to answer has not failed.
const FAIR: Duration = Duration::from_millis(100);
const READING: &str = "read rows";

pub(super) struct Read<'r, A: Ask> {
    inner: &'r Arc<Inner>,
    set: &'r Set,
    ask: A,
    /// What the answer is to have applied of every partition that is asked for.
    want: &'r [(PartitionId, Offset)],
    deadline: Instant,
    asked: u32,
    failures: u32,
    /// The freshest answer that is too old, and how far it is ahead of what is wanted.
    best: Option<(i64, A::Answer)>,
    error: Option<Error>,
    /// No other node is to be asked.
    over: bool,
}

impl<'r, A: Ask> Read<'r, A> {
    pub(super) fn new(
        inner: &'r Arc<Inner>,
        set: &'r Set,
        ask: A,
        (want, deadline): (&'r [(PartitionId, Offset)], Instant),
    ) -> Self {
        let (asked, failures, best, error, over) = (0, 0, None, None, false);
        Self { inner, set, ask, want, deadline, asked, failures, best, error, over }
    }

    /// An answer that has reached what is wanted, or else the freshest.
    pub(super) async fn run(mut self) -> Result<A::Answer, Error> {
        let plan = self.plan();
        for index in plan.reached {
            if let Some(answer) = self.replica(index).await {
                return Ok(answer);
            }
        }
        if let Some(answer) = self.wait_for(plan.close).await {
            return Ok(answer);
        }
        let set = self.set;
        if !self.over
            && let Some(answer) = self.ask(&set.primary, Kind::Primary).await
        {
            return Ok(answer);
        }
        self.failures = 0;
        for index in plan.behind {
            if self.best.is_none()
                && let Some(answer) = self.replica(index).await
            {
                return Ok(answer);
            }
        }
        let Self { best, error, .. } = self;
        let best = best.map(|(_, answer)| answer);
        best.ok_or_else(|| error.unwrap_or_else(|| Error::unavailable(READING, "no node was asked in time")))
    }

    fn plan(&self) -> choose::Plan {
        if self.set.replicas.is_empty() {
            return choose::Plan::default();
        }
        let floor = self.inner.floor();
        let candidate = |(index, node): (usize, &Arc<Node>)| {
            let of = || Candidate::of(index, &node.marks(), &floor, self.want);
            (!node.rest().is_resting()).then(of)
        };
        let candidates = self.set.replicas.iter().enumerate().filter_map(candidate).collect();
        choose::plan(candidates, self.inner.turn())
    }

    /// Looks at replicas that may reach what is wanted in a moment, in turns.
    async fn wait_for(&mut self, close: Vec<usize>) -> Option<A::Answer> {
        let until = self.deadline.min(Instant::now() + CLOSE_WAIT);
        let mut pause = CLOSE_PAUSE;
        for index in close.iter().cycle() {
            if let Some(answer) = self.replica(*index).await {
                return Some(answer);
            }
            let next = Instant::now() + pause;
            if next > until || self.over || self.failures > 0 {
                break;
            }
            sleep_until(next).await;
            pause *= 2;
        }
        None
    }

    async fn replica(&mut self, index: usize) -> Option<A::Answer> {
        if self.over || self.failures >= FAILURES_MAX {
            return None;
        }
        let set = self.set;
        self.ask(&set.replicas[index], Kind::Replica).await
    }

    /// Asks a node. None: it has not reached what is wanted, or gave no answer; which is remembered.
    async fn ask(&mut self, node: &Arc<Node>, kind: Kind) -> Option<A::Answer> {
        if self.asked > 0 {
            self.inner.counts.retried();
        }
        self.asked += 1;
        let began = Instant::now();
        let left = self.deadline.saturating_duration_since(began);
        let time = match kind {
            Kind::Primary => left,
            // Another node must be able to answer after it.
            Kind::Replica => left / 2,
        };
        let answer = match timeout_at(began + time, self.ask.of(node)).await {
            Ok(Ok(answer)) => self.judge(answer, node, kind),
            Ok(Err(fault)) => Err(fault),
            Err(_late) if time < FAIR => Err(Fault::Late(Error::unavailable(READING, "time is over"))),
            Err(_late) => Err(Fault::Node(Error::unavailable(READING, "the node does not answer"))),
        };
        answer.unwrap_or_else(|fault| {
            self.failed(fault, node, (kind, began));
            None
        })
    }

    fn judge(&mut self, answer: A::Answer, node: &Arc<Node>, kind: Kind) -> Result<Option<A::Answer>, Fault> {
        let mut ahead = i64::MAX;
        let mut contradicted = Vec::new();
        for (partition, at_least) in self.want {
            let mut states = A::states(&answer).iter();
            let state = states.find(|state| state.applied.partition == *partition);
            let seen = Seen::from(state.ok_or_else(|| Fault::Node(no_copy(READING)))?);
            let known = node.mark(*partition).applied;
            if !self.inner.note(node, kind, &seen) {
                return Err(Fault::Old(Error::unavailable(READING, OLD)));
            }
            let applied = seen.mark.applied;
            if known >= *at_least && applied < *at_least {
                contradicted.push(seen);
            }
            ahead = ahead.min(applied.0 - at_least.0);
        }
        node.rest().succeeded();
        if ahead >= 0 {
            self.inner.counts.count(kind, Reached::Answered);
            return Ok(Some(answer));
        }
        self.inner.counts.count(kind, Reached::Behind);
        for seen in contradicted {
            node.marks().set(seen.partition, seen.mark);
        }
        if self.best.as_ref().is_none_or(|(before, _)| ahead > *before) {
            self.best = Some((ahead, answer));
        }
        Ok(None)
    }

    fn failed(&mut self, fault: Fault, node: &Arc<Node>, (kind, began): (Kind, Instant)) {
        let (reached, at_fault, error) = match fault {
            Fault::Node(error) => (Reached::Failed, true, error),
            Fault::Old(error) => (Reached::OldTimeline, true, error),
            Fault::Late(error) => (Reached::Failed, false, error),
            Fault::Call(error) => (Reached::Refused, false, error),
        };
        self.inner.counts.count(kind, reached);
        self.over = reached == Reached::Refused;
        self.failures += 1;
        if at_fault && kind == Kind::Replica {
            let partition = self.want.first().map_or(PartitionId(0), |(partition, _)| *partition);
            self.inner.rest(node, (partition, began), &error);
        }
        self.error = Some(error);
    }
}
