//! A replica is far behind, cancels readers because their snapshots are in the way of what it replays, and is killed: its
//! clients notice at most that answers are older, and where they may not be, nothing.
//!
//! Invariant: conflicts were counted by Postgres; a drill without one shows nothing.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    task::{JoinSet, block_in_place},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{Context, Drill, Length, Need, promotion::start, steady::Steady};
use crate::{
    deployment::Deployment,
    http::Http,
    postgres::{Cluster, psql},
    roles::Kind,
    workload::{Target, Workload},
};

/// How far behind it is in the long form.
const BEHIND: Duration = Duration::from_mins(1);
/// Of a million operations so many may fail, or nobody knows how they ended.
const FAILED_MAX_PPM: u64 = 1000;
/// Operations while it is behind, or dead.
const OPERATIONS: u64 = 100;
/// Readers that hold a snapshot of the replica for as long as it lets them.
const READERS: usize = 2;
/// Conflicts of a round.
const CONFLICTS: u64 = 3;

pub(super) const DRILL: Drill = Drill {
    name: "replica-lag",
    number: 19,
    about: "a replica 60 s behind, conflicts with recovery, kill -9 of the replica: fewer than 0.1 % of the operations fail",
    engines: Need::Shared,
    long: Length::new(600, 1000),
    short: Length::new(60, 1),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let (mut cluster, deployment) = start().await?;
    set(&cluster, "max_standby_streaming_delay", "50ms")?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    let steady = Steady::start(&context, &deployment);
    workload.more(50).await?;
    let mut conflicts = 0;
    for _ in context.rounds() {
        behind(&context, &cluster, &deployment, &workload).await?;
        conflicts += conflict(&context, &deployment, &workload).await?;
        block_in_place(|| cluster.kill(1))?;
        context.fault("kill -9 of the replica", "node-1");
        workload.more(OPERATIONS).await?;
        block_in_place(|| cluster.start_again(1))?;
        workload.more(OPERATIONS).await?;
    }
    context
        .figure("conflicts", format!("{conflicts} reads of the replica cancelled, a session's or an api's"));
    steady.stop(&context).await?;
    let totals = workload.stop().await?;
    let (failed, all) = (totals.failed + totals.unknown, totals.ok + totals.failed + totals.unknown);
    context.figure("clients' errors", format!("{failed} of {all} operations (mark: fewer than 0.1 %)"));
    if context.is_long() && failed * 1_000_000 >= all * FAILED_MAX_PPM {
        context.violation(format!("{failed} of {all} operations failed, or nobody knows how they ended"));
    }
    context.worked(&totals);
    context.settle(&deployment).await
}

/// Of the replica.
fn set(cluster: &Cluster, setting: &str, value: &str) -> Result<()> {
    let psql = |sql: &str| cluster.psql(1, "postgres", "postgres", sql);
    psql(&format!("ALTER SYSTEM SET {setting} = '{value}'"))?;
    psql("SELECT pg_reload_conf()")?;
    Ok(())
}

/// It replays later than the primary commits: by a minute, or not at all while we look.
async fn behind(
    context: &Context,
    cluster: &Cluster,
    deployment: &Deployment,
    workload: &Workload,
) -> Result<()> {
    if context.is_long() {
        set(cluster, "recovery_min_apply_delay", "60s")?;
        context.fault("replica 60 s behind", "node-1");
        sleep(BEHIND + BEHIND / 4).await;
        let late = "SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp()) >= 59";
        // To look there may conflict with recovery, too.
        let is_late = async || Ok(deployment.psql(0, 1, late)? == "t");
        deployment.until("the replica is a minute behind", is_late).await?;
        return set(cluster, "recovery_min_apply_delay", "0");
    }
    // Whoever asks the replica for anything may be cancelled.
    let paused = async || {
        deployment.psql(0, 1, "SELECT pg_wal_replay_pause()")?;
        Ok(deployment.psql(0, 1, "SELECT pg_get_wal_replay_pause_state()")? == "paused")
    };
    deployment.until("replay is paused", paused).await?;
    context.fault("replica stands still", "node-1");
    workload.more(OPERATIONS).await?;
    let resumed = async || {
        deployment.psql(0, 1, "SELECT pg_wal_replay_resume()")?;
        Ok(true)
    };
    deployment.until("replay goes on", resumed).await
}

/// The primary throws dead rows away that readers of the replica still see, and locks whole leaves: until reads were
/// cancelled. How many were.
async fn conflict(context: &Context, deployment: &Deployment, workload: &Workload) -> Result<u64> {
    let (stop, mut readers) = (CancellationToken::new(), JoinSet::new());
    for _ in 0..READERS {
        let (url, stop) = (Arc::new(deployment.url(0, 1)), stop.clone());
        readers.spawn(hold_snapshots(url, stop));
    }
    for api in 0..deployment.count(Kind::Api) {
        readers.spawn(scans(deployment.api(api).clone(), stop.clone()));
    }
    let (mut before, mut found) = (None, 0);
    let hurting = async || {
        let before = match before {
            Some(before) => before,
            None => *before.insert(conflicts(deployment)?),
        };
        for leaf in (0..deployment.partitions()).filter(|partition| deployment.shard_of(*partition) == 0) {
            deployment.psql(0, 0, &format!("VACUUM kv_p{leaf:05}"))?;
            let lock = format!("BEGIN; LOCK TABLE kv_p{leaf:05} IN ACCESS EXCLUSIVE MODE; COMMIT");
            deployment.psql(0, 0, &lock)?;
        }
        found = conflicts(deployment)?.saturating_sub(before);
        Ok(found >= CONFLICTS)
    };
    let hurt = deployment.until("reads of the replica are cancelled", hurting).await;
    stop.cancel();
    while let Some(ended) = readers.join_next().await {
        ended.context("a reader panicked")?;
    }
    hurt?;
    context.fault("reads cancelled by recovery", "node-1");
    workload.more(OPERATIONS).await?;
    Ok(found)
}

/// As Postgres counts them, of both shards.
fn conflicts(deployment: &Deployment) -> Result<u64> {
    let sql = "SELECT sum(confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock) \
               FROM pg_stat_database_conflicts WHERE datname = current_database()";
    Ok(deployment.psql(0, 1, sql)?.parse::<u64>()? + deployment.psql(1, 1, sql)?.parse::<u64>()?)
}

/// A report's reader: one snapshot, many looks, until it is cancelled.
async fn hold_snapshots(url: Arc<String>, stop: CancellationToken) {
    const REPORT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM kv; \
                          SELECT pg_sleep(1); SELECT count(*) FROM kv; COMMIT";
    while !stop.is_cancelled() {
        let url = Arc::clone(&url);
        // To be cancelled is what it is there for.
        let _cancelled = tokio::task::spawn_blocking(move || psql(&url, REPORT)).await;
    }
}

/// An api's readers of many keys: not in the history, but on the replica.
async fn scans(http: Http, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let _answer = http.get("/kv?limit=1000").send().await;
    }
}
