//! `/admin/lag`: how far every partition is behind its log, in records and in seconds.
//!
//! Invariant: seconds count from the first record that is not applied, not from the last one that is.

use axum::{body::Body, extract::State as Shared, response::Response};
use http::header;
use millpond_schemas::{Offset, PartitionId, UnixMillis};
use serde::Serialize;

use crate::{
    answer::json_type,
    problem::Problem,
    state::{App, State},
};

#[derive(Debug, Serialize)]
struct Lags {
    partitions: Vec<Lag>,
}

/// One partition. What could not be asked is null.
#[derive(Debug, Serialize)]
struct Lag {
    partition: u32,
    shard: Option<String>,
    /// First offset that can be read.
    log_start: Option<i64>,
    /// Next offset to be issued.
    log_end: Option<i64>,
    /// Highest offset known to be committed; -1: none.
    applied: i64,
    lag_records: Option<i64>,
    lag_seconds: Option<f64>,
}

/// Every partition's.
pub(crate) async fn get(Shared(app): Shared<App>) -> Result<Response, Problem> {
    let mut partitions = Vec::new();
    for partition in app.partitions.ids() {
        partitions.push(app.lag_of(partition).await);
    }
    let body = serde_json::to_vec(&Lags { partitions }).expect("numbers and names are JSON");
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, json_type());
    Ok(response)
}

impl State {
    async fn lag_of(&self, partition: PartitionId) -> Lag {
        let bounds = self.log.bounds(partition).await.ok();
        let applied = self.partitions.of(partition).committed();
        let lag_records = bounds.map(|bounds| (bounds.end.0 - applied.next().0).max(0));
        let lag_seconds = match lag_records {
            Some(0) => Some(0.0),
            Some(_) => {
                self.append_time(partition, applied.next()).await.map(|time| seconds(self.now(), time))
            }
            None => None,
        };
        Lag {
            partition: partition.0,
            shard: self.shard_of(partition).ok().map(|(_, name)| name),
            log_start: bounds.map(|bounds| bounds.start.0),
            log_end: bounds.map(|bounds| bounds.end.0),
            applied: applied.0,
            lag_records,
            lag_seconds,
        }
    }

    async fn append_time(&self, partition: PartitionId, offset: Offset) -> Option<UnixMillis> {
        let records = self.log.read(partition, offset, 1).await.ok()?;
        records.first().map(|record| record.time)
    }
}

fn seconds(now: UnixMillis, then: UnixMillis) -> f64 {
    std::time::Duration::from_millis(now.ms_since(then)).as_secs_f64()
}
