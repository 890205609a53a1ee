//! How to reach the brokers, and what every librdkafka client is told.
//!
//! Invariant: what exactness depends on is set here, and nothing in the configuration overrides it.

use std::{collections::BTreeMap, fmt::Display};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

use crate::Clock;

/// The bound of the queue unless told otherwise.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// The memory of all reading of one log unless told otherwise.
pub const READ_AHEAD_BYTES_MAX: usize = 64 << 20;
/// Least memory for reading ahead: a few of the largest records.
const READ_AHEAD_BYTES_MIN: usize = 1 << 20;

/// What `[kafka.properties]` must not say, and why.
const OURS: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "it is `kafka.brokers`"),
    (&["acks", "request.required.acks"], "an ack must mean all in-sync replicas"),
    (
        &["enable.idempotence", "max.in.flight", "max.in.flight.requests.per.connection", "retries"],
        "a retry must neither double nor reorder records",
    ),
    (&["message.send.max.retries", "transactional.id"], "a retry must neither double nor reorder records"),
    (&["partitioner"], "Millpond computes partitions"),
    (&["message.max.bytes"], "it is the topic's own limit"),
    (
        &[
            "queue.buffering.max.messages",
            "queue.buffering.max.kbytes",
            "queue.buffering.backpressure.threshold",
        ],
        "it is `kafka.queue_bytes_max`",
    ),
    (&["isolation.level"], "an aborted record must not be applied"),
    (&["auto.offset.reset"], "a reset skips records"),
    (
        &["enable.auto.commit", "enable.auto.offset.store", "offset.store.method"],
        "the shard holds the offsets",
    ),
    (&["enable.partition.eof", "check.crcs"], "reading depends on it"),
    (&["topic.metadata.refresh.interval.ms"], "a topic that was made anew must be noticed"),
    (&["allow.auto.create.topics"], "topics are made by `millpond init`"),
    (
        &["group.id", "group.protocol", "group.remote.assignor", "partition.assignment.strategy"],
        "it is Millpond's",
    ),
    (&["queued.max.messages.kbytes", "queued.min.messages"], "it is `kafka.read_ahead_bytes_max`"),
];

/// Which brokers, which topics, and how much memory.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port,…` of some brokers.
    pub brokers: String,
    /// What the names of all topics and groups start with.
    pub prefix: String,
    /// One broker is enough: no replication is asked for.
    pub dev: bool,
    /// Topics or settings that the start check lets pass, by name.
    pub accept: Vec<String>,
    /// Passed to every librdkafka client as it is.
    pub properties: BTreeMap<String, String>,
    /// Bytes of records that wait for their ack, per log; beyond it is [`crate::Error::Backpressure`].
    pub queue_bytes_max: usize,
    /// Bytes of records that one log holds fetched ahead. More is faster after a pause.
    pub read_ahead_bytes_max: usize,
    /// Measures how long a partition has stalled.
    pub clock: Clock,
}

/// The configuration cannot be used. The operator's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigInvalid {
    /// A property that Millpond must set itself.
    #[error("`kafka.properties`: {name} cannot be set: {reason}")]
    Ours {
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// librdkafka does not take it.
    #[error("`kafka.properties`: {0}")]
    Property(String),
}

