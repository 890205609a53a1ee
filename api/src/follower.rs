//! Follows outcomes: tells waiting calls, and reads from the primaries what was not heard.
//!
//! Where it hears from is fixed before a shard is read, at the start and after some were missed. So what is between
//! the two is heard, or is below the watermark that was read; a call that waits below it for what was in no range is
//! answered from the outcomes that the primary keeps. Nothing is read for a hole in which nobody waits.
//! Invariant: what was not heard is taken from a primary alone, and only up to its watermark.

use std::{collections::HashSet, sync::Arc, time::Duration};

use millpond_log::{Heard, Subscription};
use millpond_schemas::{Claim, PartitionId, Watermark};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    refreshes::Read,
    state::{App, State},
};

/// How often the watermarks and Claims of every shard are read anew, and its replicas looked at.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Pause before a primary that did not answer, or has not come so far again, is asked again for outcomes that calls
/// wait for.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Follows until `stop`. `subscription` was taken before any shard was read.
pub(crate) async fn follow(app: App, mut subscription: Subscription, stop: CancellationToken) {
    let mut jobs = Jobs { app: Arc::clone(&app), running: JoinSet::new(), filling: HashSet::new() };
    let mut silent = false;
    let mut refresh = interval(REFRESH_EVERY);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // What is rare comes first: outcomes may come without a pause.
            biased;
            () = stop.cancelled() => break,
            _ = refresh.tick() => jobs.refresh_all(),
            Some(done) = jobs.running.join_next() => jobs.ended(done),
            () = app.partitions.stranded() => jobs.fill_all(),
            heard = subscription.next(), if !silent => match heard {
                Some(Heard::Range(range)) => app.partitions.heard(&range),
                Some(Heard::Missed(ranges)) => {
                    tracing::warn!(ranges, "outcomes came faster than they were followed; reading the shards");
                    app.metrics.outcome_holes.inc();
                    app.refreshes.missed();
                    jobs.refresh_all();
                }
                None => silent = true,
            },
        }
    }
    jobs.running.shutdown().await;
}

enum Job {
    Refreshed(usize, Read),
    Filled(PartitionId),
}

struct Jobs {
    app: App,
    running: JoinSet<Job>,
    filling: HashSet<PartitionId>,
}

impl Jobs {
    /// Reads every shard that is not being read.
    fn refresh_all(&mut self) {
        for index in self.app.refreshes.begin() {
            self.refresh(index);
        }
    }

    fn refresh(&mut self, index: usize) {
        let app = Arc::clone(&self.app);
        self.running.spawn(async move { Job::Refreshed(index, refresh_shard(&app, index).await) });
    }

    /// Reads what calls wait for in every partition in which nobody does so yet.
    fn fill_all(&mut self) {
        for partition in self.app.partitions.ids() {
            let stranded = self.app.partitions.of(partition).stranded().is_some();
            if stranded && self.filling.insert(partition) {
                self.running.spawn(fill(Arc::clone(&self.app), partition));
            }
        }
    }

    fn ended(&mut self, done: Result<Job, JoinError>) {
        match done.map_err(JoinError::try_into_panic) {
            Ok(Job::Refreshed(index, read)) => {
                if self.app.refreshes.ended(index, read) {
                    self.refresh(index);
                }
            }
            Ok(Job::Filled(partition)) => {
                self.filling.remove(&partition);
                // Somebody may have come between its last look and now.
                self.fill_all();
            }
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(error)) => unreachable!("nobody cancels a job: {error}"),
        }
    }
}

/// Reads the watermarks of every partition that a shard serves. One that does not answer is asked again later.
async fn refresh_shard(app: &State, index: usize) -> Read {
    let known = app.partitions.count();
    let served: Vec<PartitionId> =
        app.topology.borrow().partitions_of(index).filter(|partition| partition.0 < known).collect();
    let Some(shard) = app.shards.get(index) else { return Read::Unreachable };
    let refreshed = shard.refresh(served.clone(), Instant::now() + app.config.shard_deadline).await;
    for partition in served {
        app.partitions.of(partition).replicated(shard.everywhere(partition));
    }
    match refreshed {
        Ok(watermarks) => {
            for watermark in &watermarks {
                learn(app, watermark);
            }
            Read::Done
        }
        Err(error) => {
            let shard = shard.name();
            tracing::debug!(error = &error as &dyn std::error::Error, shard, "cannot read watermarks");
            Read::Unreachable
        }
    }
}

fn learn(app: &State, watermark: &Watermark) {
    if let Some(claim) = Claim::decode(watermark.claim.clone()).filter(|_| !watermark.claim.is_empty()) {
        let value_bytes_max = usize::try_from(claim.value_bytes_max).unwrap_or(usize::MAX);
        app.partitions.of(watermark.partition).claimed(value_bytes_max);
    }
    app.partitions.read_watermark(watermark.partition, watermark.applied, watermark.time);
}

/// Reads the outcomes that calls wait for and that were in no range, until there are none.
async fn fill(app: App, partition: PartitionId) -> Job {
    loop {
        let hole = app.partitions.of(partition).stranded();
        let Some(hole) = hole else { return Job::Filled(partition) };
        match app.read_outcomes(partition, hole, app.config.shard_deadline).await {
            Ok(outcomes) if outcomes.freshness.applied.offset >= hole.1 => {
                app.metrics.outcome_holes.inc();
            }
            // A primary that was promoted lately comes so far again. None of them is asked in a hot loop.
            Ok(_) | Err(_) => sleep(RETRY_AFTER).await,
        }
    }
}

#[cfg(test)]
mod tests;
