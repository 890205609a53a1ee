//! `/admin/hot`: the keys that are written most, by the writer in this process.
//!
//! Not here: counting. Invariant: a key is told as the hash of its record key alone.

use std::{sync::Arc, time::Duration};

use axum::{extract::State as Shared, response::Response};
use millpond_schemas::PartitionId;
use serde::Serialize;

use super::json;

/// The keys that are written most.
#[derive(Clone, Debug, Default)]
pub struct Hottest {
    /// The time that the counts are of.
    pub window: Duration,
    /// Mutations of all keys in it.
    pub mutations: u64,
    /// Most written first.
    pub keys: Vec<HotKey>,
}

/// One key.
#[derive(Clone, Debug)]
pub struct HotKey {
    /// Of its record key.
    pub hash: u64,
    /// Whose it is.
    pub tenant: String,
    /// Where it belongs.
    pub partition: PartitionId,
    /// Its mutations, about.
    pub count: u64,
    /// By how much the count may be too high.
    pub error: u64,
}

/// Where they come from. Called at every request: quick, and without waiting.
pub type HotKeys = Arc<dyn Fn() -> Hottest + Send + Sync>;

#[derive(Serialize)]
struct Told {
    window_seconds: f64,
    mutations: u64,
    keys: Vec<ToldKey>,
}

#[derive(Serialize)]
struct ToldKey {
    /// 16 hex digits.
    hash: String,
    tenant: String,
    partition: u32,
    count: u64,
    error: u64,
}

/// All of them.
pub(super) async fn get(Shared(hot): Shared<HotKeys>) -> Response {
    let Hottest { window, mutations, keys } = hot();
    let told = |key: HotKey| ToldKey {
        hash: format!("{:016x}", key.hash),
        tenant: key.tenant,
        partition: key.partition.0,
        count: key.count,
        error: key.error,
    };
    json(&Told {
        window_seconds: window.as_secs_f64(),
        mutations,
        keys: keys.into_iter().map(told).collect(),
    })
}
