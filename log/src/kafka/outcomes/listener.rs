//! A subscriber's thread: it reads every partition of the topic and counts what it cannot deliver.
//!
//! Invariant: [`Heard::Missed`] is in the queue before whatever follows what was missed.

use std::{mem, sync::Arc, time::Duration};

use millpond_schemas::{Offset, OutcomeRange};
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tokio::sync::mpsc;

use crate::{
    Heard,
    kafka::{
        config::Config,
        context::{Context, Identity},
        ends::Client,
        record::Arena,
        worker::Stopping,
    },
};

/// What librdkafka fetches ahead.
const QUEUED_BYTES: usize = 8 << 20;
/// How long one poll waits: a listener that stops takes no longer.
const POLL: Duration = Duration::from_millis(50);

pub(super) struct Listener {
    config: ClientConfig,
    client: Client,
    identity: Arc<Identity>,
    next: Vec<Offset>,
    teller: Teller,
    arena: Arena,
}

/// Tells a subscriber that may not keep up.
struct Teller {
    tell: mpsc::Sender<Heard>,
    /// Not yet told.
    missed: u64,
}

impl Teller {
    fn range(&mut self, range: OutcomeRange) {
        self.catch_up();
        if self.missed > 0 || self.tell.try_send(Heard::Range(Arc::new(range))).is_err() {
            self.missed += 1;
        }
    }

    /// Says what was missed, if there is room to say it.
    fn catch_up(&mut self) {
        if self.missed > 0 && self.tell.try_send(Heard::Missed(self.missed)).is_ok() {
            self.missed = 0;
        }
    }
}

impl Listener {
    pub(super) fn new(config: &Config, topic: &str, next: Vec<Offset>, tell: mpsc::Sender<Heard>) -> Self {
        Self {
            config: config.consumer(QUEUED_BYTES),
            client: Client::new(config.asker("read_uncommitted")),
            identity: Identity::new(topic),
            next,
            teller: Teller { tell, missed: 0 },
            arena: Arena::default(),
        }
    }

    pub(super) fn run(mut self, stopping: &Stopping) {
        let mut consumer = None;
        let mut changes = self.identity.changes();
        while !stopping.is_set() && !self.teller.tell.is_closed() {
            if mem::replace(&mut changes, self.identity.changes()) != self.identity.changes() {
                // Everything in the new topic is news, and so is that something may be missing.
                self.teller.missed += 1;
                self.next.fill(Offset(0));
                consumer = None;
            }
            let done = match &consumer {
                Some(consumer) => self.listen(consumer),
                None => self.connect().map(|made| consumer = Some(made)),
            };
            if let Err(error) = done {
                tracing::debug!(%error, "outcomes cannot be heard just now");
                consumer = None;
                stopping.rest(Duration::MAX);
            }
            self.teller.catch_up();
        }
    }

    /// A consumer that stands where this listener has read to, or where the topic starts by now.
    fn connect(&mut self) -> KafkaResult<BaseConsumer<Context>> {
        let topic = self.identity.topic();
        let partitions: Vec<u32> = (0..).take(self.next.len()).collect();
        let starts = self.client.offsets(topic, partitions.clone(), rdkafka::Offset::Beginning)?;
        let ends = self.client.offsets(topic, partitions, rdkafka::Offset::End)?;
        let mut list = TopicPartitionList::with_capacity(self.next.len());
        for (partition, next) in (0u32..).zip(&mut self.next) {
            let of = |edges: &std::collections::HashMap<u32, KafkaResult<i64>>| {
                edges.get(&partition).cloned().unwrap_or(Err(KafkaError::Canceled))
            };
            let (start, end) = (of(&starts)?, of(&ends)?);
            if next.0 < start {
                self.teller.missed += start.abs_diff(next.0);
                *next = Offset(start);
            } else if next.0 > end {
                self.teller.missed += 1;
                *next = Offset(start);
            }
            let number = i32::try_from(partition).expect("PARTITIONS_MAX is far below");
            list.add_partition_offset(topic, number, rdkafka::Offset::Offset(next.0))?;
        }
        let context = Context::new(Some(Arc::clone(&self.identity)));
        let consumer: BaseConsumer<Context> = self.config.create_with_context(context)?;
        consumer.assign(&list)?;
        Ok(consumer)
    }

    fn listen(&mut self, consumer: &BaseConsumer<Context>) -> KafkaResult<()> {
        match consumer.poll(POLL) {
            Some(Ok(message)) => self.hear(&message),
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => match error.rdkafka_error_code() {
                // It reads on by itself, where it was.
                Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown) => {}
                _ => return Err(error),
            },
        }
        Ok(())
    }

    fn hear(&mut self, message: &BorrowedMessage<'_>) {
        let next = &mut self.next[message.partition().unsigned_abs() as usize];
        if message.offset() < next.0 {
            return;
        }
        self.teller.missed += message.offset().abs_diff(next.0);
        *next = Offset(message.offset() + 1);
        let range = self.arena.raw(message).value.map(OutcomeRange::decode);
        let Some(Ok(range)) = range else {
            tracing::warn!(offset = message.offset(), "a record among the outcomes is none");
            self.teller.missed += 1;
            return;
        };
        self.teller.range(range);
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{Generation, PartitionId, UnixMillis};

    use super::*;

    fn range(from: i64) -> OutcomeRange {
        OutcomeRange {
            generation: Generation::FIRST,
            partition: PartitionId(0),
            from: Offset(from),
            to: Offset(from),
            time: UnixMillis::EPOCH,
            exceptions: Vec::new(),
            expired: Vec::new(),
        }
    }

    #[test]
    fn a_subscriber_that_falls_behind_is_told_how_much_it_missed_before_what_follows() {
        let (tell, mut heard) = mpsc::channel(3);
        let mut teller = Teller { tell, missed: 0 };
        let mut hear = || heard.try_recv().ok();
        (0..5).for_each(|from| teller.range(range(from)));
        assert_eq!(hear(), Some(Heard::Range(Arc::new(range(0)))));
        teller.range(range(5));
        for from in 1..3 {
            assert_eq!(hear(), Some(Heard::Range(Arc::new(range(from)))));
        }
        assert_eq!(hear(), Some(Heard::Missed(2)));
        teller.catch_up();
        teller.range(range(6));
        assert_eq!(hear(), Some(Heard::Missed(1)));
        assert_eq!(hear(), Some(Heard::Range(Arc::new(range(6)))));
        assert_eq!(hear(), None);
    }
}
