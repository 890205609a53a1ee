//! The data directory's lock: one process at a time.
//!
//! The operating system holds it, so a killed process leaves none behind. Not here: locks between tasks.
//! Invariant: the file stays when the lock goes; removing it would let two processes lock two files.

use std::{
    fs::{self, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file in the data directory that is locked, and holds the holder's process id.
pub const LOCK_FILE: &str = "millpond.lock";

/// A locked data directory. Unlocked when the last clone is gone.
#[derive(Clone, Debug)]
pub struct DirLock {
    dir: Arc<Path>,
    _file: Arc<fs::File>,
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works on it; stop, or use another directory.
    #[error("{} is in use by process {holder}", dir.display())]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The holder's process id, as it wrote it down; `unknown` in the moment before it has.
        holder: String,
    },
    /// The directory or its lock file cannot be made or opened.
    #[error("lock {}", path.display())]
    Io {
        /// What was to be opened.
        path: PathBuf,
        /// Why it could not.
        #[source]
        source: io::Error,
    },
}

impl DirLock {
    /// Locks a data directory, making it if need be. Never waits.
    ///
    /// # Errors
    /// [`LockError::Held`]: says who has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK_FILE);
        let io = |source| LockError::Io { path: path.clone(), source };
        fs::create_dir_all(dir).map_err(io)?;
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
                return Err(LockError::Held { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { dir: dir.into(), _file: Arc::new(file) })
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_says_who_holds_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        let second = DirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(second.ends_with(&format!("is in use by process {}", std::process::id())), "{second}");
        drop(first);
        DirLock::acquire(dir.path()).unwrap();
    }
}
