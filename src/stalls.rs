//! Partitions of the log that a producer's open transaction holds up: a probe.
//!
//! Invariant: tells what the log says at that moment, and keeps nothing.

use std::sync::Arc;

use millpond_api::{Check, Checks, Health};
use millpond_log::Log;

/// For `/readyz?verbose`.
pub(crate) fn checks(log: Log) -> Checks {
    Arc::new(move || {
        let check = |stall: millpond_log::Stall| Check {
            name: format!("log {}", stall.partition),
            health: Health::Degraded,
            detail: format!("log-stalled: an open transaction holds it up for {} s", stall.since.as_secs()),
        };
        log.stalls().into_iter().map(check).collect()
    })
}
