//! `/admin/overview`: how this process is, in words and in numbers; all that the page for operators shows by itself.
//!
//! ```json
//! {"version": "0.1.0", "role": "api", "uptime_seconds": 7,
//!  "health": {"status": "ok|degraded|failed", "sentence": "…",
//!             "findings": [{"status": "…", "sentence": "…", "remedy": "…", "command": "…|null"}]},
//!  "checks": [{"name": "…", "status": "…", "detail": "…"}],
//!  "topology": {"epoch": 1, "generation": 1, "partitions": 8}, "limits": {…},
//!  "partitions": [as in /admin/lag], "shards": […]}
//! ```
//! A process without an api has null for `topology` and `limits`, and no partitions and shards. Invariant: it answers
//! within the shard deadline, whatever stands still.

use axum::{extract::State as Shared, response::Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::{findings, json as answer, shards::Shard};
use crate::{
    lag::Lag,
    ops::{Check, Ops},
    version,
};

#[derive(Debug, Serialize)]
struct Overview {
    version: &'static str,
    role: &'static str,
    uptime_seconds: u64,
    health: findings::Summary,
    checks: Vec<Value>,
    topology: Option<Value>,
    limits: Option<Value>,
    partitions: Vec<Lag>,
    shards: Vec<Shard>,
}

/// All of it.
pub(super) async fn get(Shared(ops): Shared<Ops>) -> Response {
    let checks = ops.checks();
    let (partitions, shards) = match &ops.app {
        Some(app) => (app.lags().await, app.told_shards()),
        None => (Vec::new(), Vec::new()),
    };
    let topology = ops.app.as_ref().map(|app| {
        let topology = app.topology.borrow();
        json!({"epoch": topology.epoch, "generation": topology.generation.0, "partitions": topology.partitions()})
    });
    let told =
        |check: &Check| json!({"name": check.name, "status": check.health.word(), "detail": check.detail});
    answer(&Overview {
        version: env!("CARGO_PKG_VERSION"),
        role: ops.shown.role,
        uptime_seconds: ops.shown.started.elapsed().as_secs(),
        health: findings::summary(&checks, &shards, &partitions),
        checks: checks.iter().map(told).collect(),
        topology,
        limits: ops.app.as_ref().map(|app| version::limits(app)),
        partitions,
        shards,
    })
}
