//! Producing: admission in bytes, one producer at a time, and an answer for every call.
//!
//! Not here: reading back what was acked without an offset ([`super::lost`]). Invariant: once a record has gone to
//! librdkafka its call ends with acks, or with [`Error::Unknown`]; before that, with an error that says it is not on
//! the log.

mod calls;
mod life;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, RwLock,
    atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
};

use millpond_schemas::Offset;
use rdkafka::producer::{BaseProducer, BaseRecord};
use tokio::sync::oneshot;

use self::{
    calls::{Calls, Sink},
    life::Life,
};
use super::{
    config::Config,
    context::Identity,
    ends::number,
    record::{batch_bytes, headers},
    standing::Standing,
    worker::Worker,
};
use crate::{Ack, Append, Error, Shut, meters::Meters};

/// What an [`Error::Unavailable`] says when nothing may be sent.
const REMADE: &str = "its topic was made anew: its offsets do not rise";
const DOWN: &str = "no broker can be reached";
const STUCK: &str = "nothing was acked for 5 s";
const DEAD: &str = "its producer failed and is made anew";

/// The answer to a call.
pub(super) type Answered = oneshot::Receiver<Result<Vec<Ack>, Error>>;

/// Sends records of one topic.
pub(super) struct Producer {
    shared: Arc<Shared>,
    worker: Mutex<Worker>,
}

/// What callers, librdkafka's reports and the producer's thread share.
pub(super) struct Shared {
    pub(super) identity: Arc<Identity>,
    /// As [`batch_bytes`] counts them.
    pub(super) record_bytes_max: usize,
    queue_bytes_max: usize,
    queued_bytes: AtomicUsize,
    /// The end of each partition as far as this process knows: by its acks and by what it asked.
    pub(super) known_ends: Arc<[AtomicI64]>,
    /// The same by the acks of this producer alone.
    acked_ends: Arc<[AtomicI64]>,
    live: RwLock<Option<Live>>,
    closed: AtomicBool,
    down: AtomicBool,
    stuck: AtomicBool,
    remade: AtomicBool,
    pinned: bool,
    failures: AtomicU64,
    lost: super::lost::Lost,
    meters: Arc<Meters>,
}

/// A producer that works, and the calls that it has.
#[derive(Clone)]
struct Live {
    producer: Arc<BaseProducer<Sink>>,
    calls: Arc<Calls>,
}

/// A topic to send to.
pub(super) struct Target {
    pub(super) identity: Arc<Identity>,
    /// The topic's own limit.
    pub(super) message_bytes_max: usize,
    pub(super) known_ends: Arc<[AtomicI64]>,
    pub(super) standing: Arc<Standing>,
    /// Whether acks from a topic that was made anew are worth nothing.
    pub(super) pinned: bool,
    /// Unless the configuration names another.
    pub(super) compression: Option<&'static str>,
    pub(super) meters: Arc<Meters>,
}

impl Producer {
    pub(super) fn start(config: &Config, target: Target) -> Self {
        let shared = Arc::new(Shared {
            lost: super::lost::Lost::new(target.standing, Arc::clone(&target.known_ends)),
            identity: target.identity,
            record_bytes_max: target.message_bytes_max,
            queue_bytes_max: config.queue_bytes_max,
            queued_bytes: AtomicUsize::new(0),
            acked_ends: target.known_ends.iter().map(|_none| AtomicI64::new(0)).collect(),
            known_ends: target.known_ends,
            live: RwLock::default(),
            closed: AtomicBool::new(false),
            down: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            remade: AtomicBool::new(false),
            pinned: target.pinned,
            failures: AtomicU64::new(0),
            meters: target.meters,
        });
        let life = Life::new(
            Arc::clone(&shared),
            config.compressed_producer(target.message_bytes_max, target.compression),
        );
        // Made here, so that the first call already finds it.
        let first = life.make();
        let worker = Worker::start("kafka-producer", move |stopping| life.run(first, &stopping));
        Self { shared, worker: Mutex::new(worker) }
    }

