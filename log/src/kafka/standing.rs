//! The standing reader: a second reader that looks at chosen places, and confirms holes.
//!
//! It has a consumer of its own, assigned only while it looks. Invariant: what a scan reports as reached was fetched
//! after the scan was asked for, and every record of it that may be read was shown.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use millpond_schemas::{Offset, PartitionId, Received};
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use tokio::sync::oneshot;

use super::{
    config::Config,
    context::{Context, Identity},
    ends::{Answer, number},
    record::Arena,
    worker::{Stopping, Worker},
};
use crate::Error;

/// A scan that takes longer is given up.
const SCAN: Duration = Duration::from_secs(5);
/// What librdkafka fetches ahead for a scan.
const QUEUED_BYTES: usize = 4 << 20;

/// A part of a partition to look at.
pub(super) struct Scan {
    pub(super) partition: PartitionId,
    pub(super) from: Offset,
    /// Exclusive. The scan may go further.
    pub(super) to: Offset,
    /// Is shown every record in it.
    pub(super) show: Box<dyn FnMut(Received) + Send>,
    /// Is told where it ended: below `to` only where nothing more can be read.
    pub(super) done: Answer<Offset>,
}

/// The thread that looks.
pub(super) struct Standing {
    scans: Arc<Mutex<Vec<Scan>>>,
    worker: Worker,
}

impl Standing {
    pub(super) fn start(config: &Config, identity: Arc<Identity>) -> Self {
        let scans = Arc::<Mutex<Vec<Scan>>>::default();
        let mut consumer = config.consumer(QUEUED_BYTES);
        consumer.set("fetch.wait.max.ms", "10").set("max.partition.fetch.bytes", "131072");
        let looker = Looker { consumer, identity, scans: Arc::clone(&scans), arena: Arena::default() };
        Self { scans, worker: Worker::start("kafka-standing", move |stopping| looker.run(&stopping)) }
    }

    /// Looks, and tells what it found later, on its thread.
    pub(super) fn scan(&self, scan: Scan) {
        lock(&self.scans).push(scan);
        self.worker.wake();
    }

    /// The record at an offset; none where the next one lies further on. How far it looked, besides.
    pub(super) async fn record(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<(Option<Received>, Offset), Error> {
        let (answer, answered) = oneshot::channel();
        let found = Arc::<Mutex<Option<Received>>>::default();
        let shown = Arc::clone(&found);
        let slot = |found: &Mutex<Option<Received>>| {
            found.lock().expect("nothing panics while it holds the record").take()
        };
        let show = move |record: Received| {
            if record.offset == offset {
                *shown.lock().expect("nothing panics while it holds the record") = Some(record);
            }
        };
        let done = move |reached: Result<Offset, Error>| {
            let _gone = answer.send(reached.map(|reached| (slot(&found), reached)));
        };
        let to = offset.next();
        self.scan(Scan { partition, from: offset, to, show: Box::new(show), done: Box::new(done) });
        answered.await.unwrap_or_else(|_stopped| Err(Error::closed()))
    }

    /// How many records there are in `from..to`, and the bytes of all.
    pub(super) async fn sizes(
        &self,
        partition: PartitionId,
        (from, to): (Offset, Offset),
    ) -> Result<(u64, u64), Error> {
        let (answer, answered) = oneshot::channel();
        let found = Arc::<Mutex<(u64, u64)>>::default();
        let shown = Arc::clone(&found);
        let show = move |record: Received| {
            let mut found = shown.lock().expect("nothing panics while it holds the sizes");
            *found = (found.0 + 1, found.1 + record.raw.len() as u64);
        };
        let done = move |reached: Result<Offset, Error>| {
            let found = *found.lock().expect("nothing panics while it holds the sizes");
            let _gone = answer.send(reached.map(|_| found));
        };
        self.scan(Scan { partition, from, to, show: Box::new(show), done: Box::new(done) });
        answered.await.unwrap_or_else(|_stopped| Err(Error::closed()))
    }
}

fn lock(scans: &Mutex<Vec<Scan>>) -> MutexGuard<'_, Vec<Scan>> {
    scans.lock().expect("nothing panics while it holds the scans")
}

