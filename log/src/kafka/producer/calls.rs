//! Calls in flight: one countdown each, and what librdkafka reports about their records.
//!
//! Invariant: a call is answered exactly once, when the last of its records is settled; its bytes count until then.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use millpond_schemas::{Mutant, Offset, PartitionId, UnixMillis};
use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{BorrowedMessage, DeliveryResult},
    producer::ProducerContext,
};
use tokio::sync::oneshot;

use super::{REMADE, Shared};
use crate::{
    Ack, Error,
    kafka::{context::Context, lost::Missing, record::Arena},
};

/// Which call. Its low half is always 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(usize);

/// Bits of a ticket that say which record of the call.
const AT_BITS: u32 = 32;

impl Ticket {
    /// Names a record of the call.
    pub(super) fn ticket(self, at: usize) -> usize {
        assert!(at < 1 << AT_BITS, "a call has far fewer records");
        self.0 << AT_BITS | at
    }
}

/// Which record of its call.
fn record_of(ticket: usize) -> usize {
    ticket & ((1 << AT_BITS) - 1)
}

struct Call {
    /// The offset of one that is not settled yet is its floor: it cannot come to lie below.
    acks: Vec<Ack>,
    /// Records that are not settled yet.
    left: usize,
    bytes: usize,
    since: Instant,
    failed: Option<Error>,
    answer: oneshot::Sender<Result<Vec<Ack>, Error>>,
}

/// The calls of one producer.
pub(super) struct Calls {
    shared: Arc<Shared>,
    slab: Mutex<Slab>,
    /// Reports taken so far: shows that there is progress.
    settled: AtomicU64,
}

#[derive(Default)]
struct Slab {
    calls: Vec<Option<Call>>,
    free: Vec<usize>,
}

impl Slab {
    fn remove(&mut self, slot: usize) -> Option<Call> {
        let call = self.calls.get_mut(slot)?.take();
        self.free.extend(call.is_some().then_some(slot));
        call
    }
}

impl Calls {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, slab: Mutex::default(), settled: AtomicU64::new(0) })
    }

    fn slab(&self) -> MutexGuard<'_, Slab> {
        self.slab.lock().expect("nothing panics while it holds the calls")
    }

    /// A new call of records with these floors: the end of the partition of each, as far as it is known before.
    pub(super) fn open(
        &self,
        floors: impl Iterator<Item = Offset>,
        bytes: usize,
        answer: oneshot::Sender<Result<Vec<Ack>, Error>>,
    ) -> Ticket {
        let acks: Vec<Ack> = floors.map(|offset| Ack { offset, time: UnixMillis::EPOCH }).collect();
        let call = Call { left: acks.len(), acks, bytes, since: Instant::now(), failed: None, answer };
        let call = Some(call);
        let mut slab = self.slab();
        let Some(slot) = slab.free.pop() else {
            slab.calls.push(call);
            return Ticket(slab.calls.len() - 1);
        };
        slab.calls[slot] = call;
        Ticket(slot)
    }

    /// Takes back a call of which nothing was sent. Its bytes are the caller's to release.
    pub(super) fn withdraw(&self, ticket: Ticket) {
        self.slab().remove(ticket.0);
    }

    /// The last `unsent` records of a call were not taken.
    pub(super) fn fail(&self, ticket: Ticket, unsent: usize, error: &KafkaError) {
        self.settle(ticket.0, unsent, |call| {
            call.failed = Some(Error::Unknown { source: Arc::new(error.clone()) });
        });
    }

    /// Nothing more will be reported: whoever waits is told that nobody knows.
    pub(super) fn abandon(&self, error: &KafkaError) {
        let mut slab = self.slab();
        let calls: Vec<Call> = slab.calls.iter_mut().filter_map(Option::take).collect();
        slab.free.clear();
        slab.calls.clear();
        drop(slab);
        for call in calls {
            self.shared.release(call.bytes);
            self.shared.meters.failed();
            let _gone = call.answer.send(Err(Error::Unknown { source: Arc::new(error.clone()) }));
        }
    }

    /// How many calls wait, and how many records were ever settled.
    pub(super) fn progress(&self) -> (usize, u64) {
        let slab = self.slab();
        (slab.calls.len() - slab.free.len(), self.settled.load(Ordering::Relaxed))
    }

    /// Settles records of a call, and answers it with the last.
    fn settle(&self, slot: usize, records: usize, change: impl FnOnce(&mut Call)) {
        self.settled.fetch_add(1, Ordering::Relaxed);
        let mut slab = self.slab();
        // A call that is gone was answered when its producer died.
        let Some(Some(call)) = slab.calls.get_mut(slot) else { return };
        change(call);
        call.left -= records;
        if call.left > 0 {
            return;
        }
        let Some(call) = slab.remove(slot) else { return };
        drop(slab);
        self.shared.release(call.bytes);
        match call.failed {
            None => self.shared.meters.appended(call.acks.len(), call.bytes, call.since.elapsed()),
            Some(_) => self.shared.meters.failed(),
        }
        // The caller may be gone; its records stay.
        let _gone = call.answer.send(call.failed.map_or(Ok(call.acks), Err));
    }

    /// The floor of a record that is not settled yet.
    fn floor(&self, ticket: usize) -> Offset {
        let slab = self.slab();
        let call = slab.calls.get(ticket >> AT_BITS).and_then(Option::as_ref);
        call.map_or(Offset::NONE, |call| call.acks[record_of(ticket)].offset)
    }

    fn placed(&self, ticket: usize, ack: Result<Ack, Error>) {
        let at = record_of(ticket);
        self.settle(ticket >> AT_BITS, 1, |call| match ack {
            Ok(ack) => call.acks[at] = ack,
            Err(error) => call.failed = Some(error),
        });
    }
}

