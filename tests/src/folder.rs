//! Temporary folders for engines: engines of another user may enter, and a folder whose owner was killed goes when the
//! next one is made.
//!
//! Invariant: only a folder that nobody holds is removed.

use std::{
    fs::{File, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "millpond-engines-";
/// Its owner holds a lock on this file in it.
const LOCK: &str = "lock";
/// A folder this young may be one whose owner has not got to its lock yet.
const YOUNG: Duration = Duration::from_mins(1);

/// A temporary folder, which goes with the value.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
    _lock: File,
}

impl Folder {
    /// A new one below the system's temporary folder. Everyone may look into it.
    pub fn create() -> Result<Self> {
        remove_abandoned();
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .context("make a temporary folder")?;
        let lock = File::create_new(dir.path().join(LOCK))?;
        lock.try_lock().context("lock a new folder")?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A failure leaves a folder to the next time.
fn remove_abandoned() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        let age =
            lock.metadata().and_then(|lock| lock.modified()).map(|made| made.elapsed().unwrap_or_default());
        if age.is_ok_and(|age| age > YOUNG) && lock.try_lock().is_ok() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