struct Looker {
    consumer: ClientConfig,
    identity: Arc<Identity>,
    scans: Arc<Mutex<Vec<Scan>>>,
    arena: Arena,
}

impl Looker {
    fn run(mut self, stopping: &Stopping) {
        let mut consumer = None;
        let mut changes = self.identity.changes();
        while !stopping.is_set() {
            if mem::replace(&mut changes, self.identity.changes()) != self.identity.changes() {
                consumer = None;
            }
            let round = self.take();
            if round.is_empty() {
                // Nothing is assigned: this serves log lines and errors alone.
                if let Some(consumer) = &consumer {
                    idle(consumer);
                }
                stopping.rest(Duration::MAX);
                continue;
            }
            let made = match consumer.take() {
                Some(made) => Ok(made),
                None => self.consumer.create_with_context(Context::new(Some(Arc::clone(&self.identity)))),
            };
            match made {
                Ok(made) => consumer = self.look(&made, round, stopping).then_some(made),
                Err(error) => refuse(round, &error),
            }
        }
        lock(&self.scans).clear();
    }

    /// The next scans, one per partition.
    fn take(&self) -> HashMap<i32, Scan> {
        let mut round = HashMap::new();
        let mut scans = lock(&self.scans);
        let mut later = Vec::new();
        for scan in scans.drain(..) {
            match round.entry(number(scan.partition)) {
                std::collections::hash_map::Entry::Occupied(_) => later.push(scan),
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(scan);
                }
            }
        }
        *scans = later;
        round
    }

    /// Looks until every scan of the round is done. Whether the consumer can be used again.
    fn look(
        &mut self,
        consumer: &BaseConsumer<Context>,
        mut round: HashMap<i32, Scan>,
        stopping: &Stopping,
    ) -> bool {
        let changes = self.identity.changes();
        let deadline = Instant::now() + SCAN;
        let mut failed = assign(consumer, self.identity.topic(), &round).err();
        while !round.is_empty() && failed.is_none() {
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => {
                    let Some(scan) = round.get_mut(&message.partition()) else { continue };
                    let offset = Offset(message.offset());
                    if offset >= scan.from && offset < scan.to {
                        (scan.show)(self.arena.receive(&message));
                    }
                    if offset.next() >= scan.to {
                        let reached = offset.next().min(scan.to.max(offset));
                        finish(&mut round, message.partition(), reached);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(scan) = round.get(&partition) {
                        let reached = position(consumer, partition).unwrap_or(scan.from).max(scan.from);
                        finish(&mut round, partition, reached);
                    }
                }
                Some(Err(error)) => failed = Some(error),
                None => {}
            }
            if self.identity.changes() != changes {
                failed = Some(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicId));
            } else if stopping.is_set() || Instant::now() >= deadline {
                failed = Some(KafkaError::Canceled);
            }
        }
        if let Some(error) = &failed {
            refuse(round, error);
        }
        failed.is_none() && consumer.unassign().is_ok()
    }
}

fn assign(consumer: &BaseConsumer<Context>, topic: &str, round: &HashMap<i32, Scan>) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(round.len());
    for (partition, scan) in round {
        list.add_partition_offset(topic, *partition, rdkafka::Offset::Offset(scan.from.0.max(0)))?;
    }
    consumer.assign(&list)
}

fn refuse(round: HashMap<i32, Scan>, error: &KafkaError) {
    for scan in round.into_values() {
        (scan.done)(Err(Error::unavailable("a part of it could not be looked at", error.clone())));
    }
}

fn finish(round: &mut HashMap<i32, Scan>, partition: i32, reached: Offset) {
    if let Some(scan) = round.remove(&partition) {
        (scan.done)(Ok(reached));
    }
}

fn idle(consumer: &BaseConsumer<Context>) {
    while consumer.poll(Duration::ZERO).is_some() {}
}

/// Behind the last message or marker that the consumer has seen of a partition since it was assigned.
fn position(consumer: &BaseConsumer<Context>, partition: i32) -> Option<Offset> {
    let positions = consumer.position().ok()?;
    let found = positions.elements().into_iter().find(|element| element.partition() == partition)?.offset();
    match found {
        rdkafka::Offset::Offset(offset) => Some(Offset(offset)),
        _ => None,
    }
}
