//! Putting a rebuilt file in the place of a SQLite shard's, while nobody has the data directory open.
//!
//! Nobody opens the old file, which may be damaged: it is kept as it was found, with its write-ahead log.
//! Invariant: a crash at any step leaves the old file, the new one, or none; with none the server makes an empty shard
//! and applies the log to it. A file never meets the write-ahead log of another.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use millpond_schemas::UnixMillis;

/// What SQLite keeps beside a file.
const WAL: &str = "-wal";
const SHARED_MEMORY: &str = "-shm";

/// What became of the old file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Where it is kept; none: there was none.
    pub before: Option<PathBuf>,
}

/// Where a shard's file is rebuilt that is to be replaced.
pub fn beside(path: &Path) -> PathBuf {
    named(path, ".rebuild")
}

/// Puts `new`, which nobody has open, in the place of `path`. `now` names the old one.
pub fn replace(new: &Path, path: &Path, now: UnixMillis) -> Result<Replaced> {
    // Thrown away below, so there must be nothing in it: SQLite empties it when the last who has the file open closes it.
    let wal = fs::metadata(named(new, WAL)).map_or(0, |wal| wal.len());
    ensure!(
        wal == 0,
        "{} was not closed whole: its disk is full, or another process has it open",
        new.display()
    );
    sync(new).with_context(|| format!("sync {}", new.display()))?;
    let there = path.try_exists().with_context(|| format!("look for {}", path.display()))?;
    let before = named(path, &format!(".before-{}", now.0));
    let moved = exchange(new, path, there.then_some(before.as_path()));
    moved.with_context(|| format!("put {} in the place of {}", new.display(), path.display()))?;
    Ok(Replaced { before: there.then_some(before) })
}

fn exchange(new: &Path, path: &Path, before: Option<&Path>) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let sync_dir = || fs::File::open(dir)?.sync_all();
    if let Some(before) = before {
        if named(path, WAL).try_exists()? {
            // The file first: its log without it is thrown away, it without its log would be damaged.
            fs::rename(path, before)?;
            sync_dir()?;
            fs::rename(named(path, WAL), named(before, WAL))?;
        } else {
            fs::hard_link(path, before)?;
        }
        sync_dir()?;
    }
    for suffix in [WAL, SHARED_MEMORY] {
        remove(&named(path, suffix))?;
    }
    fs::rename(new, path)?;
    for suffix in [WAL, SHARED_MEMORY, "-hold"] {
        remove(&named(new, suffix))?;
    }
    sync_dir()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn named(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const NOW: UnixMillis = UnixMillis(5);

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_old_file_is_kept_with_its_log_and_the_new_one_has_none() {
        let dir = TempDir::new().unwrap();
        let (new, path) = (dir.path().join("s.rebuild"), dir.path().join("s"));
        write(&new, "new");
        write(&path, "old");
        write(&named(&path, WAL), "old log");
        let replaced = replace(&new, &path, NOW).unwrap();
        let before = replaced.before.unwrap();
        assert_eq!((read(&path), read(&before)), ("new".into(), "old".into()));
        assert_eq!(read(&named(&before, WAL)), "old log");
        assert!(!named(&path, WAL).exists() && !new.exists());
    }

    #[test]
    fn a_new_file_whose_log_holds_something_takes_no_place() {
        let dir = TempDir::new().unwrap();
        let (new, path) = (dir.path().join("s.rebuild"), dir.path().join("s"));
        write(&new, "half of it");
        write(&named(&new, WAL), "the rest");
        write(&path, "old");
        let refused = replace(&new, &path, NOW).unwrap_err().to_string();
        assert!(refused.contains("was not closed whole"), "{refused}");
        assert_eq!((read(&path), read(&named(&new, WAL))), ("old".into(), "the rest".into()));
        write(&named(&new, WAL), "");
        replace(&new, &path, NOW).unwrap();
        assert_eq!(read(&path), "half of it");
    }

    #[test]
    fn a_file_that_is_missing_leaves_no_trace_of_its_log() {
        let dir = TempDir::new().unwrap();
        let (new, path) = (dir.path().join("s.rebuild"), dir.path().join("s"));
        write(&new, "new");
        write(&named(&path, WAL), "a log without its file");
        assert_eq!(replace(&new, &path, NOW).unwrap(), Replaced { before: None });
        assert_eq!(read(&path), "new");
        assert!(!named(&path, WAL).exists());
    }
}
