//! The power fails at every moment of a short run, and the disk keeps whatever it may.
//!
//! The run's file operations are recorded. For every prefix of them, and for every choice of what was not yet
//! synced (changes lost, reordered, or torn at sectors of 512 and 4096 bytes; names lost), the files are laid out
//! and opened: everything acked is there, nothing is invented, and the log goes on.

mod disk;
mod run;

use std::{collections::BTreeMap, fs, path::Path};

use millpond_schemas::{Offset, PartitionId};

use self::{
    disk::Disk,
    run::{History, Operation, Run},
};
use super::{STREAM, append, options, read_all, try_open, unsynced};

/// Lays out an image in the stream's folder.
fn lay_out(dir: &Path, image: &BTreeMap<String, Vec<u8>>) {
    let folder = dir.join(STREAM);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in image {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Opens what a crash after `done` operations left, and compares with what was promised by then.
async fn check(dir: &Path, history: &History, done: usize) {
    let log = try_open(dir, options(), unsynced()).unwrap();
    let mut ends = Vec::new();
    for partition in 0..2 {
        let bounds = log.bounds(PartitionId(partition)).await.unwrap();
        assert!(bounds.start <= history.floor(partition, done), "it starts at {}", bounds.start);
        let records = read_all(&log, partition).await.unwrap();
        assert_eq!(records.first().map_or(bounds.end, |record| record.offset), bounds.start);
        for record in &records {
            let value = record.raw.value.as_deref().unwrap();
            assert!(history.may_hold(partition, record.offset, value, done), "offset {}", record.offset);
        }
        assert!(bounds.end >= history.acked_end(partition, done), "it ends at {}", bounds.end);
        assert_eq!(append(&log, partition, "after").await.offset, bounds.end);
        ends.push(bounds.end.next());
    }
    drop(log);
    let log = try_open(dir, options(), unsynced()).unwrap();
    assert_eq!(super::ends(&log).await, ends);
    assert_eq!(super::values(&log, 1).await.last().unwrap(), b"after");
}

/// Tries every crash of a run. Returns how many there were, and whether a sync failed.
async fn every_crash_keeps_what_was_acked(run: Run) -> (usize, bool) {
    let (operations, history) = run.record().await;
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, mut states) = (Disk::default(), 0);
    for done in 0..=operations.len() {
        for (at, image) in disk.images().into_iter().enumerate() {
            lay_out(dir.path(), &image);
            let checked = tokio::spawn({
                let (dir, history) = (dir.path().to_owned(), history.clone());
                async move { check(&dir, &history, done).await }
            });
            if let Err(panic) = checked.await {
                let around = &operations[done.saturating_sub(3)..operations.len().min(done + 1)];
                panic!("{run:?}, image {at} after {done} operations, lately {around:?}: {panic}");
            }
            states += 1;
        }
        if let Some(operation) = operations.get(done) {
            disk.apply(operation);
        }
    }
    (states, operations.iter().any(|operation| matches!(operation, Operation::SyncFailed)))
}

#[tokio::test]
async fn no_crash_loses_what_was_acked() {
    let (mut states, _) = every_crash_keeps_what_was_acked(Run { fails_at: None }).await;
    for fails_at in 0.. {
        let (of_run, failed) = every_crash_keeps_what_was_acked(Run { fails_at: Some(fails_at) }).await;
        if !failed {
            break;
        }
        states += of_run;
    }
    assert!(states > 10_000, "{states} crash states");
}

#[test]
fn a_history_tells_acked_from_sent() {
    let mut history = History::default();
    history.sent(0, Offset(0), b"lost".to_vec(), 3);
    history.sent(0, Offset(0), b"kept".to_vec(), 7);
    history.acked(0, Offset(0), b"kept".to_vec(), 9);
    assert!(!history.may_hold(0, Offset(0), b"lost", 2));
    assert!(history.may_hold(0, Offset(0), b"lost", 8) && history.may_hold(0, Offset(0), b"kept", 8));
    assert!(history.may_hold(0, Offset(0), b"kept", 9) && !history.may_hold(0, Offset(0), b"lost", 9));
    assert_eq!((history.acked_end(0, 8), history.acked_end(0, 9)), (Offset(0), Offset(1)));
}
