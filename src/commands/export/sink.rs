//! The file that an export writes, and the state beside it from which it goes on.
//!
//! Invariant: the file holds at least the bytes that the state names, and these end where the state's cursor begins.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use millpond_client::{Page, Query, Select};
use serde::{Deserialize, Serialize};

use super::write_line;
use crate::exit::Refused;

/// Between two states that are saved: a kill costs so much work at most.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Or so many pages, whichever comes first.
const SAVE_PAGES: u32 = 16;
const STATE_SUFFIX: &str = ".export-state";
const BUFFER_BYTES: usize = 1 << 20;
/// Larger than any state, bytes.
const STATE_BYTES_MAX: u64 = 1 << 20;

/// What was written so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

/// What is exported: a run that asks for something else must not go on with this one's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Base64, as keys are any bytes.
    prefix: Option<String>,
    start: Option<String>,
    end: Option<String>,
    consistency: Option<String>,
}

impl Asked {
    pub(super) fn of(query: &Query) -> Self {
        let base64 = |bytes: &[u8]| STANDARD.encode(bytes);
        let consistency = query.consistency.map(|consistency| format!("{consistency:?}").to_lowercase());
        let (prefix, start, end) = match &query.select {
            Select::Prefix(prefix) => (Some(base64(prefix)), None, None),
            Select::Range { start, end } => (None, start.as_deref().map(base64), end.as_deref().map(base64)),
            Select::Keys(_) => (None, None, None),
        };
        Self { prefix, start, end, consistency }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    format: u32,
    asked: Asked,
    /// Where to go on; none: at the beginning.
    cursor: Option<String>,
    counts: Counts,
}

const FORMAT: u32 = 1;

/// An export under way.
pub(super) struct Sink {
    path: PathBuf,
    /// Locked: two exports cannot share it.
    file: BufWriter<File>,
    counts: Counts,
    /// The end of the last page that another one follows.
    mark: State,
    saved: Instant,
    pages_since: u32,
}

impl Sink {
    /// Opens the file where an earlier run stopped, or makes it. With it the cursor to go on from.
    pub(super) fn open(path: PathBuf, asked: Asked, restart: bool) -> Result<(Self, Option<String>)> {
        let exists = match fs::metadata(&path) {
            // An empty one holds nothing to lose.
            Ok(metadata) => metadata.len() > 0,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
        };
        let state = if restart { None } else { read_state(&state_path(&path))? };
        // A file that somebody took away is begun again.
        let state = state.filter(|_| exists);
        match &state {
            Some(state) if state.asked != asked => return Err(another(&path)),
            None if exists && !restart => return Err(finished(&path)),
            _ => {}
        }
        let mark = state.unwrap_or(State { format: FORMAT, asked, cursor: None, counts: Counts::default() });
        let file = BufWriter::with_capacity(BUFFER_BYTES, locked(&path)?);
        let cursor = mark.cursor.clone();
        let mut sink = Self { path, file, counts: mark.counts, mark, saved: Instant::now(), pages_since: 0 };
        sink.rewind()?;
        Ok((sink, cursor))
    }

    /// Cuts off what was written after the state was saved.
    fn rewind(&mut self) -> Result<()> {
        let length = self.file.get_ref().metadata().context("look at the file")?.len();
        if length < self.counts.bytes {
            return Err(shorter(&self.path));
        }
        // First the state: a file with content and without one would look finished.
        self.save_state()?;
        self.file.get_ref().set_len(self.counts.bytes).context("cut the file")?;
        self.file.seek(SeekFrom::Start(self.counts.bytes)).context("find the end of the file")?;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Appends a whole page.
    pub(super) fn write(&mut self, page: &Page) -> Result<()> {
        let mut lines = Vec::new();
        for item in &page.items {
            write_line(&mut lines, item)?;
        }
        self.file.write_all(&lines).with_context(|| format!("write {}", self.path.display()))?;
        self.counts.keys += page.items.len() as u64;
        self.counts.bytes += lines.len() as u64;
        // After the last page there is nothing to go on from: a run that did not get to finish reads it again.
        if page.next_cursor.is_some() {
            self.mark.cursor.clone_from(&page.next_cursor);
            self.mark.counts = self.counts;
            self.pages_since += 1;
            if self.pages_since >= SAVE_PAGES || self.saved.elapsed() >= SAVE_INTERVAL {
                self.sync()?;
                self.save_state()?;
            }
        }
        Ok(())
    }

    /// Makes what was written the place to go on from.
    pub(super) fn save(mut self) -> Result<()> {
        self.sync()?;
        self.save_state()
    }

    /// The file is whole.
    pub(super) fn finish(mut self) -> Result<()> {
        self.sync()?;
        let state = state_path(&self.path);
        fs::remove_file(&state).with_context(|| format!("remove {}", state.display()))
    }

    fn sync(&mut self) -> Result<()> {
        let path = &self.path;
        self.file.flush().with_context(|| format!("write {}", path.display()))?;
        self.file.get_ref().sync_data().with_context(|| format!("write {}", path.display()))
    }

    fn save_state(&mut self) -> Result<()> {
        let path = state_path(&self.path);
        replace(&path, &serde_json::to_vec(&self.mark).expect("texts and numbers are JSON"))
            .with_context(|| format!("write {}", path.display()))?;
        self.saved = Instant::now();
        self.pages_since = 0;
        Ok(())
    }
}

fn state_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(STATE_SUFFIX);
    name.into()
}

/// The old content or the new one, whatever happens meanwhile.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = OsString::from(path);
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn read_state(path: &Path) -> Result<Option<State>> {
    let told = || format!("read {}", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(told),
        Ok(metadata) if metadata.len() > STATE_BYTES_MAX => return Err(unreadable(path)),
        Ok(_) => {}
    }
    let state: Option<State> = serde_json::from_slice(&fs::read(path).with_context(told)?).ok();
    state.filter(|state| state.format == FORMAT).map(Some).ok_or_else(|| unreadable(path))
}

fn locked(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = opened.with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refused(format!("another export writes {}", path.display()))),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

fn refused(text: String) -> anyhow::Error {
    Refused(text).into()
}

fn finished(path: &Path) -> anyhow::Error {
    refused(format!(
        "{} exists and is no unfinished export; --restart overwrites it, or name another file",
        path.display()
    ))
}

fn another(path: &Path) -> anyhow::Error {
    refused(format!(
        "{} is an unfinished export of other keys, or with another consistency; go on with the command that began it, \
         or --restart overwrites it",
        path.display()
    ))
}

fn shorter(path: &Path) -> anyhow::Error {
    refused(format!("{} is shorter than it was; --restart begins again", path.display()))
}

fn unreadable(path: &Path) -> anyhow::Error {
    refused(format!("{} is no state of an export of this version; --restart begins again", path.display()))
}

#[cfg(test)]
mod tests;
