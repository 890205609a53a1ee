//! Outcomes on their way from writers to apis.
//!
//! Embedded they pass through memory, else through a topic: shards keep what must last. Not here: waiters, and what an outcome means.
//! Invariant: a subscriber gets every range in the order of publishing, or is told that it missed some.

use std::sync::Arc;

use millpond_schemas::OutcomeRange;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{Error, kafka};

/// How many ranges wait for a subscriber before it misses the oldest.
pub const OUTCOME_RANGES_MAX: usize = 4096;

/// Where outcomes are published. A clone is the same place.
#[derive(Clone, Debug)]
pub enum Outcomes {
    /// In this process.
    Memory(broadcast::Sender<Arc<OutcomeRange>>),
    /// Through a topic.
    Kafka(kafka::Outcomes),
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// What one flush applied in one partition, or a piece of it.
    Range(Arc<OutcomeRange>),
    /// It fell behind: this many ranges, of whichever partitions, will not come. Read them from the shards.
    Missed(u64),
}

/// One subscriber.
#[derive(Debug)]
pub enum Subscription {
    /// In this process.
    Memory(broadcast::Receiver<Arc<OutcomeRange>>),
    /// Through a topic.
    Kafka(kafka::Subscription),
}

impl Outcomes {
    /// Outcomes that pass through memory.
    pub fn memory() -> Self {
        Self::Memory(broadcast::Sender::new(OUTCOME_RANGES_MAX))
    }

    /// Publishes a range whose transaction is committed. Never waits.
    pub fn publish(&self, range: Arc<OutcomeRange>) {
        match self {
            Self::Memory(sender) => {
                // Nobody listens: nobody waits for it.
                let _unheard = sender.send(range);
            }
            Self::Kafka(topic) => topic.publish(&range),
        }
    }

    /// Hears what is published from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: try again.
    pub async fn subscribe(&self) -> Result<Subscription, Error> {
        match self {
            Self::Memory(sender) => Ok(Subscription::Memory(sender.subscribe())),
            Self::Kafka(topic) => Ok(Subscription::Kafka(topic.subscribe().await?)),
        }
    }
}

impl Subscription {
    /// Waits for what comes next; none when every [`Outcomes`] is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Heard> {
        match self {
            Self::Memory(receiver) => match receiver.recv().await {
                Ok(range) => Some(Heard::Range(range)),
                Err(RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
                Err(RecvError::Closed) => None,
            },
            Self::Kafka(listener) => listener.next().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{Generation, Offset, PartitionId, UnixMillis};

    use super::*;

    fn range(from: i64) -> Arc<OutcomeRange> {
        Arc::new(OutcomeRange {
            generation: Generation::FIRST,
            partition: PartitionId(0),
            from: Offset(from),
            to: Offset(from),
            time: UnixMillis::EPOCH,
            exceptions: Vec::new(),
            expired: Vec::new(),
        })
    }

    #[tokio::test]
    async fn a_subscriber_hears_in_order_what_is_published_after_it_came() {
        let outcomes = Outcomes::memory();
        outcomes.publish(range(0));
        let mut subscription = outcomes.subscribe().await.unwrap();
        outcomes.publish(range(1));
        outcomes.publish(range(2));
        drop(outcomes);
        assert_eq!(subscription.next().await, Some(Heard::Range(range(1))));
        assert_eq!(subscription.next().await, Some(Heard::Range(range(2))));
        assert_eq!(subscription.next().await, None);
    }

    #[tokio::test]
    async fn a_subscriber_that_falls_behind_is_told_and_goes_on() {
        let outcomes = Outcomes::memory();
        let mut subscription = outcomes.subscribe().await.unwrap();
        let published = i64::try_from(OUTCOME_RANGES_MAX).unwrap() + 3;
        (0..published).for_each(|from| outcomes.publish(range(from)));
        assert_eq!(subscription.next().await, Some(Heard::Missed(3)));
        assert_eq!(subscription.next().await, Some(Heard::Range(range(3))));
    }
}
