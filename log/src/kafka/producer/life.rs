//! A producer's life: it is polled, watched, replaced when it dies, and flushed at the end.
//!
//! Invariant: calls that a dead producer had are answered before the next one takes any.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, Producer},
};

use super::{
    Live, Shared,
    calls::{Calls, Sink},
};
use crate::kafka::{context::Context, worker::Stopping};

/// Reports are waited for this long before anything else is looked at.
const POLL: Duration = Duration::from_millis(50);
/// With records in flight and nothing acked for this long, no more are taken.
const STUCK: Duration = Duration::from_secs(5);
/// How long the last records may take.
const FLUSH: Duration = Duration::from_secs(30);
/// With no broker in reach for this long and nothing in flight, the producer is made anew: it may be the one that hangs.
const UNREACHED: Duration = Duration::from_secs(10);
/// Between two tries to make a producer, or to reach a broker.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Life {
    shared: Arc<Shared>,
    config: ClientConfig,
}

/// When something was acked last.
struct Progress {
    settled: u64,
    at: Instant,
    /// Since when no broker is in reach.
    down_since: Option<Instant>,
}

impl Life {
    pub(super) fn new(shared: Arc<Shared>, config: ClientConfig) -> Self {
        Self { shared, config }
    }

    /// Makes a producer and lets callers use it. None when that failed.
    pub(super) fn make(&self) -> Option<Arc<BaseProducer<Sink>>> {
        let calls = Calls::new(Arc::clone(&self.shared));
        let context = Context::new(Some(Arc::clone(&self.shared.identity)));
        match self.config.create_with_context(Sink { context, calls: Arc::clone(&calls) }) {
            Ok(producer) => {
                let producer: Arc<BaseProducer<Sink>> = Arc::new(producer);
                let live = Live { producer: Arc::clone(&producer), calls };
                *self.shared.live.write().expect("nothing panics while it holds the producer") = Some(live);
                Some(producer)
            }
            Err(error) => {
                tracing::error!(%error, "a producer could not be made");
                None
            }
        }
    }

    pub(super) fn run(self, first: Option<Arc<BaseProducer<Sink>>>, stopping: &Stopping) {
        let mut producer = first;
        let mut progress = Progress { settled: 0, at: Instant::now(), down_since: None };
        while !stopping.is_set() {
            let Some(live) = &producer else {
                stopping.pause(AGAIN);
                producer = self.make();
                continue;
            };
            live.poll(POLL);
            let sink = live.context();
            if sink.context.is_fatal() || live.client().fatal_error().is_some() {
                self.bury(live);
                // One that has lived is replaced at once; what kills them all from the start is not hurried.
                let has_lived = sink.calls.progress().1 > 0;
                producer = if has_lived { self.make() } else { None };
                continue;
            }
            self.watch(&mut progress, &sink.calls);
            self.reach(live);
            if self.is_given_up(&mut progress, &sink.calls) {
                producer = self.replace(live);
            }
        }
        if let Some(producer) = producer {
            self.finish(&producer);
        }
    }

    /// A dead producer takes its calls with it.
    fn bury(&self, producer: &BaseProducer<Sink>) {
        let (code, reason) =
            producer.client().fatal_error().unwrap_or((RDKafkaErrorCode::Fatal, String::new()));
        tracing::warn!(topic = self.shared.identity.topic(), %code, reason, "a producer died; the next is made");
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        *self.shared.live.write().expect("nothing panics while it holds the producer") = None;
        producer.context().calls.abandon(&KafkaError::MessageProduction(code));
    }

    /// Another one, which takes nothing before it has found a broker.
    fn replace(&self, producer: &BaseProducer<Sink>) -> Option<Arc<BaseProducer<Sink>>> {
        tracing::warn!(topic = self.shared.identity.topic(), "no broker is found; the next producer is made");
        let next = self.make();
        if let Some(next) = &next {
            next.context().context.unreached();
        }
        // Whoever came in the meantime.
        producer.context().calls.abandon(&KafkaError::Canceled);
        next
    }

    /// Whether records are in flight of which none is acked.
    fn watch(&self, progress: &mut Progress, calls: &Calls) {
        let (waiting, settled) = calls.progress();
        if waiting == 0 || settled != progress.settled {
            (progress.settled, progress.at) = (settled, Instant::now());
        }
        let stuck = progress.at.elapsed() > STUCK;
        if stuck != self.shared.stuck.swap(stuck, Ordering::AcqRel) {
            tracing::warn!(topic = self.shared.identity.topic(), stuck, "acks stopped or came again");
        }
    }

    /// While no broker can be reached, tries to reach one.
    fn reach(&self, producer: &BaseProducer<Sink>) {
        let context = &producer.context().context;
        if context.is_down()
            && producer.client().fetch_metadata(Some(self.shared.identity.topic()), AGAIN).is_ok()
        {
            context.reached();
        }
        let down = context.is_down();
        if down != self.shared.down.swap(down, Ordering::AcqRel) {
            tracing::warn!(topic = self.shared.identity.topic(), down, "brokers went or came back");
        }
    }

    /// Whether it has looked for a broker in vain for long, and nobody waits for it.
    fn is_given_up(&self, progress: &mut Progress, calls: &Calls) -> bool {
        if !self.shared.down.load(Ordering::Acquire) {
            progress.down_since = None;
            return false;
        }
        let since = *progress.down_since.get_or_insert_with(Instant::now);
        let is_given_up = since.elapsed() > UNREACHED && calls.progress().0 == 0;
        if is_given_up {
            progress.down_since = None;
        }
        is_given_up
    }

    fn finish(&self, producer: &BaseProducer<Sink>) {
        if let Err(error) = producer.flush(FLUSH) {
            tracing::warn!(%error, "records were still in flight at the end");
        }
        *self.shared.live.write().expect("nothing panics while it holds the producer") = None;
        producer.context().calls.abandon(&KafkaError::Canceled);
    }
}
