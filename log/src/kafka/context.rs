//! What librdkafka says besides records: log lines, errors, and that a topic was made anew.
//!
//! rdkafka's interface shows no topic id, but librdkafka logs when the id behind a name changes, in the order in
//! which fetches are served. Invariant: [`Identity::changes`] has risen before a record of another topic of the same
//! name is given out by a client that has this context.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

/// What librdkafka logs when the topic behind a name is another one.
const CHANGED: &str = " changed id from ";

/// Which topic lies behind a name, as far as any client of this log knows.
#[derive(Debug)]
pub(super) struct Identity {
    topic: String,
    id: Mutex<Option<String>>,
    changes: AtomicU64,
}

impl Identity {
    pub(super) fn new(topic: &str) -> Arc<Self> {
        Arc::new(Self { topic: topic.to_owned(), id: Mutex::default(), changes: AtomicU64::new(0) })
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// How often another topic was found behind the name.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Reads a log line. A client's first line about the topic names its id; it must be what the others saw.
    fn read(&self, line: &str) {
        let Some((before, after)) = line.split_once(CHANGED) else { return };
        let name = before.rsplit("Topic ").next().unwrap_or_default();
        let Some((_, id)) = after.split_once(" to ").filter(|_| name == self.topic) else { return };
        let mut known = self.id.lock().expect("nothing panics while it holds the id");
        match known.as_deref() {
            Some(known) if known == id => return,
            Some(known) => {
                tracing::error!(topic = self.topic, from = known, to = id, "the topic was made anew");
                self.changes.fetch_add(1, Ordering::AcqRel);
            }
            None => {}
        }
        *known = Some(id.to_owned());
    }
}

/// The context of every client.
#[derive(Debug)]
pub(super) struct Context {
    identity: Option<Arc<Identity>>,
    /// Whether no broker can be reached, as far as librdkafka has said.
    down: AtomicBool,
    fatal: AtomicBool,
}

impl Context {
    pub(super) fn new(identity: Option<Arc<Identity>>) -> Self {
        Self { identity, down: AtomicBool::new(false), fatal: AtomicBool::new(false) }
    }

    /// No broker can be reached. Stays so until [`Context::reached`].
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// No broker was reached yet.
    pub(super) fn unreached(&self) {
        self.down.store(true, Ordering::Release);
    }

    pub(super) fn reached(&self) {
        self.down.store(false, Ordering::Release);
    }

    /// The client is dead.
    pub(super) fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(identity) = &self.identity {
            identity.read(line);
        }
        match level {
            RDKafkaLogLevel::Debug => tracing::trace!(target: "librdkafka", "{facility}: {line}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(target: "librdkafka", "{facility}: {line}");
            }
            // What matters comes as an error of some call too, and is logged where it is handled.
            _ => tracing::info!(target: "librdkafka", "{facility}: {line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => return,
            Some(RDKafkaErrorCode::AllBrokersDown) => self.down.store(true, Ordering::Release),
            Some(RDKafkaErrorCode::Fatal) => self.fatal.store(true, Ordering::Release),
            _ => {}
        }
        tracing::debug!(target: "librdkafka", %error, reason, "a client met an error");
    }
}

impl ConsumerContext for Context {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_id_behind_the_name_is_a_change_and_the_first_is_not() {
        let identity = Identity::new("a.b");
        let line = |topic: &str, from: &str, to: &str| {
            format!("[thrd:main]: Topic {topic} changed id from {from} to {to}")
        };
        identity.read(&line("a.b", "AAAA", "x1"));
        identity.read(&line("a.b", "AAAA", "x1"));
        identity.read(&line("other.a.b", "x1", "x9"));
        assert_eq!(identity.changes(), 0);
        identity.read(&line("a.b", "x1", "x2"));
        identity.read(&line("a.b", "AAAA", "x2"));
        assert_eq!(identity.changes(), 1);
    }
}
