//! Clients that put without a condition, whatever is broken behind the log: each put has to be accepted.
//!
//! Not the workload, whose clients try again. Invariant: one put after the other through each api, never sent twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Context,
    calls::{Caller, code},
};
use crate::{
    deployment::{Deployment, PATIENCE},
    history::{Intent, Told, WriteResult, Written},
    process::until_async,
    roles::Kind,
};

/// The first number of these clients: one for each api.
const CLIENTS_FROM: u64 = 4_000_000;
/// Between two puts of a client.
const EVERY: Duration = Duration::from_millis(50);
/// Keys of each client.
const KEYS: u64 = 50;

/// Clients at work.
pub(super) struct Steady {
    stop: CancellationToken,
    running: JoinSet<Vec<Put>>,
    accepted: Arc<AtomicU64>,
}

/// How a put ended that was not accepted, and how long every one took.
struct Put {
    took: Duration,
    refused: Option<String>,
}

impl Steady {
    pub(super) fn start(context: &Context, deployment: &Deployment) -> Self {
        let (stop, accepted, mut running) = (CancellationToken::new(), Arc::default(), JoinSet::new());
        for (client, api) in (CLIENTS_FROM..).zip(0..deployment.count(Kind::Api)) {
            let (recorder, address) = (context.recorder().clone(), deployment.address_of_api(api));
            let caller = Caller { recorder, address, client };
            running.spawn(puts(caller, stop.clone(), Arc::clone(&accepted)));
        }
        Self { stop, running, accepted }
    }

    /// Waits until so many more puts were accepted.
    pub(super) async fn more(&self, count: u64) -> Result<()> {
        let wanted = self.accepted.load(Ordering::Relaxed) + count;
        let enough = until_async(PATIENCE, async || self.accepted.load(Ordering::Relaxed) >= wanted);
        ensure!(enough.await, "not {count} more puts were accepted within {PATIENCE:?}");
        Ok(())
    }

    /// Ends them. Each put that was not accepted is a violation.
    pub(super) async fn stop(mut self, context: &Context) -> Result<()> {
        self.stop.cancel();
        let mut puts = Vec::new();
        while let Some(ended) = self.running.join_next().await {
            puts.extend(ended.context("a client panicked")?);
        }
        let refused: Vec<&String> = puts.iter().filter_map(|put| put.refused.as_ref()).collect();
        if let Some(first) = refused.first() {
            context.violation(format!("{} of {} puts were not accepted: {first}", refused.len(), puts.len()));
        }
        let (failed, all) = (u64::try_from(refused.len())?, u64::try_from(puts.len())?);
        context.operations(all - failed, failed, 0);
        let slowest = puts.iter().map(|put| put.took).max().unwrap_or_default();
        let told = format!("{all}, {failed} not accepted, the slowest took {:.2} s", slowest.as_secs_f64());
        context.figure("steady puts", told);
        Ok(())
    }
}

async fn puts(caller: Caller, stop: CancellationToken, accepted: Arc<AtomicU64>) -> Vec<Put> {
    let mut pace = interval(EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut puts, mut number) = (Vec::new(), 0);
    while stop.run_until_cancelled(pace.tick()).await.is_some() {
        number += 1;
        let key = format!("steady-{}-{}", caller.client, number % KEYS);
        let began = Instant::now();
        let result = caller.send(&Intent::put(key, format!("s{}-{number}", caller.client))).await;
        let is_accepted = matches!(&result, WriteResult::Ok(Told { written: Written::Accepted, .. }));
        accepted.fetch_add(u64::from(is_accepted), Ordering::Relaxed);
        let refused = (!is_accepted).then(|| format!("put {number}, {}: {result:?}", code(&result)));
        puts.push(Put { took: began.elapsed(), refused });
    }
    puts
}
