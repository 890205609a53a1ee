//! Replays a partition's log into a copy that does not serve: no Claim, no outcomes, the same fold and apply.
//!
//! Invariant: the copy ends as the serving one was at the same offset, whatever the size of the flushes.

use std::collections::VecDeque;

use millpond_fold::{Entry, State, cut, fold, needs};
use millpond_log::Log;
use millpond_schemas::{
    Decoder, Offset, UnixMillis, Watermark,
    limits::{VALUE_BYTES_MAX, WINDOW_OFFSETS},
};
use millpond_shard::Shard;

use crate::{Halt, checks, copy::mark, fitting::fitting, given, stop::Stop};

/// Bytes that one read of the log brings at most.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a replay reads, and how far it goes.
pub struct Replay<'a> {
    /// The mutations log.
    pub log: &'a Log,
    /// Names the log and the partition.
    pub decoder: Decoder,
    /// For the generation, and what operators skipped.
    pub topology: &'a millpond_schemas::Topology,
    /// The last offset to apply, at most the log's last.
    pub to: Offset,
    /// Most records per flush. Changes nothing but the speed.
    pub flush_records_max: usize,
}

/// A replay stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot go on until somebody acts.
    #[error("replay halted: {0}")]
    Halted(Halt),
    /// The log or the shard did not answer; going on later is safe.
    #[error("replay interrupted: {0}")]
    Interrupted(String),
}

impl From<Stop> for ReplayError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Halt(halt) => Self::Halted(halt),
            Stop::Wait(why) => Self::Interrupted(why),
            Stop::Deposed(how) => Self::Interrupted(how.to_owned()),
        }
    }
}

impl Replay<'_> {
    /// Applies the log to `shard` from the copy's watermark (or from nothing) to the wanted offset.
    ///
    /// # Errors
    /// [`ReplayError::Interrupted`]: call again. [`ReplayError::Halted`]: do not.
    pub async fn run(&self, shard: &Shard) -> Result<Watermark, ReplayError> {
        Ok(self.try_run(shard).await?)
    }

    async fn try_run(&self, shard: &Shard) -> Result<Watermark, Stop> {
        let partition = self.decoder.partition;
        let empty = Watermark::empty(partition, self.topology.generation, self.decoder.log_id);
        shard.create_copy(empty.clone()).await?;
        let watermark = shard.watermark(partition).await?.unwrap_or(empty);
        checks::log_id(&watermark, self.decoder.log_id)?;
        checks::against_log(self.log, &watermark).await?;
        let after = Offset(watermark.applied.0 - WINDOW_OFFSETS - 1);
        let seen = shard.seen(partition, after, UnixMillis::EPOCH).await?;
        let mut state = State::new(watermark, seen)
            .map_err(|invalid| Halt::ShardRefused { detail: invalid.to_string() })?;
        while state.watermark().applied < self.to {
            let entries = self.entries(&state).await?;
            if entries.is_empty() {
                break;
            }
            self.flush(shard, &mut state, entries).await?;
        }
        Ok(state.watermark().clone())
    }

    async fn entries(&self, state: &State) -> Result<VecDeque<Entry>, Stop> {
        let partition = self.decoder.partition;
        let mut records = self.log.read(partition, state.watermark().applied.next(), READ_BYTES_MAX).await?;
        records.retain(|record| record.offset <= self.to);
        let entry = |record| {
            let mut entry = Entry::new(&self.decoder, record);
            mark(&mut entry, partition, self.topology);
            entry
        };
        Ok(records.into_iter().map(entry).collect())
    }

    async fn flush(
        &self,
        shard: &Shard,
        state: &mut State,
        mut waiting: VecDeque<Entry>,
    ) -> Result<(), Stop> {
        while !waiting.is_empty() {
            let most = waiting.len().min(self.flush_records_max);
            let mut entries: Vec<Entry> = waiting.drain(..most).collect();
            for entry in entries.split_off(cut(&entries)).into_iter().rev() {
                waiting.push_front(entry);
            }
            let needed = [(self.decoder.partition, needs(state, &entries))];
            let value_bytes_max = state.claim().map_or(VALUE_BYTES_MAX as u64, |claim| claim.value_bytes_max);
            let given = given::read(shard, &needed, value_bytes_max).await?.pop().unwrap_or_default();
            let fitting = fitting(&entries, &given, usize::try_from(value_bytes_max).unwrap_or(usize::MAX));
            for entry in entries.split_off(fitting.records).into_iter().rev() {
                waiting.push_front(entry);
            }
            let flush = fold(state, &entries, &given).map_err(Halt::from)?;
            let applied = shard.apply(vec![flush.clone()]).await?;
            if !applied.fenced.is_empty() {
                return Err(Stop::Deposed("another writer has moved the watermark"));
            }
            for entry in entries.into_iter().rev().filter(|entry| entry.offset > flush.next.applied) {
                waiting.push_front(entry);
            }
            state.advance(&flush);
        }
        Ok(())
    }
}
