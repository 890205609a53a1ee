//! Outcomes through a topic: what writers publish and every api hears.
//!
//! Not here: what is in them. Invariant: a subscriber's place is fixed before [`Outcomes::subscribe`] returns; from
//! there it hears each partition's ranges in order, or that it missed some.

mod listener;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use millpond_schemas::{OutcomeRange, PartitionId, Raw};
use tokio::sync::mpsc;

use self::listener::Listener;
use super::{
    cluster::Found,
    config::Config,
    context::Identity,
    ends::Edge,
    producer::{Producer, Target},
    standing::Standing,
    worker::Worker,
};
use crate::{Append, Error, Heard, OUTCOME_RANGES_MAX};

/// The topic of outcomes. A clone is the same one.
#[derive(Clone)]
pub struct Outcomes(Arc<Topic>);

struct Topic {
    config: Arc<Config>,
    found: Found,
    producer: OnceLock<Producer>,
}

/// One subscriber. Dropping it ends its thread.
#[derive(Debug)]
pub struct Subscription {
    heard: mpsc::Receiver<Heard>,
    _listener: Worker,
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outcomes").field(&self.0.found.topic).finish()
    }
}

impl Outcomes {
    pub(super) fn open(config: &Arc<Config>, found: Found) -> Self {
        Self(Arc::new(Topic { config: Arc::clone(config), found, producer: OnceLock::new() }))
    }

    fn producer(&self) -> &Producer {
        let Topic { config, found, producer } = &*self.0;
        producer.get_or_init(|| {
            let identity = Identity::new(&found.topic);
            let target = Target {
                standing: Arc::new(Standing::start(config, Arc::clone(&identity))),
                identity,
                message_bytes_max: found.message_bytes_max,
                known_ends: Arc::clone(&found.known_ends),
                pinned: false,
                compression: Some("lz4"),
                meters: Arc::default(),
            };
            Producer::start(config, target)
        })
    }

    /// As [`crate::Outcomes::publish`].
    pub(crate) fn publish(&self, range: &OutcomeRange) {
        let count = self.0.found.known_ends.len();
        let slot = range.partition.0 as usize % count;
        let partition = PartitionId(u32::try_from(slot).expect("PARTITIONS_MAX is far below"));
        let key = Some(Bytes::from(range.partition.to_string()));
        let raw = Raw { key, headers: Vec::new(), value: Some(range.encode()) };
        if let Err(error) = self.producer().enqueue(&[Append { partition, raw }]) {
            // Who waits for it finds the hole, and asks the shard.
            tracing::debug!(%error, partition = %range.partition, "a range of outcomes was not published");
        }
    }

    /// As [`crate::Outcomes::subscribe`].
    pub(crate) async fn subscribe(&self) -> Result<Subscription, Error> {
        let Topic { config, found, .. } = &*self.0;
        let partitions = u32::try_from(found.known_ends.len()).expect("PARTITIONS_MAX is far below");
        let asked: Vec<_> =
            (0..partitions).map(|at| found.ends.asked(PartitionId(at), Edge::Start)).collect();
        let mut next = Vec::with_capacity(asked.len());
        for asked in asked {
            next.push(asked.await?.end);
        }
        let (tell, heard) = mpsc::channel(OUTCOME_RANGES_MAX);
        let listener = Listener::new(config, &found.topic, next, tell);
        let listener = Worker::start("kafka-outcomes", move |stopping| listener.run(&stopping));
        Ok(Subscription { heard, _listener: listener })
    }
}

impl Subscription {
    /// As [`crate::Subscription::next`].
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }
}