/// Takes librdkafka's reports.
pub(super) struct Sink {
    pub(super) context: Context,
    pub(super) calls: Arc<Calls>,
}

impl Sink {
    /// Judges a record that a broker has acked.
    fn acked(&self, message: &BorrowedMessage<'_>, ticket: usize) {
        let shared = &self.calls.shared;
        let partition = PartitionId(message.partition().unsigned_abs());
        let slot = partition.0 as usize;
        // Not the end that is known by now: whoever asked for it meanwhile may have seen this very record.
        let from = self.calls.floor(ticket).max(Offset(shared.acked_ends[slot].load(Ordering::Acquire)));
        let (offset, time) = (message.offset(), message.timestamp().to_millis());
        let offset = if Mutant::OffsetCoerced.is_picked() { offset.max(0) } else { offset };
        let (Some(time), true) = (time, offset >= 0) else {
            let calls = Arc::clone(&self.calls);
            let answer = Box::new(move |ack: Result<Ack, Error>| calls.placed(ticket, ack));
            let raw = Arena::default().raw(message);
            return shared.lost.find(Missing { partition, from, raw, answer });
        };
        for ends in [&shared.acked_ends, &shared.known_ends] {
            ends[slot].fetch_max(offset + 1, Ordering::AcqRel);
        }
        if shared.pinned && (offset < from.0 || shared.identity.changes() > 0) {
            // Another log took it. Whatever comes of that, it is not on ours.
            shared.remade.store(true, Ordering::Release);
            let remade = Error::Unavailable { reason: REMADE, source: None };
            return self.calls.placed(ticket, Err(Error::Unknown { source: Arc::new(remade) }));
        }
        self.calls.placed(ticket, Ok(Ack { offset: Offset(offset), time: UnixMillis(time) }));
    }
}

impl ClientContext for Sink {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Sink {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, ticket: usize) {
        match report {
            Ok(message) => self.acked(message, ticket),
            Err((error, _message)) => {
                self.calls.placed(ticket, Err(Error::Unknown { source: Arc::new(error.clone()) }));
            }
        }
    }
}
