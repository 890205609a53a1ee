//! Clients that do not believe what they are told: after every *applied* they look into the shard.
//!
//! Only where no failover happens: one may un-apply for a moment. Invariant: there is one for each partition, so that most
//! flushes hold a write of one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use millpond_schemas::{PartitionId, Position};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    deployment::Deployment,
    history::{Door, Event, Intent, Op, Recorder, WriteResult},
    http::Http,
};

/// The first number of these clients.
const CLIENTS_FROM: u64 = 3_000_000;

/// Clients at work.
pub(super) struct Witnesses {
    stop: CancellationToken,
    running: JoinSet<Result<Vec<String>>>,
    looks: Arc<AtomicU64>,
}

struct Witness {
    client: u64,
    http: Http,
    key: String,
    shard: millpond_shard::Shard,
    recorder: Recorder,
}

impl Witnesses {
    pub(super) fn start(context: &Context, deployment: &Deployment) -> Result<Self> {
        let (stop, looks, mut running) = (CancellationToken::new(), Arc::default(), JoinSet::new());
        for (client, key) in (CLIENTS_FROM..).zip(deployment.keys("witness-")) {
            let shard = deployment.open(deployment.shard_of(deployment.partition(&key)))?;
            let (http, recorder) = (deployment.api(0).clone(), context.recorder().clone());
            let witness = Witness { client, http, key, shard, recorder };
            running.spawn(witness.run(stop.clone(), Arc::clone(&looks)));
        }
        Ok(Self { stop, running, looks })
    }

    /// What they saw is the report's.
    pub(super) async fn stop(mut self, context: &Context) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            for lie in ended.context("a witness panicked")?? {
                context.violation(lie);
            }
        }
        context.figure(
            "witnessed",
            format!("{} writes that were called applied", self.looks.load(Ordering::Relaxed)),
        );
        Ok(())
    }
}

impl Witness {
    async fn run(self, stop: CancellationToken, looks: Arc<AtomicU64>) -> Result<Vec<String>> {
        let mut lies = Vec::new();
        for number in 0u64.. {
            if stop.is_cancelled() {
                break;
            }
            if let Some(position) = self.write(number).await {
                looks.fetch_add(1, Ordering::Relaxed);
                lies.extend(self.lie(position).await?);
            }
        }
        self.shard.close().await;
        Ok(lies)
    }

    /// Where the write is, when it is said to be applied.
    async fn write(&self, number: u64) -> Option<Position> {
        let value = format!("w{}-{number}", self.client);
        let intent = Intent::put(self.key.as_str(), value.clone());
        let start_us = self.recorder.now_us();
        let put = self.http.put(&format!("/kv/{}", self.key), value).header("prefer", "wait=10");
        let answer = put.send().await;
        let (end_us, result) = (self.recorder.now_us(), WriteResult::of_answer(answer.as_ref()));
        let (client, door) = (self.client, Door::Http);
        self.recorder.record(&Event::Op(Op {
            client,
            session: None,
            door,
            intent,
            start_us,
            end_us,
            result,
        }));
        let answer = answer.ok().filter(|answer| answer.status == 200)?;
        answer.header("kv-position").parse().ok()
    }

    async fn lie(&self, position: Position) -> Result<Option<String>> {
        let partition: PartitionId = position.partition;
        // A reader's connection may have been cut, too.
        let watermark = match self.shard.read_watermarks(vec![partition]).await {
            Ok(watermarks) => watermarks.into_iter().next(),
            Err(_) => return Ok(None),
        };
        let applied = watermark.context("the partition has a copy")?.applied;
        let is_lie = applied < position.offset;
        Ok(is_lie.then(|| format!("{position} was called applied, and the shard has only {applied}")))
    }
}
