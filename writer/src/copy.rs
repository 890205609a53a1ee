//! One partition's copy in a writer: where it stands, what waits, and whether it may go on.
//!
//! Invariant: memory follows the shard. Every start, failed compare-and-set, lost answer and promotion goes through
//! [`Copy::resync`], which believes the watermark in the shard and nothing else.

use std::collections::VecDeque;

use millpond_fold::{Entry, State};
use millpond_log::{Append, Error::Trimmed};
use millpond_schemas::{
    Claim, Control, ControlOp, Decoder, Generation, Mutant, Offset, PartitionId, Position, UnixMillis,
    Watermark,
    limits::{FORMAT, MEMORY_MS, WINDOW_OFFSETS, fold_version},
};
use millpond_shard::Shard;

use crate::{
    Halt, Parts, Phase, Status,
    admit::{mark, not_ahead, takes, trimmed},
    backoff::Backoff,
    behind::Behind,
    checks,
    stop::Stop,
    told::Told,
};

/// Bytes that one read of the log brings at most.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One partition.
pub(crate) struct Copy {
    pub(crate) partition: PartitionId,
    shard: usize,
    decoder: Decoder,
    phase: Phase,
    told: Told,
    /// Only while running.
    live: Option<Live>,
    /// Offset of this writer's last Claim, while no later one is known.
    claimed: Option<Offset>,
    backoff: Backoff,
    /// Most records of the next flush: falls while a refused record is searched.
    pub(crate) records_max: usize,
    /// Its transaction was not finished: the next one is its own.
    pub(crate) apart: bool,
    /// How often in a row that happened to one of its own.
    pub(crate) held_up: u32,
    /// Transactions that its worker had committed by then.
    held_up_at: u64,
    /// More that is old is left to delete than fitted one tick.
    pub(crate) untidy: bool,
    behind: Behind,
    /// See [`Copy::skip_first`].
    skipped: Option<Offset>,
}

/// A copy that applies.
pub(crate) struct Live {
    pub(crate) state: State,
    /// Offset of this writer's Claim.
    pub(crate) claim: Offset,
    pending: VecDeque<Entry>,
    pending_bytes: usize,
    /// Where to read on. What lies between the last entry that waits and here are holes.
    read_to: Offset,
}

/// Entries of one partition that may be folded together.
pub(crate) struct Batch {
    pub(crate) partition: PartitionId,
    /// May be none: only holes are passed over.
    pub(crate) entries: Vec<Entry>,
    /// The last offset before whatever follows the entries: the last of them, or of the holes behind them.
    pub(crate) to: Offset,
}

impl Batch {
    /// Of its records.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.raw.len()).sum()
    }

    /// Shortens it to its first entries. Those that are left out are for [`Copy::put_back`].
    pub(crate) fn split_off(&mut self, entries: usize) -> Vec<Entry> {
        let rest = self.entries.split_off(entries);
        if let Some(last) = self.entries.last().filter(|_| !rest.is_empty()) {
            self.to = last.offset;
        }
        rest
    }
}

impl Copy {
    pub(crate) fn new(partition: PartitionId, shard: usize, decoder: Decoder, records_max: usize) -> Self {
        let phase = Phase::Waiting("starting".to_owned());
        let backoff = Backoff::default();
        Self {
            partition,
            shard,
            decoder,
            phase,
            told: Told::default(),
            live: None,
            claimed: None,
            backoff,
            records_max,
            apart: false,
            held_up: 0,
            held_up_at: 0,
            untidy: false,
            behind: Behind::default(),
            skipped: None,
        }
    }

    pub(crate) fn live(&mut self) -> Option<&mut Live> {
        self.live.as_mut()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.live.is_some()
    }

