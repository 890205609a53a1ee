//! The reader's thread: it moves records from the consumer to the cursors.
//!
//! Invariant: records that a consumer gives out after its topic may have become another one, or after any error, reach
//! no cursor before every reader has been told of the doubt.

mod inquiries;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use millpond_schemas::{PartitionId, Received};
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};

use self::inquiries::Report;
use super::{Shared, cursor::Cursor, cursor::Place};
use crate::{
    Clock, Error,
    kafka::{
        config::Config,
        context::Context,
        ends::{Ends, number},
        record::Arena,
        standing::Standing,
        worker::Stopping,
    },
};

/// At most so many records move at once.
const BATCH_RECORDS: usize = 2048;
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(1);
/// How often markers are looked for while they are common.
const MARKERS: Duration = Duration::from_millis(5);
/// How often partitions at rest are looked after.
const TICK: Duration = Duration::from_secs(1);
/// With more to read and nothing coming for this long, the consumer is made anew.
const WATCHDOG: Duration = Duration::from_secs(15);

pub(super) struct Pump {
    config: ClientConfig,
    clock: Clock,
    shared: Arc<Shared>,
    ends: Arc<Ends>,
    standing: Arc<Standing>,
    reports: Arc<Mutex<Vec<Report>>>,
    consumer: Option<BaseConsumer<Context>>,
    /// The partitions that the consumer is assigned, with the era of their cursor then.
    assigned: BTreeMap<usize, u64>,
    with_holes: BTreeSet<usize>,
    identity_changes: u64,
    arena: Arena,
    markers_at: Instant,
    tick_at: Instant,
    probes: usize,
}

/// What one poll brought.
#[derive(Default)]
struct Polled {
    records: Vec<(usize, Received)>,
    ended: BTreeSet<usize>,
    failed: Option<KafkaError>,
}

