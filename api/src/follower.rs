//! Follows outcomes: tells waiting calls, and reads from the shards what was not heard.
//!
//! Invariant: it listens before it reads a shard, so that what is between the two is heard twice and never missed.

use std::{sync::Arc, time::Duration};

use millpond_log::{Heard, Subscription};
use millpond_schemas::{Claim, PartitionId, Watermark};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::state::{App, State};

/// How often the watermarks and Claims of every shard are read anew.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// Pause before a shard that did not answer is asked again for outcomes that calls wait for.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Follows until `stop`. `subscription` was taken before.
pub(crate) async fn follow(app: App, mut subscription: Subscription, stop: CancellationToken) {
    let mut jobs = JoinSet::new();
    let mut refreshing = vec![false; app.shards.len()];
    let mut filling = false;
    let mut silent = false;
    let mut refresh = interval(REFRESH_EVERY);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            heard = subscription.next(), if !silent => match heard {
                Some(Heard::Range(range)) => app.partitions.heard(&range),
                Some(Heard::Missed(ranges)) => {
                    tracing::warn!(ranges, "outcomes came faster than they were followed; reading the shards");
                    app.metrics.outcome_holes.inc();
                    refresh_all(&app, &mut refreshing, &mut jobs);
                }
                None => silent = true,
            },
            done = jobs.join_next(), if !jobs.is_empty() => match finished(done) {
                Job::Refreshed(index) => refreshing[index] = false,
                Job::Filled => filling = false,
            },
            () = app.partitions.stranded(), if !filling => {
                filling = true;
                jobs.spawn(fill(Arc::clone(&app)));
            }
            _ = refresh.tick() => refresh_all(&app, &mut refreshing, &mut jobs),
        }
    }
    jobs.shutdown().await;
}

enum Job {
    Refreshed(usize),
    Filled,
}

fn finished(done: Option<Result<Job, tokio::task::JoinError>>) -> Job {
    match done.expect("there are jobs") {
        Ok(job) => job,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => unreachable!("nobody cancels a job: {error}"),
        },
    }
}

fn refresh_all(app: &App, refreshing: &mut [bool], jobs: &mut JoinSet<Job>) {
    for (index, busy) in refreshing.iter_mut().enumerate().filter(|(_, busy)| !**busy) {
        *busy = true;
        let app = Arc::clone(app);
        jobs.spawn(async move {
            refresh_shard(&app, index).await;
            Job::Refreshed(index)
        });
    }
}

/// Reads the watermarks of every partition that a shard serves. One that does not answer is asked again later.
async fn refresh_shard(app: &State, index: usize) {
    let served: Vec<PartitionId> = app.topology.borrow().partitions_of(index).collect();
    let known = app.partitions.count();
    let served = served.into_iter().filter(|partition| partition.0 < known).collect();
    let Some(shard) = app.shards.get(index) else { return };
    match timeout(app.config.shard_deadline, shard.watermarks(served)).await {
        Ok(Ok(watermarks)) => watermarks.iter().for_each(|watermark| learn(app, watermark)),
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, index, "cannot read watermarks");
        }
        Err(_late) => tracing::debug!(index, "reading watermarks takes too long"),
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
async fn fill(app: App) -> Job {
    loop {
        let mut failed = false;
        let mut found = false;
        for partition in app.partitions.ids() {
            let Some(hole) = app.partitions.of(partition).stranded() else { continue };
            found = true;
            app.metrics.outcome_holes.inc();
            failed |= app.read_outcomes(partition, hole, app.config.shard_deadline).await.is_err();
        }
        if !found {
            return Job::Filled;
        }
        if failed {
            sleep(RETRY_AFTER).await;
        }
    }
}