    /// Once a second: whether that wait may have changed why it stands still.
    pub(crate) fn may_go_on(&mut self) -> bool {
        self.backoff.tick(self.is_running());
        match &self.phase {
            Phase::Running => false,
            Phase::Waiting(_) => self.backoff.is_over(),
            Phase::Halted(halt) => halt.is_passing(),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let at = |of: fn(&Live) -> Offset| self.live.as_ref().map_or(Offset::NONE, of);
        let applied = at(|live| live.state.watermark().applied);
        Status {
            shard: self.shard,
            applied,
            owner: at(|live| live.claim),
            phase: self.phase.clone(),
            lag: self.behind.lag(self.live.is_some().then_some(applied)),
        }
    }

    /// The log ends here now.
    pub(crate) fn look_behind(&mut self, end: Offset, now: UnixMillis) {
        let watermark = self.live.as_ref().map(|live| live.state.watermark());
        self.behind.look(end, watermark.map(|watermark| (watermark.applied, watermark.time)), now);
    }

    /// Stops applying, until [`Copy::resync`].
    pub(crate) fn stop(&mut self, stop: Stop) {
        self.live = None;
        self.phase = match stop {
            Stop::Halt(halt) => {
                self.told.tell(self.partition, &halt);
                Phase::Halted(halt)
            }
            Stop::Wait(why) => {
                tracing::warn!(partition = self.partition.0, "partition waits: {why}");
                Phase::Waiting(why)
            }
            Stop::Deposed(how) => {
                tracing::warn!(partition = self.partition.0, "partition is claimed anew: {how}");
                self.claimed = None;
                self.backoff.failed();
                Phase::Waiting(how.to_owned())
            }
        };
    }

    /// A transaction was not finished. One of its own, and not the first, while others are: it is this partition that
    /// holds them up, and it tries ever more rarely.
    pub(crate) fn unfinished(&mut self, own: bool, committed: u64) {
        if own && self.apart {
            if self.held_up > 0 && committed > self.held_up_at {
                self.backoff.failed();
            }
            self.held_up += 1;
            self.held_up_at = committed;
        }
        self.apart = true;
    }

    /// A transaction of it was committed.
    pub(crate) fn finished(&mut self, records_max: usize) {
        (self.records_max, self.apart, self.held_up) = (records_max, false, 0);
        self.told.forget();
    }

    /// A value of it was refused: half as many records next time; one that is refused alone halts.
    pub(crate) fn bisect(&mut self, batch: Batch, generation: Generation, words: &str) {
        if batch.entries.len() > 1 {
            self.records_max = batch.entries.len() / 2;
            self.put_back(batch.entries);
        } else if let Some(entry) = batch.entries.first() {
            let position = Position { generation, partition: self.partition, offset: entry.offset };
            self.stop(Halt::RecordRefused { position, detail: words.to_owned() }.into());
        }
    }

    /// The shard has another primary: nothing that was known of the old one counts there. It is claimed anew, so that
    /// whatever the old one may still answer can be told from it.
    pub(crate) fn begin_anew(&mut self) {
        self.claimed = None;
        self.stop(Stop::Wait("the shard has another primary".to_owned()));
    }

    /// A mutant's: the first of these entries is dead-lettered when it comes again.
    pub(crate) fn skip_first(&mut self, entries: &[Entry]) {
        self.skipped = entries.first().map(|entry| entry.offset);
    }

    /// What an operator has said may be about the record before which this copy stands: it tries again.
    pub(crate) fn topology_changed(&mut self) {
        if matches!(self.phase, Phase::Halted(_)) {
            self.told.forget();
            self.stop(Stop::Wait("the topology has changed".to_owned()));
        }
    }

    /// Reads where the copy stands, checks it against the log, and claims it unless it holds it already.
    pub(crate) async fn resync(&mut self, parts: &Parts, shard: &Shard) {
        match self.try_resync(parts, shard).await {
            Ok(live) => {
                self.live = Some(live);
                self.phase = Phase::Running;
            }
            Err(stop) => self.stop(stop),
        }
        parts.statuses.count(|totals| totals.resyncs += 1);
    }

    async fn try_resync(&mut self, parts: &Parts, shard: &Shard) -> Result<Live, Stop> {
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
        not_ahead(self.position(watermark.digest_offset, parts), watermark.time, parts)?;
        let after = Offset(watermark.applied.0 - WINDOW_OFFSETS - 1);
        let since = UnixMillis(watermark.time.0.saturating_sub_unsigned(MEMORY_MS));
        let seen = shard.seen(self.partition, after, since).await?;
        let state = State::new(watermark, seen)
            .map_err(|invalid| Halt::ShardRefused { detail: invalid.to_string() })?;
        // One that tries again for a shard's or a clock's sake must not fill the log with Claims.
        let counted = Mutant::OwnerCounter.is_picked().then(|| state.watermark().owner.next());
        let claim = match counted.or(self.claimed).filter(|claim| *claim >= state.watermark().owner) {
            Some(claim) => claim,
            None => self.claim(parts).await?,
        };
        self.claimed = Some(claim);
        let (partition, applied) = (self.partition.0, state.watermark().applied.0);
        tracing::info!(partition, applied, claim = claim.0, "owned");
        let read_to = state.watermark().applied.next();
        Ok(Live { state, claim, pending: VecDeque::new(), pending_bytes: 0, read_to })
    }

    fn position(&self, offset: Offset, parts: &Parts) -> Position {
        Position { generation: parts.config.claim.generation, partition: self.partition, offset }
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
                fold_version: fold_version(),
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
            let wanted = live.read_to;
            let read = parts.log.read(self.partition, wanted, READ_BYTES_MAX).await;
            if let (Err(Trimmed { start }), true) = (&read, Mutant::ResetToStart.is_picked()) {
                live.read_to = *start;
                continue;
            }
            let read = read.map_err(|error| trimmed(error, wanted))?;
            if read.next == wanted {
                break;
            }
            live.read_to = read.next;
            for record in read.records {
                let mut entry = Entry::new(&self.decoder, record);
                mark(&mut entry, self.partition, &topology);
                entry.skipped |= self.skipped == Some(entry.offset);
                live.push(entry);
            }
        }
        Ok(())
    }

    /// How many records wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        self.live.as_ref().map_or((0, 0), |live| (live.pending.len(), live.pending_bytes))
    }

    /// Takes the next entries that may be folded together, oldest first; none when nothing waits.
    pub(crate) fn take(&mut self, parts: &Parts, records_max: usize) -> Result<Option<Batch>, Stop> {
        let most = records_max.min(self.records_max);
        let partition = self.partition;
        let Some(live) = &mut self.live else { return Ok(None) };
        let mut entries = Vec::with_capacity(most.min(live.pending.len()));
        let mut bytes = 0;
        while let Some(entry) = live.pending.front().filter(|_| entries.len() < most) {
            bytes += entry.raw.len();
            if bytes > parts.config.flush_bytes_max && !entries.is_empty() {
                break;
            }
            let position =
                Position { generation: parts.config.claim.generation, partition, offset: entry.offset };
            match takes(entry, position, live.claim, parts) {
                Ok(()) => entries.extend(live.pop()),
                Err(stop) if entries.is_empty() => return Err(stop),
                Err(_) => break,
            }
        }
        let together = millpond_fold::cut(&entries);
        let rest = entries.split_off(together);
        live.put_back(rest);
        let applied = live.state.watermark().applied;
        let last = entries.last().map_or(applied, |entry| entry.offset);
        let to = if live.pending.is_empty() { live.read_to.previous() } else { last };
        Ok((to > applied).then_some(Batch { partition, entries, to }))
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
