//! Reading a stream beside the process that writes it, or without one: nothing is made, cut or synced.
//!
//! What is written meanwhile is found when somebody asks for the bounds, or reads to the end. Whoever reads shares a lock
//! on the stream's folder, which goes with its process; a trim wants it alone, else it drops nothing.
//! Invariant: only whole groups are read; what a writer may still be writing is not there yet.

use std::{fs, io, path::Path, sync::Arc, sync::Mutex};

use super::{
    Handle, Log, Options,
    files::{File, Files},
    format::{Bad, SegmentHeader},
    index::{Cursor, Index},
    open::check_follows,
    segment::{self, Kind, corrupt, follow, read_header},
    shared::{Shared, State},
};
use crate::Error;

/// How often the segments are listed anew, because a trim took the oldest away.
const LISTED_MAX: usize = 10;

pub(super) fn open(dir: &Path, stream: &str, partitions: u32) -> Result<Log, Error> {
    let (files, dir) = (Files::read_only(), dir.join(stream));
    let reading = share(&dir)?;
    let mut tries = 1..=LISTED_MAX;
    let state = loop {
        match load(&files, &dir, partitions as usize) {
            Err(Loading::Gone) if tries.next().is_some() => {}
            Err(Loading::Gone) => return Err(segment::reading(io::ErrorKind::NotFound.into())),
            Err(Loading::Failed(error)) => return Err(error),
            Ok(state) => break state,
        }
    };
    let shared = Arc::new(Shared::new(dir, Options::new(partitions), files, state));
    shared.queue.close();
    shared.catch_up()?;
    Ok(Log(Arc::new(Handle { shared, appender: Mutex::new(None), _lock: None, _reading: Some(reading) })))
}

/// Keeps trims away until it is dropped.
fn share(dir: &Path) -> Result<fs::File, Error> {
    let unavailable = |source| Error::unavailable("there is no log that could be read", source);
    let folder = fs::File::open(dir).map_err(unavailable)?;
    folder.lock_shared().map_err(unavailable)?;
    Ok(folder)
}

/// Keeps readers away until it is dropped. None: there are some.
pub(super) fn alone(dir: &Path) -> io::Result<Option<fs::File>> {
    let folder = fs::File::open(dir)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

enum Loading {
    /// A segment went while they were listed.
    Gone,
    Failed(Error),
}

impl From<Error> for Loading {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The segments that are there; nothing of the last one is known yet.
fn load(files: &Files, dir: &Path, partitions: usize) -> Result<State, Loading> {
    let mut sequences = Vec::new();
    let unavailable = |source| Error::unavailable("there is no log that could be read", source);
    for entry in fs::read_dir(dir).map_err(unavailable)? {
        if let Kind::Segment(sequence) = segment::kind(&entry.map_err(unavailable)?.path()) {
            sequences.push(sequence);
        }
    }
    sequences.sort_unstable();
    let mut segments: Vec<Arc<SegmentHeader>> = Vec::with_capacity(sequences.len());
    let mut last = None;
    for &sequence in &sequences {
        let file = match files.open(&segment::path(dir, sequence)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Loading::Gone),
            opened => opened.map_err(segment::reading)?,
        };
        let header = following(&file, sequence, partitions, segments.last().map(AsRef::as_ref))?;
        segments.push(Arc::new(header));
        last = Some(file);
    }
    match segments.last().zip(last) {
        Some((header, file)) => Ok(State {
            file: Arc::new(file),
            index: Index::new(partitions),
            cursor: Cursor::at_start(header),
            segments,
        }),
        None => Err(unavailable(io::ErrorKind::NotFound.into()).into()),
    }
}

/// A segment's header, which must follow this one.
fn following(
    file: &File,
    sequence: u64,
    partitions: usize,
    previous: Option<&SegmentHeader>,
) -> Result<SegmentHeader, Error> {
    let header = read_header(file, sequence, partitions)?;
    if let Some(previous) = previous {
        check_follows(previous, &header).map_err(|bad| corrupt(file.path(), 0, bad))?;
    }
    Ok(header)
}

impl Shared {
    /// Finds what another process has written since, and forgets the segments that it has taken away.
    pub(super) fn catch_up(&self) -> Result<(), Error> {
        let _one = self.trimming.lock().expect("catching up does not panic");
        loop {
            let mut state = self.state();
            let last = Arc::clone(state.last());
            let path = segment::path(&self.dir, last.sequence + 1);
            // Asked first: nothing is added to a segment any more once there is another.
            let full = path.exists();
            let State { file, index, cursor, .. } = &mut *state;
            follow(file, &last, cursor, index)?;
            let next = cursor.next.clone();
            drop(state);
            if !full {
                break;
            }
            let file = self.files.open(&path).map_err(segment::reading)?;
            let header = following(&file, last.sequence + 1, last.first.len(), Some(&last))?;
            if header.first != next {
                return Err(corrupt(&path, 0, Bad("the segment before it ends too early")));
            }
            self.rolled(Arc::new(header), Arc::new(file));
        }
        self.forget_gone();
        Ok(())
    }

    /// Forgets the oldest segments whose files another process has taken away.
    pub(super) fn forget_gone(&self) {
        let mut state = self.state();
        let gone = |header: &Arc<SegmentHeader>| !segment::path(&self.dir, header.sequence).exists();
        while state.segments.len() > 1 && state.segments.first().is_some_and(gone) {
            let header = state.segments.remove(0);
            self.sealed.remove(header.sequence);
        }
    }
}
