//! `/admin/lag`: how far every partition is behind its log, in records and in seconds.
//!
//! Invariant: seconds count from the first record that is not applied, not from the last one that is.

use std::time::Duration;

use axum::{body::Body, extract::State as Shared, response::Response};
use futures_util::{StreamExt, stream};
use http::header;
use millpond_schemas::{Offset, PartitionId, UnixMillis};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::{
    answer::json_type,
    problem::Problem,
    state::{App, State},
};

/// Partitions whose log is asked at once.
const ASKED_AT_ONCE: usize = 32;

#[derive(Debug, Serialize)]
struct Lags {
    partitions: Vec<Lag>,
}

/// One partition. What could not be asked is null.
#[derive(Debug, Serialize)]
pub(crate) struct Lag {
    pub(crate) partition: u32,
    pub(crate) shard: Option<String>,
    /// First offset that can be read.
    pub(crate) log_start: Option<i64>,
    /// Next offset to be issued.
    pub(crate) log_end: Option<i64>,
    /// Highest offset known to be committed; -1: none.
    pub(crate) applied: i64,
    pub(crate) lag_records: Option<i64>,
    pub(crate) lag_seconds: Option<f64>,
}

/// Every partition's.
pub(crate) async fn get(Shared(app): Shared<App>) -> Result<Response, Problem> {
    let body =
        serde_json::to_vec(&Lags { partitions: app.lags().await }).expect("numbers and names are JSON");
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, json_type());
    Ok(response)
}

impl State {
    /// Every partition's, in order; what the log does not tell within the shard deadline is null.
    pub(crate) async fn lags(&self) -> Vec<Lag> {
        let until = Instant::now() + self.config.shard_deadline;
        let each = stream::iter(self.partitions.ids()).map(|partition| self.lag_of(partition, until));
        each.buffered(ASKED_AT_ONCE).collect().await
    }

    async fn lag_of(&self, partition: PartitionId, until: Instant) -> Lag {
        let bounds = timeout_at(until, self.log.bounds(partition)).await.ok().and_then(Result::ok);
        let applied = self.partitions.of(partition).committed();
        let lag_records = bounds.map(|bounds| (bounds.end.0 - applied.next().0).max(0));
        let lag_seconds = match lag_records {
            Some(0) => Some(0.0),
            Some(_) => {
                let time = timeout_at(until, self.append_time(partition, applied.next())).await;
                time.ok().flatten().map(|time| seconds(self.now(), time))
            }
            None => None,
        };
        Lag {
            partition: partition.0,
            shard: self.shard_of(partition).ok().map(|shard| shard.name().to_owned()),
            log_start: bounds.map(|bounds| bounds.start.0),
            log_end: bounds.map(|bounds| bounds.end.0),
            applied: applied.0,
            lag_records,
            lag_seconds,
        }
    }

    async fn append_time(&self, partition: PartitionId, offset: Offset) -> Option<UnixMillis> {
        let record = self.log.record(partition, offset).await.ok()?;
        record.map(|record| record.time)
    }
}

fn seconds(now: UnixMillis, then: UnixMillis) -> f64 {
    Duration::from_millis(now.ms_since(then)).as_secs_f64()
}
