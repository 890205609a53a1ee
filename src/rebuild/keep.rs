//! Keeps a deployment's log whole while it is read from its beginning: says so in every database that serves.
//!
//! Not here: who trims, and asks them. A database that does not answer keeps the log by that; when it is back, or another
//! one serves, it is told anew. Invariant: nothing is left behind: the lock goes with its session, the session with this
//! process.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use millpond_schemas::Topology;
use millpond_shard::{Hold, Kind, Shard};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::nodes::Options;

/// How often a session is looked after, and a database that did not answer is asked again.
const LOOK: Duration = Duration::from_secs(1);
/// How long a database may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Keeps it until it is dropped.
pub(super) struct Keeper(JoinSet<()>);

impl Keeper {
    /// Tells every shard's primary once, and goes on as the topology changes.
    pub(super) async fn start(topology: &watch::Receiver<Arc<Topology>>, options: &Options) -> Self {
        let (mut tasks, mut told) = (JoinSet::new(), Vec::new());
        for index in 0..topology.borrow().shards.len() {
            let (first, first_told) = oneshot::channel();
            tasks.spawn(keep(index, topology.clone(), options.clone(), first));
            told.push(first_told);
        }
        for first in told {
            // Dropped when it was told or did not answer.
            let _told = first.await;
        }
        Self(tasks)
    }

    /// Lets go.
    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

async fn keep(
    index: usize,
    mut topology: watch::Receiver<Arc<Topology>>,
    options: Options,
    first: oneshot::Sender<()>,
) {
    let mut first = Some(first);
    loop {
        let primary = primary(&topology, index);
        let held = hold(&primary, &options).await;
        drop(first.take());
        match held {
            Ok(Some(mut hold)) => {
                while self::primary(&topology, index) == primary && is_held(&mut hold).await {
                    look_again(&mut topology).await;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(primary, "cannot say that the log is read: {error:#}");
                look_again(&mut topology).await;
            }
        }
    }
}

fn primary(topology: &watch::Receiver<Arc<Topology>>, index: usize) -> String {
    topology.borrow().shards.get(index).map(|shard| shard.primary.clone()).unwrap_or_default()
}

async fn hold(primary: &str, options: &Options) -> Result<Option<Hold>> {
    let by = format!("millpond, process {}, reads the log", std::process::id());
    let shard = Shard::open_postgres(&options.config(primary, Kind::Primary))?;
    let held = timeout(ANSWER_MAX, shard.hold_log(&by)).await;
    shard.close().await;
    Ok(held.context("it does not answer")??)
}

async fn is_held(hold: &mut Hold) -> bool {
    matches!(timeout(ANSWER_MAX, hold.check()).await, Ok(Ok(())))
}

/// After a while, or when the topology has changed.
async fn look_again(topology: &mut watch::Receiver<Arc<Topology>>) {
    tokio::select! {
        () = sleep(LOOK) => {}
        Ok(()) = topology.changed() => {}
    }
}
