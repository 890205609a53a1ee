//! One page: how fresh it has to be, reading every shard that it concerns, and where the next one begins.
//!
//! Not here: telling it. Invariant: a shard that did not answer is named, and then the page is asked again from its
//! beginning; it never looks whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use millpond_schemas::{Offset, PartitionId, Position, RecordKey, Row, Tenant};
use millpond_shard::{Error, Freshness, Router, Wants as ShardWants};
use tokio::time::{Instant, sleep_until};

use super::{
    ask::{Ask, What},
    fresh::Wants,
};
use crate::{
    consistency::Consistency,
    problem::{Code, Problem},
    read::{LAGGING_PAUSE, LAGGING_PAUSE_MAX, LOOK_EVERY, OWN_WRITE_WAIT, not_reached},
    state::{State, of_shard},
};

/// Most bytes of values in a page, but for one value of each shard. More: fewer pages of large values, more memory.
pub(super) const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a page is read by.
pub(super) struct Step<'c> {
    pub(super) tenant: &'c Tenant,
    pub(super) ask: &'c Ask,
    pub(super) consistency: &'c Consistency,
    /// The last key that was answered before.
    pub(super) after: Option<&'c Bytes>,
    /// What the pages before were read at; none: this is the first.
    pub(super) seen: Option<&'c [Position]>,
    /// Most keys.
    pub(super) limit: usize,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// In order.
    pub(super) rows: Vec<(PartitionId, Row)>,
    /// Keys that were asked for by name and do not exist, in order.
    pub(super) missing: Vec<Bytes>,
    /// Every shard that was asked.
    pub(super) shards: Vec<Told>,
    /// What was read of each partition, as often as it was.
    pub(super) states: Vec<Freshness>,
    /// The last key that the page accounts for; none: it is the last page. Of no meaning when a shard is absent.
    pub(super) cut: Option<Bytes>,
}

/// A shard that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) name: String,
    /// None: it answered.
    pub(super) absent: Option<Code>,
}

/// Keys of a page, in order, with their partitions.
pub(super) type Keys = Vec<(PartitionId, RecordKey)>;

impl Step<'_> {
    /// Reads it, as fresh as it has to be.
    ///
    /// # Errors
    /// `position-not-reached`: a shard is behind what is wanted. `position-invalid`, `log-unavailable`.
    pub(super) async fn read(&self, app: &State) -> Result<Page, Problem> {
        let keys = self.keys(app)?;
        let seen = self.seen.unwrap_or_default();
        let mut wants = match &keys {
            Some((keys, _)) => {
                let partitions = keys.iter().map(|(partition, _)| *partition);
                app.wants(partitions, self.consistency, seen).await?
            }
            None => app.wants(app.partitions.ids(), self.consistency, seen).await?,
        };
        if self.seen.is_none() && *self.consistency == Consistency::Eventual {
            app.own_writes(&mut wants, keys.as_ref().map(|(keys, _)| keys.as_slice()));
        }
        let wait = if wants.strict { app.config.read_wait } else { OWN_WRITE_WAIT };
        let (deadline, mut pause) = (Instant::now() + wait, LAGGING_PAUSE);
        loop {
            app.all_reached(&wants, deadline.min(Instant::now() + LOOK_EVERY)).await;
            let page = match &keys {
                Some((keys, is_last)) => self.read_keys(app, keys, *is_last, &wants).await?,
                None => self.read_range(app, &wants).await?,
            };
            match page.behind(&wants) {
                None => return Ok(page),
                Some((wanted, applied)) if Instant::now() >= deadline => {
                    return if wants.strict { Err(not_reached(wanted, applied)) } else { Ok(page) };
                }
                Some(_) => {}
            }
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = LAGGING_PAUSE_MAX.min(pause * 2);
        }
    }

    /// The keys of this page, where keys are asked for, and whether they are the last.
    fn keys(&self, app: &State) -> Result<Option<(Keys, bool)>, Problem> {
        let What::Keys(keys) = &self.ask.what else { return Ok(None) };
        let is_left = |key: &&Bytes| match self.after {
            None => true,
            Some(after) if self.ask.reverse => *key < after,
            Some(after) => *key > after,
        };
        let mut left: Vec<&Bytes> = keys.iter().filter(is_left).collect();
        if self.ask.reverse {
            left.reverse();
        }
        let is_last = left.len() <= self.limit;
        left.truncate(self.limit);
        let of = |key: &Bytes| {
            let key = RecordKey::new(self.tenant, key)
                .map_err(|error| Problem::new(Code::KeyInvalid, error.to_string()))?;
            Ok((app.partition_of(&key), key))
        };
        let keys = left.into_iter().map(of).collect::<Result<_, Problem>>()?;
        Ok(Some((keys, is_last)))
    }
}

impl Page {
    /// Whether every shard has answered.
    pub(super) fn is_complete(&self) -> bool {
        self.shards.iter().all(|shard| shard.absent.is_none())
    }

    /// What a shard answered. None: it did not, and is named.
    pub(super) fn told<T>(&mut self, shard: &Router, answer: Result<T, Error>) -> Option<T> {
        let absent = answer.as_ref().err().map(|error| of_shard(error).code());
        self.shards.push(Told { name: shard.name().to_owned(), absent });
        answer.ok()
    }

    /// Something that was read of a partition and is older than wanted, with what is wanted.
    pub(super) fn behind(&self, wants: &Wants) -> Option<(Offset, Position)> {
        self.states.iter().find_map(|state| {
            let wanted = *wants.at_least.get(&state.applied.partition)?;
            (state.applied.offset < wanted).then_some((wanted, state.applied))
        })
    }
}

impl State {
    /// Remembers what was read.
    pub(super) fn note(&self, states: &[Freshness]) {
        for state in states {
            self.partitions.read_watermark(state.applied.partition, state.applied.offset, state.time);
        }
    }

    /// The shards that serve these partitions, each with what is wanted of it, in the order of the topology.
    pub(super) fn shards_of(&self, wants: &Wants) -> Result<Vec<(&Router, ShardWants)>, Problem> {
        let deadline = Instant::now() + self.config.shard_deadline;
        let topology = self.topology.borrow().clone();
        let mut of: BTreeMap<usize, Vec<(PartitionId, Offset)>> = BTreeMap::new();
        for (partition, wanted) in &wants.at_least {
            let index = topology.shard_of(*partition);
            let index =
                index.ok_or_else(|| Problem::new(Code::ShardUnavailable, "a partition has no shard"))?;
            // What is not applied anywhere yet sends nobody to the primary.
            let committed = self.partitions.of(*partition).committed();
            let at_least = if wants.strict { *wanted } else { committed.min(*wanted) };
            of.entry(index).or_default().push((*partition, at_least));
        }
        let shard = |(index, at_least)| {
            let router = self.shards.get(index);
            let router =
                router.ok_or_else(|| Problem::new(Code::ShardUnavailable, "a shard is not open yet"))?;
            Ok((router, ShardWants { at_least, deadline }))
        };
        of.into_iter().map(shard).collect()
    }
}