impl Pump {
    pub(super) fn new(
        config: &Config,
        shared: Arc<Shared>,
        ends: Arc<Ends>,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            config: config.consumer(config.read_ahead().1),
            clock: config.clock.clone(),
            identity_changes: shared.identity.changes(),
            shared,
            ends,
            standing,
            reports: Arc::default(),
            consumer: None,
            assigned: BTreeMap::new(),
            with_holes: BTreeSet::new(),
            arena: Arena::default(),
            markers_at: Instant::now(),
            tick_at: Instant::now(),
            probes: 0,
        }
    }

    pub(super) fn run(mut self, stopping: &Stopping) {
        while !stopping.is_set() {
            self.check_identity();
            if let Err(error) = self.follow() {
                self.restart("the consumer cannot be used", error);
                stopping.rest(TICK);
                continue;
            }
            let busy = self.has_room() && self.pump();
            self.take_reports();
            self.look_at_holes();
            if self.tick_at.elapsed() >= TICK {
                self.tick_at = Instant::now();
                self.tick();
            }
            if !busy {
                stopping.rest(Duration::MAX);
            }
        }
    }

    /// Another topic behind the name puts everything in doubt.
    fn check_identity(&mut self) {
        let changes = self.shared.identity.changes();
        if mem::replace(&mut self.identity_changes, changes) != changes {
            for end in self.shared.known_ends.iter() {
                end.store(0, Ordering::Release);
            }
            let remade = KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicId);
            self.restart("its topic was made anew", remade);
        }
    }

    /// Drops the consumer and tells every reader.
    fn restart(&mut self, reason: &'static str, error: KafkaError) {
        self.shared.restarts.fetch_add(1, Ordering::Relaxed);
        self.consumer = None;
        self.assigned.clear();
        self.doubt(reason, error);
    }

    fn doubt(&self, reason: &'static str, error: KafkaError) {
        tracing::info!(topic = self.shared.identity.topic(), reason, %error, "what was read ahead is dropped");
        let error = Error::unavailable(reason, error);
        let mut state = self.shared.state();
        for slot in 0..state.cursors.len() {
            state.change(slot, |cursor| cursor.doubt(&error));
        }
        drop(state);
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Assigns the consumer where the cursors want it.
    fn follow(&mut self) -> KafkaResult<()> {
        let mut state = self.shared.state();
        if !mem::take(&mut state.moved) && self.consumer.is_some() {
            return Ok(());
        }
        let topic = self.shared.identity.topic();
        let (mut from, mut to) = (TopicPartitionList::new(), TopicPartitionList::new());
        for (slot, cursor) in state.cursors.iter_mut().enumerate() {
            let stays = cursor.is_assigned() && self.assigned.get(&slot) == Some(&cursor.era);
            if !stays && self.assigned.remove(&slot).is_some() {
                from.add_partition(topic, number_of(slot));
            }
            if cursor.place == Place::Wanted || (cursor.is_assigned() && !stays) {
                cursor.place = Place::Seeking;
                to.add_partition_offset(topic, number_of(slot), rdkafka::Offset::Offset(cursor.tail().0))?;
                self.assigned.insert(slot, cursor.era);
            }
        }
        drop(state);
        if self.consumer.is_none() && to.count() > 0 {
            self.consumer = Some(self.connect()?);
        }
        let Some(consumer) = &self.consumer else { return Ok(()) };
        if from.count() > 0 {
            consumer.incremental_unassign(&from)?;
        }
        if to.count() > 0 {
            consumer.incremental_assign(&to)?;
        }
        Ok(())
    }

    fn connect(&self) -> KafkaResult<BaseConsumer<Context>> {
        let context = Context::new(Some(Arc::clone(&self.shared.identity)));
        let mut consumer: BaseConsumer<Context> = self.config.create_with_context(context)?;
        let me = thread::current();
        consumer.set_nonempty_callback(move || me.unpark());
        Ok(consumer)
    }

    /// Whether more may be fetched. Where one partition's readers wait, the others make room.
    fn has_room(&self) -> bool {
        let mut state = self.shared.state();
        if state.bytes < self.shared.bytes_max {
            return true;
        }
        if !state.cursors.iter().any(Cursor::is_starving) {
            return false;
        }
        let share = self.shared.bytes_max / self.assigned.len().max(1);
        for slot in 0..state.cursors.len() {
            if state.cursors[slot].bytes() > share {
                state.change(slot, |cursor| cursor.park(share / 2));
            }
        }
        true
    }

    /// Moves what is there. Whether there was anything.
    fn pump(&mut self) -> bool {
        let Some(consumer) = &self.consumer else { return false };
        let mut polled = poll(consumer, &mut self.arena);
        if self.shared.identity.changes() != self.identity_changes {
            return true;
        }
        let failed = polled.failed.take();
        let busy = !polled.records.is_empty() || !polled.ended.is_empty() || failed.is_some();
        let markers = self.shared.holes.load(Ordering::Relaxed) > 0 && self.markers_at.elapsed() >= MARKERS;
        let ended = !polled.ended.is_empty();
        self.give(polled);
        if ended || markers {
            self.pass_markers();
        }
        match failed {
            None => {}
            Some(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => self.out_of_range(),
            Some(error @ KafkaError::MessageConsumptionFatal(_)) => self.restart("its consumer died", error),
            Some(error) => self.doubt("its consumer met an error", error),
        }
        busy
    }

    fn give(&mut self, polled: Polled) {
        let mut told = BTreeSet::new();
        let mut state = self.shared.state();
        for (slot, record) in polled.records {
            state.change(slot, |cursor| cursor.push(record));
            told.insert(slot);
        }
        for slot in &told {
            state.cursors[*slot].tell();
        }
        for slot in polled.ended {
            if state.cursors[slot].is_assigned() {
                state.cursors[slot].ended();
            }
        }
        drop(state);
        if !told.is_empty() {
            self.with_holes.extend(told);
            self.shared.changes.send_modify(|count| *count += 1);
        }
    }

    /// Finds markers and aborted records that no record follows yet.
    fn pass_markers(&mut self) {
        self.markers_at = Instant::now();
        let Some(positions) = self.consumer.as_ref().and_then(|consumer| consumer.position().ok()) else {
            return;
        };
        let mut state = self.shared.state();
        for element in positions.elements() {
            let slot = element.partition().unsigned_abs() as usize;
            let rdkafka::Offset::Offset(position) = element.offset() else { continue };
            let cursor = &mut state.cursors[slot];
            if self.assigned.get(&slot) == Some(&cursor.era) && cursor.is_assigned() {
                cursor.reach(position);
                self.with_holes.insert(slot);
            }
        }
    }

    /// Some partition cannot be read where it stands: those that have just been sought, most likely.
    fn out_of_range(&self) {
        let error = KafkaError::MessageConsumption(RDKafkaErrorCode::OffsetOutOfRange);
        let error = Error::unavailable("its consumer was out of range", error);
        let mut state = self.shared.state();
        let sought = |cursor: &Cursor| cursor.place == Place::Seeking;
        let any_sought = state.cursors.iter().any(sought);
        for slot in 0..state.cursors.len() {
            if sought(&state.cursors[slot]) {
                state.cursors[slot].lose();
            } else if !any_sought {
                state.change(slot, |cursor| cursor.doubt(&error));
            }
        }
        drop(state);
        self.shared.changes.send_modify(|count| *count += 1);
    }
}

fn poll(consumer: &BaseConsumer<Context>, arena: &mut Arena) -> Polled {
    let mut polled = Polled::default();
    while polled.records.len() < BATCH_RECORDS {
        // What is there goes on at once: a steady trickle must not fill a batch first.
        let wait = if polled.records.is_empty() { POLL } else { Duration::ZERO };
        match consumer.poll(wait) {
            Some(Ok(message)) => {
                let slot = message.partition().unsigned_abs() as usize;
                polled.records.push((slot, arena.receive(&message)));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                polled.ended.insert(partition.unsigned_abs() as usize);
            }
            Some(Err(error)) => {
                polled.failed = Some(error);
                break;
            }
            None => break,
        }
    }
    polled
}

fn partition_of(slot: usize) -> PartitionId {
    PartitionId(u32::try_from(slot).expect("PARTITIONS_MAX is far below"))
}

fn number_of(slot: usize) -> i32 {
    number(partition_of(slot))
}
