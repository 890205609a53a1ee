//! One partition's copy in a writer: where it stands, what waits, and whether it may go on.
//!
//! Invariant: memory follows the shard. Every start, failed compare-and-set, lost answer and promotion goes through
//! [`Copy::resync`], which believes the watermark in the shard and nothing else.

use std::collections::VecDeque;

use millpond_fold::{Entry, State};
use millpond_log::Append;
use millpond_schemas::{
    Claim, Control, ControlOp, Decoder, Offset, PartitionId, Position, Record, Topology, UnixMillis,
    Watermark,
    limits::{FOLD_VERSION, FORMAT, MEMORY_MS, TIME_JUMP_MS_MAX, WINDOW_OFFSETS},
};

use crate::{Halt, Parts, Phase, Status, checks, stop::Stop};

/// Bytes that one read of the log brings at most.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One partition.
pub(crate) struct Copy {
    pub(crate) partition: PartitionId,
    shard: usize,
    decoder: Decoder,
    phase: Phase,
    /// Only while running.
    live: Option<Live>,
    /// Offset of this writer's last Claim, while no later one is known.
    claimed: Option<Offset>,
    /// Most records of the next flush: falls while a refused record is searched.
    pub(crate) records_max: usize,
    /// More that is old is left to delete than fitted one tick.
    pub(crate) untidy: bool,
}

/// A copy that applies.
pub(crate) struct Live {
    pub(crate) state: State,
    /// Offset of this writer's Claim.
    pub(crate) claim: Offset,
    pending: VecDeque<Entry>,
    pending_bytes: usize,
}

impl Copy {
    pub(crate) fn new(partition: PartitionId, shard: usize, decoder: Decoder, records_max: usize) -> Self {
        let phase = Phase::Waiting("starting".to_owned());
        Self { partition, shard, decoder, phase, live: None, claimed: None, records_max, untidy: false }
    }

    pub(crate) fn live(&mut self) -> Option<&mut Live> {
        self.live.as_mut()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.live.is_some()
    }

    /// Whether a second's wait may have changed why it stands still.
    pub(crate) fn may_go_on(&self) -> bool {
        match &self.phase {
            Phase::Running => false,
            Phase::Waiting(_) => true,
            Phase::Halted(halt) => halt.is_passing(),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let at = |of: fn(&Live) -> Offset| self.live.as_ref().map_or(Offset::NONE, of);
        Status {
            shard: self.shard,
            applied: at(|live| live.state.watermark().applied),
            owner: at(|live| live.claim),
            phase: self.phase.clone(),
        }
    }

    /// Stops applying, until [`Copy::resync`].
    pub(crate) fn stop(&mut self, stop: Stop) {
        self.live = None;
        self.phase = match stop {
            Stop::Halt(halt) => {
                tracing::error!(
                    partition = self.partition.0,
                    reason = halt.name(),
                    "partition halted: {halt}"
                );
                Phase::Halted(halt)
            }
            Stop::Wait(why) => {
                tracing::warn!(partition = self.partition.0, "partition waits: {why}");
                Phase::Waiting(why)
            }
            Stop::Deposed(how) => {
                tracing::warn!(partition = self.partition.0, "partition is claimed anew: {how}");
                self.claimed = None;
                Phase::Waiting(how.to_owned())
            }
        };
    }

    /// Reads where the copy stands, checks it against the log, and claims it unless it holds it already.
    pub(crate) async fn resync(&mut self, parts: &Parts) {
        match self.try_resync(parts).await {
            Ok(live) => {
                self.live = Some(live);
                self.phase = Phase::Running;
            }
            Err(stop) => self.stop(stop),
        }
        parts.statuses.count(|totals| totals.resyncs += 1);
    }

    async fn try_resync(&mut self, parts: &Parts) -> Result<Live, Stop> {
        let shard = &parts.shards[self.shard];
        let empty = Watermark::empty(self.partition, parts.config.claim.generation, self.decoder.log_id);
        let watermark = match shard.watermark(self.partition).await? {
            Some(watermark) => watermark,
            None => {
                shard.create_copy(empty.clone()).await?;
                empty
            }
        };
        checks::log_id(&watermark, self.decoder.log_id)?;
        checks::against_log(&parts.log, &watermark).await?;
        not_ahead(watermark.digest_offset, watermark.time, parts)?;
        let after = Offset(watermark.applied.0 - WINDOW_OFFSETS - 1);
        let since = UnixMillis(watermark.time.0.saturating_sub_unsigned(MEMORY_MS));
        let seen = shard.seen(self.partition, after, since).await?;
        let state = State::new(watermark, seen)
            .map_err(|invalid| Halt::ShardRefused { detail: invalid.to_string() })?;
        // One that tries again for a shard's or a clock's sake must not fill the log with Claims.
        let claim = match self.claimed.filter(|claim| *claim >= state.watermark().owner) {
            Some(claim) => claim,
            None => self.claim(parts).await?,
        };
        self.claimed = Some(claim);
        let (partition, applied) = (self.partition.0, state.watermark().applied.0);
        tracing::info!(partition, applied, claim = claim.0, "owned");
        Ok(Live { state, claim, pending: VecDeque::new(), pending_bytes: 0 })
    }

    async fn claim(&self, parts: &Parts) -> Result<Offset, Stop> {
        let end = parts.log.bounds(self.partition).await?.end;
        let config = &parts.config.claim;
        let keyring = &self.decoder.keyring;
        let control = Control {
            id: parts.random_id(),
            log_id: self.decoder.log_id,
            partition: self.partition,
            end_seen: end,
            mac_key_id: keyring.current(),
            op: ControlOp::Claim(Claim {
                copy: parts.topology.borrow().shards[self.shard].name.clone(),
                generation: config.generation,
                partitions: self.decoder.partitions,
                fold_version: FOLD_VERSION,
                format_max: FORMAT,
                value_bytes_max: config.value_bytes_max,
                purge_grace_ms: u64::try_from(config.purge_grace.as_millis()).unwrap_or(u64::MAX),
                mac_key_id: keyring.current(),
            }),
        };
        let raw = control.encode(keyring).expect("a ring holds its current key");
        let acks = parts.log.append(vec![Append { partition: self.partition, raw }]).await?;
        Ok(acks.first().expect("one ack per record").offset)
    }

    /// Reads what the log has beyond what waits, until `records` wait or a flush's bytes do.
    pub(crate) async fn gather(&mut self, parts: &Parts, records: usize) {
        if let Err(stop) = self.try_gather(parts, records).await {
            self.stop(stop);
        }
    }

    async fn try_gather(&mut self, parts: &Parts, records: usize) -> Result<(), Stop> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let topology = parts.topology.borrow().clone();
        while live.pending.len() < records && live.pending_bytes < parts.config.flush_bytes_max {
            let wanted = live.next_offset();
            let read = parts.log.read(self.partition, wanted, READ_BYTES_MAX).await;
            let received = read.map_err(|error| trimmed(error, wanted))?;
            if received.is_empty() {
                break;
            }
            for record in received {
                let wanted = live.next_offset();
                if record.offset != wanted {
                    return Err(Halt::LogGap { wanted, found: record.offset }.into());
                }
                let mut entry = Entry::new(&self.decoder, record);
                mark(&mut entry, self.partition, &topology);
                live.push(entry);
            }
        }
        Ok(())
    }

