//! The end of a drill, once everything is whole again: writes go on, nothing lags, and the history is checked.

use anyhow::{Context as _, Result};

use super::Context;
use crate::{
    deployment::Deployment,
    history::{self, Door, Event, Intent, Lag, Op, WriteResult},
    roles::Kind,
};

/// The first number of those who write after healing: a client for each api.
const CLIENTS_FROM: u64 = 2_000_000;

impl Context {
    /// Waits until every api has a new write of every partition applied, and all is applied (I10); then adds log and
    /// copies to the history, and has it checked.
    pub async fn settle(&self, deployment: &Deployment) -> Result<()> {
        let mut acked = 0;
        for api in 0..deployment.count(Kind::Api) {
            for key in deployment.keys("settled-") {
                acked += self.write_goes_on(deployment, api, &key).await?;
            }
        }
        // A sweeper may append at any moment, so it is one look that must find nothing behind.
        let mut records = Vec::new();
        let settled = deployment.until("no partition is behind its log", async || {
            records = lags(deployment)?;
            Ok(records.iter().all(|lag| *lag == 0))
        });
        let settled = settled.await;
        let lag = Lag { at_us: self.recorder().now_us(), records, acked };
        self.recorder().record(&Event::Lag(lag));
        settled?;
        self.deadlocks(deployment)?;
        history::collect::deployment(deployment, self.recorder()).await.context("collect")?;
        self.check().await
    }

    async fn write_goes_on(&self, deployment: &Deployment, api: usize, key: &str) -> Result<u64> {
        let mut tries = 0;
        let client = CLIENTS_FROM + u64::try_from(api)?;
        let applied = async || {
            tries += 1;
            let intent = Intent::put(key, format!("settled-{api}-{tries}"));
            let start_us = self.recorder().now_us();
            let put = deployment.api(api).put(&format!("/kv/{key}"), format!("settled-{api}-{tries}"));
            let answer = put.header("prefer", "wait=10").send().await;
            let result = WriteResult::of_answer(answer.as_ref());
            let end_us = self.recorder().now_us();
            let door = Door::Http;
            let op = Op { client, session: None, door, intent, start_us, end_us, result };
            self.recorder().record(&Event::Op(op));
            Ok(answer?.status == 200)
        };
        deployment.until(&format!("a write of {key} through api {api} is applied"), applied).await?;
        Ok(1)
    }
}

/// Waits until one look finds nothing behind its log.
pub(super) async fn until_nothing_lags(deployment: &Deployment) -> Result<()> {
    let none = async || Ok(lags(deployment)?.iter().all(|lag| *lag == 0));
    deployment.until("no partition is behind its log", none).await
}

/// Records that each partition's serving copy lacks.
fn lags(deployment: &Deployment) -> Result<Vec<u64>> {
    let topics = deployment.topics()?;
    let lag = |partition| {
        let (_, end) = topics.bounds(&deployment.topic(), partition)?;
        Ok(u64::try_from(end - 1 - deployment.applied(partition)?).unwrap_or(0))
    };
    (0..deployment.partitions()).map(lag).collect()
}
