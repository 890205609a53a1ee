//! What only the local log promises: what is on disk after which failure.
//!
//! Every case opens real files through [`Files`], which it may watch and fail.

mod beside;
mod clocks;
mod corrupt;
mod crash;
mod faults;
mod life;
mod torn;

use std::{fs, io::IoSlice, path::Path};

use millpond_schemas::{Offset, PartitionId, Raw, Received, UnixMillis};

use super::{
    DirLock, Options,
    files::{Fault, Files, Op},
    open,
};
use crate::{Ack, Append, Clock, Error, Log, Manual};

/// The folder of the stream, in the data directory.
const STREAM: &str = "log";
const P0: PartitionId = PartitionId(0);

/// A clock that stands still, two partitions, and segments of two header blocks: a few small groups each.
fn options() -> Options {
    Options {
        segment_bytes: 8192,
        clock: Clock::Manual(Manual::new(UnixMillis(1_000_000))),
        ..Options::new(2)
    }
}

fn try_open(dir: &Path, options: Options, files: Files) -> Result<Log, Error> {
    open::open(&DirLock::acquire(dir).unwrap(), STREAM, options, files).map(Log::Local)
}

fn open(dir: &Path) -> Log {
    try_open(dir, options(), Files::default()).unwrap()
}

fn to(partition: u32, value: impl AsRef<[u8]>) -> Append {
    let raw = Raw {
        key: Some("k".into()),
        headers: vec![("h".into(), "v".into())],
        value: Some(value.as_ref().to_vec().into()),
    };
    Append { partition: PartitionId(partition), raw }
}

/// What a write of these parts writes.
fn joined(parts: &[IoSlice<'_>]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.iter().copied()).collect()
}

async fn append(log: &Log, partition: u32, value: impl AsRef<[u8]>) -> Ack {
    log.append(vec![to(partition, value)]).await.unwrap()[0]
}

/// Everything from the start.
async fn read_all(log: &Log, partition: u32) -> Result<Vec<Received>, Error> {
    let partition = PartitionId(partition);
    let (mut all, mut next) = (Vec::new(), log.bounds(partition).await?.start);
    loop {
        let some = log.read(partition, next, 1 << 20).await?.records;
        let Some(last) = some.last() else { return Ok(all) };
        next = last.offset.next();
        all.extend(some);
    }
}

async fn values(log: &Log, partition: u32) -> Vec<Vec<u8>> {
    let value = |record: Received| record.raw.value.unwrap().to_vec();
    read_all(log, partition).await.unwrap().into_iter().map(value).collect()
}

async fn ends(log: &Log) -> Vec<Offset> {
    vec![log.bounds(P0).await.unwrap().end, log.bounds(PartitionId(1)).await.unwrap().end]
}

/// The segment files, oldest first.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(dir.join(STREAM)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Changes a file in place.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Files whose syncs do nothing, for cases that open a log thousands of times and never cut the power.
fn unsynced() -> Files {
    Files::watched(|op| matches!(op, Op::Sync(_) | Op::SyncDir(_)).then_some(Fault::Skip))
}
