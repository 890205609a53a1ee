//! The journal of an import: one small file in the state directory, replaced whole.
//!
//! Names which input, how far it is done and under which keys. Not here: what was in flight; the lines' own keys make
//! that harmless. Invariant: while one process holds a journal, no other does.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{Error, frontier::Advance, line::Place, rejects::RejectsPlace};
use crate::{Position, position};

/// How long the server remembers Idempotency-Keys.
const MEMORY: Duration = Duration::from_hours(24);

/// A mutation of this import and its append time: another log has not the same at its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Witness {
    pub(super) position: Position,
    pub(super) time: Option<String>,
}

/// What is remembered of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Begins every line's Idempotency-Key.
    pub(super) id: String,
    pub(super) place: Place,
    pub(super) accepted: u64,
    pub(super) failed: u64,
    pub(super) failures_by_code: BTreeMap<String, u64>,
    pub(super) positions: Vec<Position>,
    pub(super) witness: Option<Witness>,
    pub(super) rejects: Option<RejectsPlace>,
    /// A run has reached the input's end.
    pub(super) complete: bool,
}

impl State {
    /// Nothing done yet. `id`: begins every line's Idempotency-Key.
    pub(super) fn new(id: String) -> Self {
        Self { id, ..Self::default() }
    }

    /// An id that no other run has.
    pub(super) fn random_id() -> String {
        format!("{:016x}", rand::random::<u64>())
    }

    /// Everything up to `advance.place` is done.
    pub(super) fn pass(&mut self, advance: Advance, rejects: Option<RejectsPlace>) {
        self.place = advance.place;
        self.accepted += advance.accepted;
        for failure in &advance.failures {
            self.failed += 1;
            *self.failures_by_code.entry(failure.code.clone()).or_default() += 1;
        }
        position::merge(&mut self.positions, advance.positions);
        self.rejects = rejects;
    }
}

/// A journal that this process holds.
pub(super) struct Journal {
    pub(super) state: State,
    /// The earlier run wrote its journal longer ago than the server remembers.
    pub(super) stale: bool,
    /// `None`: the input has no name to find it again by.
    held: Option<Held>,
}

struct Held {
    path: PathBuf,
    _lock: File,
}

impl Journal {
    /// Takes the journal of the import that `name` identifies; `None`: one that is kept in memory only.
    pub(super) fn open(state_dir: &Path, name: Option<&str>, id: String) -> Result<Self, Error> {
        let Some(name) = name else {
            return Ok(Self { state: State::new(id), stale: false, held: None });
        };
        let dir = state_dir.join("import");
        fs::create_dir_all(&dir).map_err(|source| Error::State {
            what: "make the directory",
            path: dir.clone(),
            source,
        })?;
        let path = dir.join(format!("{:032x}.json", xxh3_128(name.as_bytes())));
        let lock = lock(&path.with_extension("lock"))?;
        let read = read(&path).map_err(|source| Error::State {
            what: "read the journal",
            path: path.clone(),
            source,
        })?;
        let (state, stale) = read.unwrap_or_else(|| (State::new(id), false));
        Ok(Self { state, stale, held: Some(Held { path, _lock: lock }) })
    }

    /// Writes the state durably: afterwards a crash finds this one or a later one.
    pub(super) fn save(&self) -> Result<(), Error> {
        let Some(Held { path, .. }) = &self.held else { return Ok(()) };
        replace(path, &serde_json::to_vec(&self.state).expect("the state serialises"))
            .map_err(|source| Error::State { what: "write the journal", path: path.clone(), source })
    }
}

fn lock(path: &Path) -> Result<File, Error> {
    let fail = |source| Error::State { what: "lock", path: path.to_owned(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { lock: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

fn read(path: &Path) -> io::Result<Option<(State, bool)>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let state = serde_json::from_slice(&text).map_err(|error| {
        let hint = "; remove it to begin anew";
        io::Error::new(io::ErrorKind::InvalidData, format!("{error}{hint}"))
    })?;
    let age = fs::metadata(path)?.modified()?.elapsed().unwrap_or_default();
    Ok(Some((state, age > MEMORY)))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_holds_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name| Journal::open(dir.path(), Some(name), "id".into());
        let first = open("a").unwrap();
        assert!(matches!(open("a"), Err(Error::Busy { .. })));
        open("b").unwrap();
        drop(first);
        open("a").unwrap();
    }

    #[test]
    fn what_was_saved_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), Some("a"), "id".into()).unwrap();
        journal.state.place.line = 7;
        journal.state.witness = Some(Witness { position: Position::new("1-0-3").unwrap(), time: None });
        journal.save().unwrap();
        let state = journal.state.clone();
        drop(journal);
        let again = Journal::open(dir.path(), Some("a"), "other".into()).unwrap();
        assert_eq!((again.state, again.stale), (state, false));
    }
}
