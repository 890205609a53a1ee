//! Asking and changing the cluster: metadata, settings, new topics, trims.
//!
//! librdkafka's calls block, so each runs on a thread that may. Invariant: nothing here holds up an async thread.

use std::{collections::HashMap, time::Duration};

use millpond_schemas::Offset;
use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{config::Config, context::Context};
use crate::Error;

/// How long the cluster may take for anything.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A topic as the cluster describes it.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) partitions: u32,
    /// The lowest number of replicas of its partitions.
    pub(super) replicas: usize,
}

/// All topics, and any broker.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) topics: HashMap<String, Described>,
    pub(super) broker: Option<i32>,
}

/// A topic to make.
#[derive(Clone, Debug)]
pub(super) struct Make {
    pub(super) topic: String,
    pub(super) partitions: u32,
    pub(super) replication: i32,
    pub(super) settings: Vec<(&'static str, String)>,
}

type Client = AdminClient<Context>;

async fn run<T: Send + 'static>(
    config: &Config,
    reason: &'static str,
    work: impl FnOnce(&Client, &Handle) -> KafkaResult<T> + Send + 'static,
) -> Result<T, Error> {
    let (config, runtime) = (config.client(), Handle::current());
    let done = spawn_blocking(move || {
        let client: Client = config.create_with_context(Context::new(None))?;
        work(&client, &runtime)
    });
    match done.await {
        Ok(done) => done.map_err(|error| Error::unavailable(reason, error)),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(stopping) => Err(Error::unavailable("its runtime stops", stopping)),
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

/// Describes these topics, as far as they are there.
pub(super) async fn metadata(config: &Config, topics: Vec<String>) -> Result<Metadata, Error> {
    run(config, "the cluster does not say what topics it has", move |client, _| {
        let mut found = Metadata { topics: HashMap::new(), broker: None };
        for topic in topics {
            // One at a time: a cluster may have very many.
            let metadata = client.inner().fetch_metadata(Some(&topic), TIMEOUT)?;
            found.broker = metadata.brokers().first().map(rdkafka::metadata::MetadataBroker::id);
            let Some(described) = metadata.topics().iter().find(|described| described.name() == topic) else {
                continue;
            };
            match described.error().map(RDKafkaErrorCode::from) {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => continue,
                Some(error) => return Err(KafkaError::MetadataFetch(error)),
                None => {}
            }
            let replicas = described.partitions().iter().map(|partition| partition.replicas().len()).min();
            let partitions = u32::try_from(described.partitions().len()).unwrap_or(u32::MAX);
            let described = Described { partitions, replicas: replicas.unwrap_or(0) };
            found.topics.insert(topic, described);
        }
        Ok(found)
    })
    .await
}

/// The settings of topics and of a broker, in this order.
pub(super) async fn settings(
    config: &Config,
    topics: Vec<String>,
    broker: Option<i32>,
) -> Result<Vec<ConfigResource>, Error> {
    run(config, "the cluster does not say how topics are set", move |client, runtime| {
        let topics = topics.iter().map(|topic| ResourceSpecifier::Topic(topic));
        let wanted: Vec<_> = topics.chain(broker.map(ResourceSpecifier::Broker)).collect();
        let described = runtime.block_on(client.describe_configs(&wanted, &options()))?;
        described.into_iter().map(|one| one.map_err(KafkaError::AdminOp)).collect()
    })
    .await
}

/// Makes topics; those that are there already are left as they are.
pub(super) async fn make(config: &Config, topics: Vec<Make>) -> Result<(), Error> {
    run(config, "a topic could not be made", move |client, runtime| {
        let new = topics.iter().map(|make| {
            let replication = TopicReplication::Fixed(make.replication);
            let partitions = i32::try_from(make.partitions).expect("PARTITIONS_MAX is far below");
            let new = NewTopic::new(&make.topic, partitions, replication);
            make.settings.iter().fold(new, |new, (name, value)| new.set(name, value))
        });
        let new: Vec<_> = new.collect();
        for made in runtime.block_on(client.create_topics(&new, &options()))? {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, error)) => {
                    tracing::error!(topic, %error, "a topic could not be made");
                    return Err(KafkaError::AdminOp(error));
                }
            }
        }
        Ok(())
    })
    .await
}

/// Lets the brokers drop what lies below these offsets, one per partition.
pub(super) async fn trim(config: &Config, topic: String, floors: Vec<Offset>) -> Result<(), Error> {
    run(config, "it could not be trimmed", move |client, runtime| {
        let mut list = TopicPartitionList::with_capacity(floors.len());
        for (partition, floor) in (0..).zip(floors).filter(|(_, floor)| floor.0 > 0) {
            list.add_partition_offset(&topic, partition, rdkafka::Offset::Offset(floor.0))?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        let trimmed = runtime.block_on(client.delete_records(&list, &options()))?;
        trimmed.elements().iter().try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)
    })
    .await
}
