//! The power fails at any moment of a recorded run of the real binary, and the disk keeps whatever it may.
//!
//! [`recording`] runs and records, [`disk`] knows what may be left, [`states`] lays it out, [`check`] opens it.
//! Not here: a disk that lies about a sync, or that loses what it had: those are bit flips.

pub mod check;
pub mod disk;
pub mod load;
pub mod recording;
pub mod states;
pub mod trace;

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use self::{recording::Recording, states::Plan};

/// Records a run into `folder`, unless there is one.
///
/// # Errors
/// The run cannot be recorded.
pub async fn record(folder: &Path, seed: u64) -> Result<Arc<Recording>> {
    let is_recorded = folder.join("sent").exists();
    let recording =
        if is_recorded { Recording::load(folder).await } else { Recording::make(folder, seed).await };
    Ok(Arc::new(recording.context("record a run")?))
}

/// Checks that the same states of a run whose log was never synced are found to be bad.
///
/// # Errors
/// They are not: the states show nothing.
pub async fn finds(recording: &Recording, plan: &Plan) -> Result<()> {
    let (spoilt, folder) = (Arc::new(recording.without_syncs()), TempDir::new()?);
    let found = plan.run(&spoilt, folder.path()).await;
    ensure!(found.is_err(), "{:?}: a log that was never synced passes as well", plan.subject);
    Ok(())
}
