//! A Kafka cluster: where the topics are, and what can be opened there.
//!
//! Invariant: everything that is opened here has been found on the cluster.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use millpond_schemas::{Generation, PartitionId};
use tokio::time::{Instant, sleep};

use super::{
    Log,
    admin::{self, Make},
    check::{self, Report},
    config::{Config, ConfigInvalid},
    dead_letters::DeadLetters,
    ends::{Edge, Ends},
    membership::Membership,
    outcomes::Outcomes,
    topics::{Purpose, Topics, replication},
};
use crate::Error;

/// New topics are seen by every broker after this long.
const VISIBLE: Duration = Duration::from_secs(10);

/// A cluster. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Config>);

/// A topic as it was found.
pub(super) struct Found {
    pub(super) topic: String,
    pub(super) message_bytes_max: usize,
    /// The end of each partition when it was found.
    pub(super) known_ends: Arc<[AtomicI64]>,
    pub(super) ends: Arc<Ends>,
}

impl Cluster {
    /// Takes the configuration. Reaches no broker yet.
    ///
    /// # Errors
    /// [`ConfigInvalid`]: the operator must change it.
    pub fn connect(config: Config) -> Result<Self, ConfigInvalid> {
        config.validate()?;
        let try_out = |client: &rdkafka::ClientConfig| client.create_native_config().map(drop);
        for client in [config.producer(1 << 20), config.consumer(1 << 20), config.asker("read_committed")] {
            try_out(&client).map_err(|error| ConfigInvalid::Property(error.to_string()))?;
        }
        Ok(Self(Arc::new(config)))
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.0
    }

    /// Makes the topics. Those that are there are left as they are, and checked.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: repeat it.
    pub async fn init(&self, topics: &Topics) -> Result<Report, Error> {
        let make = |purpose: Purpose| Make {
            topic: purpose.topic(&self.0.prefix, topics.generation),
            partitions: purpose.partitions(topics),
            replication: replication(&self.0),
            settings: purpose.settings(&self.0, topics).into_iter().map(|s| (s.name, s.value)).collect(),
        };
        admin::make(&self.0, Purpose::ALL.map(make).to_vec()).await?;
        // Brokers learn of new topics one after the other.
        let give_up = Instant::now() + VISIBLE;
        loop {
            let report = self.check(topics).await?;
            if report.all_there() || Instant::now() >= give_up {
                return Ok(report);
            }
            sleep(VISIBLE / 200).await;
        }
    }

    /// Compares the cluster with what Millpond relies on.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the cluster does not say.
    pub async fn check(&self, topics: &Topics) -> Result<Report, Error> {
        check::check(&self.0, topics).await
    }

    /// The mutations log.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: no broker answers, or the topic is missing.
    pub async fn mutations(&self, generation: Generation) -> Result<crate::Log, Error> {
        let found = self.find(Purpose::Mutations, generation).await?;
        Ok(crate::Log::Kafka(Log::open(&self.0, found, true)))
    }

    /// The control topic.
    ///
    /// # Errors
    /// As [`Cluster::mutations`].
    pub async fn control(&self) -> Result<crate::Log, Error> {
        let found = self.find(Purpose::Control, Generation::FIRST).await?;
        Ok(crate::Log::Kafka(Log::open(&self.0, found, true)))
    }

    /// Where outcomes are published.
    ///
    /// # Errors
    /// As [`Cluster::mutations`].
    pub async fn outcomes(&self) -> Result<crate::Outcomes, Error> {
        let found = self.find(Purpose::Outcomes, Generation::FIRST).await?;
        Ok(crate::Outcomes::Kafka(Outcomes::open(&self.0, found)))
    }

    /// Where records of this generation go that can never apply.
    ///
    /// # Errors
    /// As [`Cluster::mutations`].
    pub async fn dead_letters(&self, generation: Generation) -> Result<DeadLetters, Error> {
        let found = self.find(Purpose::DeadLetters, Generation::FIRST).await?;
        let source = Purpose::Mutations.topic(&self.0.prefix, generation);
        Ok(DeadLetters::open(Log::open(&self.0, found, false), source))
    }

    /// Joins the group `<prefix>.<group>`, which shares out the partitions of the mutations log.
    pub fn membership(&self, group: &str, generation: Generation) -> Membership {
        Membership::join(&self.0, group, &Purpose::Mutations.topic(&self.0.prefix, generation))
    }

    async fn find(&self, purpose: Purpose, generation: Generation) -> Result<Found, Error> {
        let topic = purpose.topic(&self.0.prefix, generation);
        let metadata = admin::metadata(&self.0, vec![topic.clone()]).await?;
        let missing =
            Error::Unavailable { reason: "its topic is missing: run `millpond init`", source: None };
        let described = metadata.topics.get(&topic).ok_or(missing)?;
        let settings = admin::settings(&self.0, vec![topic.clone()], None).await?;
        let limit = settings.first().and_then(|resource| resource.get("max.message.bytes"));
        let limit = limit.and_then(|entry| entry.value.as_ref()?.parse().ok());
        let unknown = Error::Unavailable { reason: "its topic hides `max.message.bytes`", source: None };
        let message_bytes_max = limit.ok_or(unknown)?;
        let ends = Arc::new(Ends::start(&self.0, &topic));
        // All are asked before the first is awaited: it is one question to the cluster.
        let asked: Vec<_> =
            (0..described.partitions).map(|at| ends.asked(PartitionId(at), Edge::Start)).collect();
        let mut known_ends = Vec::with_capacity(asked.len());
        for asked in asked {
            known_ends.push(AtomicI64::new(asked.await?.end.0));
        }
        let known_ends = known_ends.into();
        Ok(Found { topic, message_bytes_max, known_ends, ends })
    }
}
