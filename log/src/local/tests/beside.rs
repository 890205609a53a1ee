//! Reading beside the process that writes, and without one.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::local;

async fn beside(dir: &Path) -> Result<Log, Error> {
    local::Log::open_read_only(dir, STREAM, 2).await.map(Log::Local)
}

/// Everything in the folder: names and bytes.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    segments(dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn what_is_written_meanwhile_is_read_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 0, "first").await;
    let other = beside(dir.path()).await.unwrap();
    assert_eq!(values(&other, 0).await, [b"first"]);
    for n in 0..40 {
        append(&log, n % 2, vec![b'x'; 700]).await;
    }
    assert!(segments(dir.path()).len() > 3, "it has rolled");
    assert_eq!(values(&other, 0).await, values(&log, 0).await);
    assert_eq!(values(&other, 1).await, values(&log, 1).await);
    assert_eq!(ends(&other).await, ends(&log).await);
    let late = beside(dir.path()).await.unwrap();
    assert_eq!(values(&late, 1).await, values(&log, 1).await);
}

#[tokio::test]
async fn a_read_from_the_end_finds_what_came() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let other = beside(dir.path()).await.unwrap();
    append(&log, 0, "a").await;
    let read = other.read(P0, Offset(0), 1 << 20).await.unwrap();
    assert_eq!(read.next, Offset(1));
    append(&log, 0, "b").await;
    assert!(other.record(P0, Offset(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn it_takes_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let other = beside(dir.path()).await.unwrap();
    let refused = other.append(vec![to(0, "a")]).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    other.close().await;
    drop(log);
}

#[tokio::test]
async fn without_a_log_there_is_nothing_to_read_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let missing = beside(dir.path()).await.unwrap_err();
    assert!(matches!(missing, Error::Unavailable { .. }), "{missing}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_torn_tail_is_not_read_and_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 0, "whole").await;
    append(&log, 0, "torn").await;
    log.close().await;
    drop(log);
    let last = segments(dir.path()).pop().unwrap();
    edit(&last, |bytes| {
        let at = bytes.windows(4).rposition(|window| window == b"torn").unwrap();
        bytes[at] ^= 1;
    });
    let before = contents(dir.path());
    let other = beside(dir.path()).await.unwrap();
    assert_eq!(values(&other, 0).await, [b"whole"]);
    assert_eq!(ends(&other).await[0], Offset(1));
    drop(other);
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test]
async fn damage_before_a_whole_group_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 0, "damaged").await;
    append(&log, 0, "whole").await;
    drop(log);
    edit(&segments(dir.path())[0], |bytes| {
        let at = bytes.windows(7).position(|window| window == b"damaged").unwrap();
        bytes[at] ^= 1;
    });
    let told = beside(dir.path()).await.unwrap_err();
    assert!(matches!(told, Error::Corrupt { .. }), "{told}");
}

#[tokio::test]
async fn while_it_is_read_nothing_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for _ in 0..20 {
        append(&log, 0, vec![b'x'; 1500]).await;
    }
    let floors = [Offset(10), Offset(0)];
    let (one, other) = (beside(dir.path()).await.unwrap(), beside(dir.path()).await.unwrap());
    log.trim(&floors).await.unwrap();
    drop(one);
    log.trim(&floors).await.unwrap();
    assert_eq!(other.bounds(P0).await.unwrap().start, Offset(0));
    assert_eq!(values(&other, 0).await.len(), 20);
    drop(other);
    log.trim(&floors).await.unwrap();
    assert!(log.bounds(P0).await.unwrap().start > Offset(0), "nobody reads any more");
}

#[tokio::test]
async fn what_is_gone_all_the_same_is_told_as_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for _ in 0..20 {
        append(&log, 0, vec![b'x'; 1500]).await;
    }
    let other = beside(dir.path()).await.unwrap();
    for segment in &segments(dir.path())[..2] {
        fs::remove_file(segment).unwrap();
    }
    let told = other.read(P0, Offset(0), 1 << 20).await.unwrap_err();
    let start = other.bounds(P0).await.unwrap().start;
    assert!(start > Offset(0), "something is gone");
    assert!(matches!(told, Error::Trimmed { start: told } if told == start), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_a_busy_writer_sees_nothing_but_whole_records_in_order() {
    const RECORDS: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, ..options() };
    let log = try_open(dir.path(), options, unsynced()).unwrap();
    let other = beside(dir.path()).await.unwrap();
    let done = std::sync::Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (log, done) = (log.clone(), std::sync::Arc::clone(&done));
        async move {
            for n in 0..RECORDS {
                append(&log, 0, vec![u8::try_from(n % 251).unwrap(); 1 + n % 900]).await;
            }
            done.store(true, Ordering::Release);
        }
    });
    let mut next = Offset(0);
    while usize::try_from(next.0).unwrap() < RECORDS {
        let was_done = done.load(Ordering::Acquire);
        let read = other.read(P0, next, 64 << 10).await.unwrap();
        for record in &read.records {
            let n = usize::try_from(record.offset.0).unwrap();
            let value = record.raw.value.clone().unwrap();
            assert_eq!((value.len(), value[0]), (1 + n % 900, u8::try_from(n % 251).unwrap()));
        }
        assert!(read.next > next || !was_done, "all that was acked is there");
        next = read.next;
    }
    writing.await.unwrap();
}