impl Config {
    /// The defaults for these brokers and this prefix.
    pub fn new(brokers: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            prefix: prefix.into(),
            dev: false,
            accept: Vec::new(),
            properties: BTreeMap::new(),
            queue_bytes_max: QUEUE_BYTES_MAX,
            read_ahead_bytes_max: READ_AHEAD_BYTES_MAX,
            clock: Clock::System,
        }
    }

    /// Whether nothing overrides what Millpond must set itself.
    pub(super) fn validate(&self) -> Result<(), ConfigInvalid> {
        for (names, reason) in OURS {
            if let Some(name) = names.iter().find(|name| self.properties.contains_key(**name)) {
                return Err(ConfigInvalid::Ours { name: (*name).to_owned(), reason });
            }
        }
        Ok(())
    }

    /// What every client is told.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        set(&mut config, "bootstrap.servers", &self.brokers);
        set(&mut config, "client.id", "millpond");
        set(&mut config, "allow.auto.create.topics", false);
        // A request that a frozen broker never answers must not hold up a reader for a minute.
        set(&mut config, "socket.timeout.ms", 10_000);
        set(&mut config, "reconnect.backoff.max.ms", 1000);
        for (name, value) in &self.properties {
            set(&mut config, name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// What a client is told that must notice when its topic is made anew: see [`super::context::Identity`].
    fn noticing(&self) -> ClientConfig {
        let mut config = self.client();
        let debug = self.properties.get("debug").map_or_else(String::new, |more| format!(",{more}"));
        set(&mut config, "debug", format!("metadata{debug}"));
        set(&mut config, "topic.metadata.refresh.interval.ms", 1000);
        config.set_log_level(RDKafkaLogLevel::Debug);
        config
    }

    /// A producer of records of at most so many bytes.
    pub(super) fn producer(&self, message_bytes_max: usize) -> ClientConfig {
        let mut config = self.noticing();
        set(&mut config, "acks", "all");
        set(&mut config, "enable.idempotence", true);
        set(&mut config, "message.max.bytes", message_bytes_max);
        // Records wait in our queue, which is bounded in bytes; librdkafka's must never fill first.
        set(&mut config, "queue.buffering.max.messages", 0);
        set(&mut config, "queue.buffering.max.kbytes", i32::MAX);
        default(self, &mut config, &["linger.ms", "queue.buffering.max.ms"], 1);
        default(self, &mut config, &["batch.num.messages"], 50_000);
        default(self, &mut config, &["delivery.timeout.ms", "message.timeout.ms"], 30_000);
        config
    }

    /// A producer that compresses, unless the configuration says otherwise.
    pub(super) fn compressed_producer(&self, message_bytes_max: usize, codec: Option<&str>) -> ClientConfig {
        let mut config = self.producer(message_bytes_max);
        let ours = |name: &&str| self.properties.contains_key(*name);
        if let Some(codec) = codec.filter(|_| !["compression.type", "compression.codec"].iter().any(ours)) {
            set(&mut config, "compression.type", codec);
        }
        config
    }

    /// A consumer that is told what to read. It never joins its group, nor commits.
    pub(super) fn consumer(&self, queued_bytes_max: usize) -> ClientConfig {
        let mut config = self.noticing();
        set(&mut config, "group.id", format!("{}.readers", self.prefix));
        set(&mut config, "isolation.level", "read_committed");
        set(&mut config, "enable.auto.commit", false);
        set(&mut config, "enable.auto.offset.store", false);
        set(&mut config, "auto.offset.reset", "error");
        set(&mut config, "enable.partition.eof", true);
        set(&mut config, "check.crcs", true);
        set(&mut config, "queued.min.messages", 10_000_000);
        set(&mut config, "queued.max.messages.kbytes", (queued_bytes_max / 1024).clamp(1, 1 << 20));
        default(self, &mut config, &["fetch.queue.backoff.ms"], 2);
        default(self, &mut config, &["fetch.error.backoff.ms"], 100);
        // A new place waits for the fetch that is under way.
        default(self, &mut config, &["fetch.wait.max.ms"], 50);
        config
    }

    /// A member of a group, which learns what it is assigned and fetches nothing.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        set(&mut config, "group.id", format!("{}.{group}", self.prefix));
        set(&mut config, "group.protocol", "consumer");
        set(&mut config, "enable.auto.commit", false);
        set(&mut config, "enable.auto.offset.store", false);
        set(&mut config, "auto.offset.reset", "latest");
        set(&mut config, "queued.max.messages.kbytes", 1);
        set(&mut config, "topic.metadata.refresh.interval.ms", 5000);
        config
    }

    /// A client that only asks where partitions start and end.
    pub(super) fn asker(&self, isolation: &str) -> ClientConfig {
        let mut config = self.client();
        set(&mut config, "isolation.level", isolation);
        set(&mut config, "topic.metadata.refresh.interval.ms", 5000);
        config
    }

    /// The bytes that wait in buffers, and those that wait in librdkafka.
    pub(super) fn read_ahead(&self) -> (usize, usize) {
        let bytes = self.read_ahead_bytes_max.max(READ_AHEAD_BYTES_MIN);
        (bytes - bytes / 4, bytes / 4)
    }
}

fn set(config: &mut ClientConfig, name: &str, value: impl Display) {
    config.set(name, value.to_string());
}

/// Sets the first of these names, which mean the same, unless the configuration sets one of them.
fn default(ours: &Config, config: &mut ClientConfig, names: &[&str], value: u32) {
    if !names.iter().any(|name| ours.properties.contains_key(*name)) {
        set(config, names[0], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_exactness_depends_on_cannot_be_overridden() {
        for name in OURS.iter().flat_map(|(names, _)| *names) {
            let mut config = Config::new("localhost:1", "millpond");
            config.properties.insert((*name).to_owned(), "1".to_owned());
            let refused = config.validate().unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
    }

    #[test]
    fn other_properties_reach_every_client() {
        let mut config = Config::new("localhost:1", "millpond");
        config.properties.insert("linger.ms".to_owned(), "7".to_owned());
        config.properties.insert("client.id".to_owned(), "mine".to_owned());
        config.validate().unwrap();
        assert_eq!(config.producer(1000).get("linger.ms"), Some("7"));
        for client in [config.producer(1000), config.consumer(1000), config.asker("read_committed")] {
            assert_eq!(client.get("client.id"), Some("mine"));
        }
    }
}
