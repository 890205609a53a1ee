//! What a running Millpond tells of itself: metrics and their page, traces, hot keys, dashboard and alerts.

mod hot;
mod metrics;
mod rules;
mod table;
mod traces;

use std::path::PathBuf;

/// A file of the checkout.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").join(name)
}
