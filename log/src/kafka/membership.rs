//! Membership: which partitions of the mutations log the consumer group gives this process.
//!
//! It says who should try; safety is the claim's. Nothing is fetched here. Invariant: what is revoked is gone from the
//! set before the group gives it to another member.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Mutex, time::Duration};

use millpond_schemas::PartitionId;
use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    bindings::rd_kafka_resp_err_t as ResponseError,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::watch;

use super::{
    config::Config,
    context::Context,
    worker::{Stopping, Worker},
};
use crate::Error;

/// How long one poll waits: a member that leaves takes no longer.
const POLL: Duration = Duration::from_millis(50);
/// Between two tries to join.
const AGAIN: Duration = Duration::from_secs(1);

/// A member of a group.
pub struct Membership {
    assigned: watch::Receiver<BTreeSet<PartitionId>>,
    /// Whether it should be one.
    attends: watch::Sender<bool>,
    worker: Mutex<Worker>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Membership").field(&*self.assigned.borrow()).finish()
    }
}

impl Membership {
    pub(super) fn join(config: &Config, group: &str, topic: &str) -> Self {
        let (sender, assigned) = watch::channel(BTreeSet::new());
        let (attends, attending) = watch::channel(true);
        let (config, topic) = (config.member(group), topic.to_owned());
        let member = Member { config, topic, assigned: sender, attends: attending };
        let worker = Worker::start("kafka-member", move |stopping| member.run(&stopping));
        Self { assigned, attends, worker: Mutex::new(worker) }
    }

    /// What this member is assigned, as it changes. Empty while it cannot reach the group.
    pub fn assigned(&self) -> watch::Receiver<BTreeSet<PartitionId>> {
        self.assigned.clone()
    }

    /// Leaves the group until [`Membership::come_back`]: others get this member's partitions at once.
    pub fn stand_aside(&self) {
        self.attends.send_replace(false);
    }

    /// Is a member again after [`Membership::stand_aside`].
    pub fn come_back(&self) {
        self.attends.send_replace(true);
    }

    /// Whether it should be a member, as it changes.
    pub fn attends(&self) -> watch::Receiver<bool> {
        self.attends.subscribe()
    }

    /// Leaves the group, which gives this member's partitions to others at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the runtime stops; the drop leaves.
    pub async fn leave(self) -> Result<(), Error> {
        let leaving = tokio::task::spawn_blocking(move || {
            self.worker.lock().expect("stopping does not panic twice").stop();
        });
        leaving.await.map_err(|stopping| Error::unavailable("its runtime stops", stopping))
    }
}

struct Member {
    config: ClientConfig,
    topic: String,
    assigned: watch::Sender<BTreeSet<PartitionId>>,
    attends: watch::Receiver<bool>,
}

impl Member {
    fn run(self, stopping: &Stopping) {
        while !stopping.is_set() {
            if !*self.attends.borrow() {
                stopping.pause(POLL);
                continue;
            }
            let attended = self.attend(stopping);
            self.assigned.send_replace(BTreeSet::new());
            if let Err(error) = attended {
                tracing::warn!(%error, "the group cannot be joined; trying again");
                stopping.pause(AGAIN);
            }
        }
    }

    /// Stays a member until it should not be one, or its consumer has died.
    fn attend(&self, stopping: &Stopping) -> Result<(), KafkaError> {
        let roll = Roll { context: Context::new(None), assigned: self.assigned.clone() };
        let consumer: BaseConsumer<Roll> = self.config.create_with_context(roll)?;
        consumer.subscribe(&[&self.topic])?;
        while !stopping.is_set() && *self.attends.borrow() {
            match consumer.poll(POLL) {
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => told(&error),
                // Fetched before it was paused.
                Some(Ok(_)) | None => {}
            }
        }
        Ok(())
    }
}

/// Keeps the set while partitions come and go.
struct Roll {
    context: Context,
    assigned: watch::Sender<BTreeSet<PartitionId>>,
}

impl ClientContext for Roll {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Roll {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: ResponseError, list: &mut TopicPartitionList) {
        let partitions: Vec<_> =
            list.elements().iter().map(|element| PartitionId(element.partition().unsigned_abs())).collect();
        let lost = consumer.assignment_lost();
        tracing::info!(?what, ?partitions, lost, "the group assigns anew");
        let done = if what == ResponseError::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // From the end and paused: nothing is to be fetched.
            let assigned = list
                .set_all_offsets(rdkafka::Offset::End)
                .and_then(|()| consumer.incremental_assign(list))
                .and_then(|()| consumer.pause(list));
            self.assigned.send_modify(|set| set.extend(&partitions));
            assigned
        } else {
            self.assigned.send_modify(|set| set.retain(|partition| !partitions.contains(partition)));
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the group's assignment could not be followed");
        }
    }
}

/// A broker that is away comes back; what else there is, such as a missing right, somebody has to mend.
fn told(error: &KafkaError) {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut,
        ) => tracing::debug!(%error, "the group's consumer met an error"),
        _ => tracing::warn!(%error, "the group's consumer met an error"),
    }
}
