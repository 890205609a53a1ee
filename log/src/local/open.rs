//! Opening a stream: list the segments, check that they are one chain, settle the last.
//!
//! Invariant: nothing but unfinished segments and a torn tail is removed; any other oddity is [`Error::Corrupt`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use millpond_schemas::{Offset, UnixMillis};

use super::{
    DirLock, Handle, Log, Options, QUEUE_BYTES_LIMIT,
    append::Appender,
    files::Files,
    format::{Bad, SegmentHeader, segment_header_bytes},
    segment::{self, Kind, corrupt, read_header, recover},
    shared::{Shared, State},
};
use crate::Error;

pub(super) fn open(lock: &DirLock, stream: &str, mut options: Options, files: Files) -> Result<Log, Error> {
    assert!(options.partitions > 0, "a log has a partition");
    options.queue_bytes_max = options.queue_bytes_max.min(QUEUE_BYTES_LIMIT);
    let unavailable = |source| Error::unavailable("it could not open its folder", source);
    let dir = make_folder(&files, lock.dir(), stream).map_err(unavailable)?;
    let lock = lock.stream(stream);
    let sequences = list(&files, &dir).map_err(unavailable)?;
    let state = load(&files, &dir, &sequences, &options)?;
    let shared = Arc::new(Shared::new(dir, options, files, state));
    let appender = Appender::new(Arc::clone(&shared)).map_err(unavailable)?;
    let appender = thread::Builder::new()
        .name("log-append".to_owned())
        .spawn(move || appender.run())
        .map_err(|source| Error::unavailable("it could not start its thread", source))?;
    Ok(Log(Arc::new(Handle {
        shared,
        appender: Mutex::new(Some(appender)),
        _lock: Some(lock),
        _reading: None,
    })))
}

/// Makes a stream's folder and those above it in the data directory. Their names are durable when it returns, also those
/// that an earlier process made and did not get to sync.
fn make_folder(files: &Files, data_dir: &Path, stream: &str) -> io::Result<PathBuf> {
    let mut dir = data_dir.to_owned();
    for part in Path::new(stream) {
        let above = dir.clone();
        dir.push(part);
        if !dir.is_dir() {
            fs::create_dir(&dir)?;
        }
        files.sync_dir(&above)?;
    }
    Ok(dir)
}

/// The segments that are there, in order, with durable names. Removes what was left unfinished.
fn list(files: &Files, dir: &Path) -> io::Result<Vec<u64>> {
    let mut sequences = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match segment::kind(&path) {
            Kind::Segment(sequence) => sequences.push(sequence),
            Kind::Unfinished => files.remove(&path, dir)?,
            Kind::Foreign => {}
        }
    }
    sequences.sort_unstable();
    files.sync_dir(dir)?;
    Ok(sequences)
}

fn load(files: &Files, dir: &Path, sequences: &[u64], options: &Options) -> Result<State, Error> {
    let partitions = options.partitions as usize;
    let open = |sequence| files.open(&segment::path(dir, sequence)).map_err(segment::reading);
    let mut segments: Vec<Arc<SegmentHeader>> = Vec::with_capacity(sequences.len());
    for &sequence in sequences {
        let file = open(sequence)?;
        let header = read_header(&file, sequence, partitions)?;
        if let Some(previous) = segments.last() {
            check_follows(previous, &header).map_err(|bad| corrupt(file.path(), 0, bad))?;
        }
        segments.push(Arc::new(header));
    }
    let (header, file) = match segments.last() {
        Some(header) => (Arc::clone(header), open(header.sequence)?),
        None => {
            let header = SegmentHeader {
                sequence: 1,
                mark: rand::random(),
                previous_mark: 0,
                time: UnixMillis::EPOCH,
                first: vec![Offset(0); partitions],
            };
            let length = options.segment_bytes.max(segment_header_bytes(partitions) as u64);
            let file = segment::create(files, dir, &header, length)
                .map_err(|source| Error::unavailable("it could not make its first segment", source))?;
            segments.push(Arc::new(header));
            (Arc::clone(&segments[0]), file)
        }
    };
    let recovered = recover(&file, &header, options.segment_bytes)?;
    if recovered.torn_bytes > 0 {
        tracing::warn!(path = %file.path().display(), bytes = recovered.torn_bytes, "a torn tail was cut");
    }
    Ok(State { segments, file: Arc::new(file), index: recovered.index, cursor: recovered.cursor })
}

/// A segment starts where the one before it cannot have ended earlier.
pub(super) fn check_follows(previous: &SegmentHeader, header: &SegmentHeader) -> Result<(), Bad> {
    if header.sequence != previous.sequence + 1 {
        return Err(Bad("the segment before it is missing"));
    }
    if header.previous_mark != previous.mark {
        return Err(Bad("the segment before it is another log's"));
    }
    let goes_back = header.first.iter().zip(&previous.first).any(|(offset, before)| offset < before);
    if goes_back || header.time < previous.time {
        return Err(Bad("it starts before the segment before it"));
    }
    Ok(())
}