    /// Of records that are on their way.
    pub(super) fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes.load(Ordering::Relaxed)
    }

    /// How many producers have died.
    pub(super) fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    /// Whether nothing is taken any more, because the topic was made anew.
    pub(super) fn is_remade(&self) -> bool {
        self.shared.is_remade()
    }

    /// As [`crate::Log::shut`].
    pub(super) fn shut(&self) -> Option<Shut> {
        let dead = self.shared.live.read().expect("nothing panics while it holds the producer").is_none();
        let reason = self.shared.refusal().or(dead.then_some(DEAD))?;
        Some(Shut { reason, dead })
    }

    /// As [`crate::Log::enqueue`].
    pub(super) fn enqueue(&self, records: &[Append]) -> Result<Answered, Error> {
        let shared = &self.shared;
        let bytes = shared.measure(records)?;
        let (answer, answered) = oneshot::channel();
        if records.is_empty() {
            let _waiting = answer.send(Ok(Vec::new()));
            return Ok(answered);
        }
        shared.admissible()?;
        let live = shared.live.read().expect("nothing panics while it holds the producer");
        let live = live.as_ref().ok_or(Error::Unavailable { reason: DEAD, source: None })?;
        shared.admit(bytes)?;
        let floor = |record: &Append| shared.known_ends[record.partition.0 as usize].load(Ordering::Acquire);
        let call = live.calls.open(records.iter().map(floor).map(Offset), bytes, answer);
        for (sent, record) in records.iter().enumerate() {
            let message: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
                topic: shared.identity.topic(),
                partition: Some(number(record.partition)),
                payload: record.raw.value.as_deref(),
                key: record.raw.key.as_deref(),
                timestamp: None,
                headers: headers(&record.raw),
                delivery_opaque: call.ticket(sent),
            };
            if let Err((error, _message)) = live.producer.send(message) {
                if sent == 0 {
                    live.calls.withdraw(call);
                    shared.release(bytes);
                    return Err(Error::unavailable("librdkafka takes no record", error));
                }
                // Some records may be on the log: the call's answer is that nobody knows.
                live.calls.fail(call, records.len() - sent, &error);
                break;
            }
        }
        Ok(answered)
    }

    /// Takes no more, and returns once everything is answered: after 30 s, with [`Error::Unknown`].
    pub(super) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.worker.lock().expect("stopping does not panic twice").stop();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// The bytes of a call, if they can ever fit.
    fn measure(&self, records: &[Append]) -> Result<usize, Error> {
        let mut bytes = 0;
        for record in records {
            assert!(
                (record.partition.0 as usize) < self.known_ends.len(),
                "there is no partition {}",
                record.partition
            );
            let of_record = batch_bytes(&record.raw);
            if of_record > self.record_bytes_max {
                return Err(Error::TooLarge { bytes: of_record, max: self.record_bytes_max });
            }
            bytes += of_record;
        }
        if bytes > self.queue_bytes_max {
            return Err(Error::TooLarge { bytes, max: self.queue_bytes_max });
        }
        Ok(bytes)
    }

    fn is_remade(&self) -> bool {
        self.remade.load(Ordering::Acquire) || (self.pinned && self.identity.changes() > 0)
    }

    fn admissible(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        self.refusal().map_or(Ok(()), |reason| Err(Error::Unavailable { reason, source: None }))
    }

    /// Why nothing is taken, unless it is open.
    fn refusal(&self) -> Option<&'static str> {
        let is = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        if self.is_remade() {
            Some(REMADE)
        } else if is(&self.down) {
            Some(DOWN)
        } else {
            is(&self.stuck).then_some(STUCK)
        }
    }

    fn admit(&self, bytes: usize) -> Result<(), Error> {
        let queued_bytes = self.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        if queued_bytes + bytes > self.queue_bytes_max {
            self.release(bytes);
            return Err(Error::Backpressure { queued_bytes, max: self.queue_bytes_max });
        }
        Ok(())
    }

    fn release(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}
