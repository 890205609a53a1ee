//! How far each partition's copy is behind its log, asked of the log and of the primaries.
//!
//! Invariant: a shard that does not answer hides the lag of its own partitions only.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use millpond_schemas::{Offset, PartitionId};

use crate::{deployment::Deployment, settings::Settings};

/// One partition.
#[derive(Clone, Debug)]
pub struct Lag {
    /// Which.
    pub partition: PartitionId,
    /// The name of the shard that serves it.
    pub shard: String,
    /// The first offset that can be read.
    pub start: Offset,
    /// The next offset to be issued.
    pub end: Offset,
    /// The watermark, or why it cannot be told.
    pub applied: Result<Offset, String>,
    /// Since when the first record that is not applied has waited; zero when there is none.
    pub behind_for: Option<Duration>,
}

impl Lag {
    /// Offsets between the watermark and the end.
    pub fn records(&self) -> Option<i64> {
        self.applied.as_ref().ok().map(|applied| (self.end.0 - applied.next().0).max(0))
    }
}

/// Every partition's, in order.
pub async fn read(settings: &Settings) -> Result<Vec<Lag>> {
    let (deployment, _background) = Deployment::connect(settings, "lag").await?;
    let lags = of(&deployment).await;
    deployment.close().await;
    lags
}

async fn of(deployment: &Deployment) -> Result<Vec<Lag>> {
    let topology = deployment.topology.borrow().clone();
    let mut applied: HashMap<PartitionId, Result<Offset, String>> = HashMap::new();
    for (index, router) in deployment.shards.iter().enumerate() {
        let partitions: Vec<PartitionId> = topology.partitions_of(index).collect();
        match router.primary().read_watermarks(partitions.clone()).await {
            Ok(watermarks) => {
                applied.extend(partitions.into_iter().map(|partition| (partition, Ok(Offset::NONE))));
                applied.extend(watermarks.into_iter().map(|mark| (mark.partition, Ok(mark.applied))));
            }
            Err(error) => {
                let why = format!("{:#}", anyhow::Error::new(error));
                applied.extend(partitions.into_iter().map(|partition| (partition, Err(why.clone()))));
            }
        }
    }
    let mut lags = Vec::new();
    for partition in (0..topology.partitions()).map(PartitionId) {
        let bounds = deployment.log.bounds(partition).await.context("read the log's bounds")?;
        let shard = topology.shard_of(partition).and_then(|index| topology.shards.get(index));
        let mut lag = Lag {
            partition,
            shard: shard.map(|shard| shard.name.clone()).unwrap_or_default(),
            start: bounds.start,
            end: bounds.end,
            applied: applied.remove(&partition).unwrap_or_else(|| Err("no shard serves it".to_owned())),
            behind_for: None,
        };
        lag.behind_for = behind_for(deployment, &lag).await;
        lags.push(lag);
    }
    Ok(lags)
}

async fn behind_for(deployment: &Deployment, lag: &Lag) -> Option<Duration> {
    if lag.records()? == 0 {
        return Some(Duration::ZERO);
    }
    let first = lag.applied.as_ref().ok()?.next().max(lag.start);
    let record = deployment.log.record(lag.partition, first).await.ok()??;
    Some(Duration::from_millis(deployment.clock.now().ms_since(record.time)))
}