    /// How many records wait.
    pub(crate) fn waiting(&self) -> usize {
        self.live.as_ref().map_or(0, |live| live.pending.len())
    }

    /// Takes the next entries that may be folded together, oldest first; none when nothing waits.
    pub(crate) fn take(&mut self, parts: &Parts, records_max: usize) -> Result<Vec<Entry>, Stop> {
        let most = records_max.min(self.records_max);
        let Some(live) = &mut self.live else { return Ok(Vec::new()) };
        let mut entries = Vec::with_capacity(most.min(live.pending.len()));
        let mut bytes = 0;
        while let Some(entry) = live.pending.front().filter(|_| entries.len() < most) {
            bytes += entry.raw.len();
            if bytes > parts.config.flush_bytes_max && !entries.is_empty() {
                break;
            }
            match takes(entry, live.claim, parts) {
                Ok(()) => entries.extend(live.pop()),
                Err(stop) if entries.is_empty() => return Err(stop),
                Err(_) => break,
            }
        }
        let together = millpond_fold::cut(&entries);
        let rest = entries.split_off(together);
        live.put_back(rest);
        Ok(entries)
    }

    /// Gives back what of a batch was not applied.
    pub(crate) fn put_back(&mut self, mut entries: Vec<Entry>) {
        let Some(live) = &mut self.live else { return };
        let applied = live.state.watermark().applied;
        entries.retain(|entry| entry.offset > applied);
        live.put_back(entries);
    }
}

impl Live {
    /// The offset that follows what waits.
    fn next_offset(&self) -> Offset {
        self.pending.back().map_or(self.state.watermark().applied, |entry| entry.offset).next()
    }

    fn push(&mut self, entry: Entry) {
        self.pending_bytes += entry.raw.len();
        self.pending.push_back(entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.pending.pop_front()?;
        self.pending_bytes -= entry.raw.len();
        Some(entry)
    }

    fn put_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.pending_bytes += entry.raw.len();
            self.pending.push_front(entry);
        }
    }
}

fn trimmed(error: millpond_log::Error, wanted: Offset) -> Stop {
    match error {
        millpond_log::Error::Trimmed { start } => Halt::LogGap { wanted, found: start }.into(),
        other => other.into(),
    }
}

/// Whether this writer may go on to apply an entry.
fn takes(entry: &Entry, claim: Offset, parts: &Parts) -> Result<(), Stop> {
    let is_claim = matches!(&entry.decoded, Ok(Record::Control(Control { op: ControlOp::Claim(_), .. })));
    if is_claim && entry.offset > claim {
        return Err(Stop::Deposed("another writer has claimed the partition"));
    }
    if !entry.time_skipped {
        not_ahead(entry.offset, entry.time, parts)?;
    }
    Ok(())
}

fn not_ahead(offset: Offset, time: UnixMillis, parts: &Parts) -> Result<(), Halt> {
    if time.ms_since(parts.clock.now()) > TIME_JUMP_MS_MAX {
        return Err(Halt::TimeJump { offset, time });
    }
    Ok(())
}

/// Marks an entry with what operators said about it on the control topic.
pub(crate) fn mark(entry: &mut Entry, partition: PartitionId, topology: &Topology) {
    let position = Position { generation: topology.generation, partition, offset: entry.offset };
    entry.skipped = topology.skips.contains(&position);
    entry.time_skipped = topology.skip_times.iter().any(|skip| {
        skip.from.generation == position.generation
            && skip.from.partition == partition
            && (skip.from.offset..=skip.to).contains(&position.offset)
    });
}
