//! Topics as an operator sees them: made, set, deleted, counted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    metadata::MetadataPartition,
};
use tokio::runtime::{Builder, Handle};

/// How long the broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one broker may take to say who leads what: another one may know.
const ASK_WITHIN: Duration = Duration::from_secs(6);

/// A client of one broker.
pub struct Topics {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Topics {
    /// Of the broker at `host:port`.
    pub fn connect(brokers: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        // One that stands still is left for another one.
        config.set("bootstrap.servers", brokers).set("socket.timeout.ms", "5000");
        let admin = config.create()?;
        Ok(Self { brokers: brokers.to_owned(), admin })
    }

    /// Makes a topic with settings.
    pub async fn make(&self, topic: &str, partitions: u32, settings: &[(&str, &str)]) -> Result<()> {
        let new = NewTopic::new(topic, i32::try_from(partitions)?, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        for made in self.admin.create_topics([&new], &options()).await? {
            made.map_err(|(topic, error)| anyhow::anyhow!("make {topic}: {error}"))?;
        }
        Ok(())
    }

    /// Deletes a topic.
    pub async fn delete(&self, topic: &str) -> Result<()> {
        self.delete_these(&[topic]).await
    }

    /// Replaces all settings of a topic.
    pub async fn set(&self, topic: &str, settings: &[(&str, &str)]) -> Result<()> {
        let alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let alter = settings.iter().fold(alter, |alter, (name, value)| alter.set(name, value));
        for altered in self.admin.alter_configs([&alter], &options()).await? {
            altered.map_err(|(_, error)| anyhow::anyhow!("set {topic}: {error}"))?;
        }
        Ok(())
    }

    /// The settings of a topic that were set for it.
    pub async fn settings(&self, topic: &str) -> Result<Vec<(String, String)>> {
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await?;
        let described = described.into_iter().next().context("one topic was asked for")??;
        let own = described.entries.into_iter().filter(|entry| !entry.is_default);
        Ok(own.filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }

    /// First and next offset of a partition: markers and open transactions included.
    pub fn bounds(&self, topic: &str, partition: u32) -> Result<(i64, i64)> {
        Ok(self.admin.inner().fetch_watermarks(topic, i32::try_from(partition)?, PATIENCE)?)
    }

    /// Deletes the records of a partition before an offset.
    pub async fn trim(&self, topic: &str, partition: u32, before: i64) -> Result<()> {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, i32::try_from(partition)?, Offset::Offset(before))?;
        for element in self.admin.delete_records(&offsets, &options()).await?.elements() {
            element.error().with_context(|| format!("trim partition {partition} of {topic}"))?;
        }
        Ok(())
    }

    /// The first record of a partition whose time is at or after this, ms; none: all are older.
    pub fn since(&self, topic: &str, partition: u32, at_ms: i64) -> Result<Option<i64>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "test");
        let consumer: BaseConsumer = config.create()?;
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, i32::try_from(partition)?, Offset::Offset(at_ms))?;
        let found = consumer.offsets_for_times(wanted, PATIENCE)?;
        let found =
            found.elements().first().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset);
        Ok(found.and_then(|offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None }))
    }

    /// The last of the records of a partition that follow this one and are all at or after this time, ms.
    pub fn last_since(&self, topic: &str, partition: u32, (from, at_ms): (i64, i64)) -> Result<i64> {
        let (_, end) = self.bounds(topic, partition)?;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "test");
        let consumer: BaseConsumer = config.create()?;
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, i32::try_from(partition)?, Offset::Offset(from))?;
        consumer.assign(&place)?;
        let mut last = from;
        while last + 1 < end {
            let record = consumer.poll(PATIENCE).context("a record comes")??;
            if record.timestamp().to_millis().is_some_and(|time| time < at_ms) {
                break;
            }
            last = record.offset();
        }
        Ok(last)
    }

    /// Who leads each partition of a topic, by a broker's id; -1: nobody.
    pub fn leaders(&self, topic: &str) -> Result<Vec<i32>> {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), ASK_WITHIN)?;
        let topic = metadata.topics().first().context("one topic was asked for")?;
        Ok(topic.partitions().iter().map(MetadataPartition::leader).collect())
    }

    /// Who leads a partition.
    pub fn leader(&self, topic: &str, partition: u32) -> Result<i32> {
        let leaders = self.leaders(topic)?;
        leaders.get(partition as usize).copied().context("the topic has the partition")
    }

    /// How many brokers have all of each partition.
    pub fn in_sync(&self, topic: &str) -> Result<Vec<usize>> {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), ASK_WITHIN)?;
        let topic = metadata.topics().first().context("one topic was asked for")?;
        Ok(topic.partitions().iter().map(|partition| partition.isr().len()).collect())
    }

    /// The names of the topics that begin so.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let metadata = self.admin.inner().fetch_metadata(None, PATIENCE)?;
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        Ok(names.filter(|name| name.starts_with(prefix)).collect())
    }

    /// Deletes every topic that begins so, from wherever this is called.
    pub fn delete_all(&self, prefix: &str) -> Result<()> {
        let names = self.names(prefix)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(());
        }
        std::thread::scope(|scope| {
            let deleting = scope.spawn(|| {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.delete_these(&names))
            });
            deleting.join().map_err(|_| anyhow::anyhow!("deleting panicked"))?
        })
    }

    async fn delete_these(&self, topics: &[&str]) -> Result<()> {
        ensure!(Handle::try_current().is_ok(), "it is called in a runtime");
        for deleted in self.admin.delete_topics(topics, &options()).await? {
            deleted.map_err(|(topic, error)| anyhow::anyhow!("delete {topic}: {error}"))?;
        }
        Ok(())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
