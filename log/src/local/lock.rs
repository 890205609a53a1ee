//! The data directory's lock: one process at a time.
//!
//! The operating system holds it, so a killed process leaves none behind. Not here: locks between tasks.
//! Invariant: the file stays when the lock goes; removing it would let two processes lock two files.

use std::{
    collections::BTreeSet,
    fs::{self, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The file in the data directory that is locked, and holds the holder's process id.
pub const LOCK_FILE: &str = "millpond.lock";

/// A locked data directory. Unlocked when the last clone is gone.
#[derive(Clone, Debug)]
pub struct DirLock(Arc<Locked>);

#[derive(Debug)]
struct Locked {
    dir: PathBuf,
    /// The streams that are open in this process.
    streams: Mutex<BTreeSet<String>>,
    _file: fs::File,
}

/// One open stream of a locked directory, so that it is not opened twice at a time.
#[derive(Debug)]
pub(super) struct StreamLock {
    lock: DirLock,
    stream: String,
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
        make_folder(dir).map_err(io)?;
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
        Ok(Self(Arc::new(Locked { dir: dir.to_owned(), streams: Mutex::default(), _file: file })))
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Until the answer is dropped, nobody else opens this stream.
    ///
    /// # Panics
    /// When it is open already: two appenders would destroy each other's records.
    pub(super) fn stream(&self, stream: &str) -> StreamLock {
        let inserted = self.streams().insert(stream.to_owned());
        assert!(inserted, "the stream {stream} is open already");
        StreamLock { lock: self.clone(), stream: stream.to_owned() }
    }

    fn streams(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a folder where there is none, and those above it. When it returns its name is durable, also when somebody else
/// made it: what is acked in it must not go with it in a power cut.
fn make_folder(dir: &Path) -> io::Result<()> {
    let above = match dir.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        Some(_) => Path::new("."),
        None => return Ok(()),
    };
    let is_new = !dir.is_dir();
    if is_new {
        make_folder(above)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    match fs::File::open(above).and_then(|above| above.sync_all()) {
        // A folder that an operator made where this process may not look is the operator's.
        Err(error) if !is_new && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

impl Drop for StreamLock {
    fn drop(&mut self) {
        self.lock.streams().remove(&self.stream);
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

    #[test]
    #[should_panic(expected = "the stream a is open already")]
    fn a_stream_is_not_opened_twice_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        drop(lock.stream("a"));
        let _open = (lock.stream("a"), lock.stream("b"));
        lock.clone().stream("a");
    }
}
