//! Kafka-native producing: records straight to the mutations topic, encoded ahead, in the plain form.
//!
//! Invariant: a call is over when all of its records are acked.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use millpond_log::{
    Append, Error, Log,
    kafka::{Cluster, Config},
};
use millpond_schemas::{Generation, Raw, RecordKey, Tenant};

use super::{
    plan::{self, Lane, Shape},
    slot::{Called, Verdict},
    workload::Kind,
};
use crate::keys::Keys;

/// Bytes of records that may wait for their ack.
const QUEUE_BYTES_MAX: usize = 256 << 20;

/// Batches of records, and the log that takes them.
#[derive(Clone)]
pub(super) struct Producer {
    log: Log,
    batches: Arc<[Vec<Append>]>,
}

/// Opens the mutations topic.
pub(super) async fn open(brokers: &str, prefix: &str) -> Result<Log> {
    let config = Config { queue_bytes_max: QUEUE_BYTES_MAX, ..Config::new(brokers, prefix) };
    let cluster = Cluster::connect(config).context("configure librdkafka")?;
    cluster.mutations(Generation::FIRST).await.context("open the mutations topic")
}

impl Producer {
    /// Encodes so many batches; fewer where they would take too much memory.
    pub(super) fn make(log: &Log, shape: &Shape, lane: Lane, calls: usize) -> Result<Self> {
        let tenant = Tenant::new("default")?;
        let mut keys = Keys::skewed(shape.distribution, shape.keys, shape.theta, shape.seed + lane.number);
        let values = shape.values();
        let mut append = || {
            let key = RecordKey::new(&tenant, plan::key(keys.next()).as_bytes())?;
            let value: &Bytes = &values[usize::try_from(keys.number(0..values.len() as u64))?];
            let raw = Raw { key: Some(key.bytes().clone()), headers: Vec::new(), value: Some(value.clone()) };
            Ok(Append { partition: key.partition(log.partitions()), raw })
        };
        let calls = calls.clamp(1, (shape.calls_max() / usize::try_from(lane.of)?).max(1));
        let mut batch = || (0..shape.batch).map(|_| append()).collect::<Result<Vec<Append>>>();
        let batches = (0..calls).map(|_| batch()).collect::<Result<_>>()?;
        Ok(Self { log: log.clone(), batches })
    }

    /// How many different batches there are.
    pub(super) fn batches(&self) -> usize {
        self.batches.len()
    }

    pub(super) async fn call(&self, number: u64) -> Called {
        let index = number % self.batches.len() as u64;
        let batch = &self.batches[usize::try_from(index).expect("it is below the number of batches")];
        let verdict = match self.append(batch).await {
            Ok(()) => Verdict::Good,
            Err(error) => Verdict::Failed(format!("a batch of records: {error}")),
        };
        Called { kind: Kind::Native, operations: batch.len() as u64, verdict }
    }

    async fn append(&self, batch: &[Append]) -> Result<(), Error> {
        self.log.append(batch.to_vec()).await.map(drop)
    }
}
