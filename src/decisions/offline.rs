//! Decisions on a data directory that no server has open: a writer runs without listeners until it is known how the
//! partition stands.
//!
//! Invariant: what it applies is what the next start would have applied.

use std::time::Duration;

use anyhow::{Context, Result};
use millpond_schemas::PartitionId;
use millpond_writer::Statuses;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Asked, Ground, Standing, Undecided, decide};
use crate::{embedded::Embedded, settings::Settings, supervise};

/// How long a partition may take to halt, or to apply what is there.
const STANDS_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// As [`decide`].
///
/// # Errors
/// Also where another process has the directory: it is named.
pub async fn offline(settings: &Settings, asked: &Asked) -> Result<Value, Undecided> {
    let opened = Embedded::open(&settings.embedded()).await;
    let (embedded, follower) = opened.context("open the data directory")?;
    let statuses = Statuses::default();
    let stop = CancellationToken::new();
    let writer = embedded.writer(settings.writer_config(), statuses.clone());
    let writing = tokio::spawn(millpond_writer::run(writer, stop.clone()));
    let following = tokio::spawn(follower.run());
    let ground = Ground {
        log: embedded.log.clone(),
        control: embedded.control.clone(),
        shards: embedded.shards.clone(),
        keyring: embedded.keyring.clone(),
        clock: embedded.clock.clone(),
    };
    let stands = stands(&embedded, &statuses, asked.decision.partition()).await;
    let decided = match stands {
        Ok(standing) => decide(&ground, asked, standing.as_ref()).await,
        Err(error) => Err(error.into()),
    };
    stop.cancel();
    writing.await.expect("a writer never panics");
    following.abort();
    embedded.close().await;
    decided
}

/// How a partition stands once nothing is under way any more. None: there is no such partition.
async fn stands(
    embedded: &Embedded,
    statuses: &Statuses,
    partition: PartitionId,
) -> Result<Option<Standing>> {
    if partition.0 >= embedded.log.partitions() {
        return Ok(None);
    }
    let until = Instant::now() + STANDS_WITHIN;
    loop {
        let end = embedded.log.bounds(partition).await.context("read the log's bounds")?.end;
        let standing = supervise::standing(statuses, partition);
        let applied = statuses.partitions().get(&partition).map(|status| status.applied);
        let settled = match &standing {
            Some(Standing::Halted { .. }) => true,
            Some(Standing::Running) => applied.is_some_and(|applied| applied.next() >= end),
            Some(Standing::Waiting(_)) | None => false,
        };
        if settled || Instant::now() > until {
            return Ok(standing);
        }
        sleep(LOOK_EVERY).await;
    }
}
