//! Log lines on standard error.
//!
//! Which lines: `RUST_LOG`, `info` without it. Invariant: standard output stays free for results.

use std::io;

use anyhow::{Context, Result};
use millpond::settings::LogFormat;
use tracing_subscriber::EnvFilter;

use crate::{exit::Misuse, output};

const FILTER: &str = "RUST_LOG";
const FILTER_DEFAULT: &str = "info";

/// Begins to write log lines.
///
/// # Errors
/// `RUST_LOG` is no filter.
pub(crate) fn init(format: LogFormat) -> Result<()> {
    let filter = std::env::var(FILTER).unwrap_or_default();
    let filter = if filter.is_empty() { FILTER_DEFAULT.to_owned() } else { filter };
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Misuse(error.to_string()))
        .with_context(|| format!("read {FILTER}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(output::colored())
        .log_internal_errors(false);
    match format {
        LogFormat::Pretty => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
