//! Failing files: who is told what, and that nothing acked is lost.

use std::{
    future::Future,
    io,
    os::unix::fs::FileExt,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use super::{life::gated, *};

type Failing = Arc<Mutex<Box<dyn FnMut(&Op<'_>) -> bool + Send>>>;

/// Files that fail where the test says; a write that fails has left half of its bytes.
fn failing() -> (Files, Failing) {
    let failing: Failing = Arc::new(Mutex::new(Box::new(|_| false)));
    let files = Files::watched({
        let failing = Arc::clone(&failing);
        move |op| {
            let fails = (failing.lock().unwrap())(op);
            if let (true, Op::Write(path, position, parts)) = (fails, op) {
                let bytes = joined(parts);
                let file = fs::File::options().write(true).open(path).unwrap();
                file.write_all_at(&bytes[..bytes.len() / 2], *position).unwrap();
            }
            fails.then(|| Fault::Fail(io::Error::from(io::ErrorKind::StorageFull)))
        }
    });
    (files, failing)
}

fn set(failing: &Failing, when: impl FnMut(&Op<'_>) -> bool + Send + 'static) {
    *failing.lock().unwrap() = Box::new(when);
}

fn is_group(op: &Op<'_>) -> bool {
    matches!(op, Op::Write(_, position, _) if *position > 0)
}

#[tokio::test]
async fn an_ack_and_its_record_come_only_after_the_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (files, at_sync, go) = gated();
    let log = try_open(dir.path(), options(), files).unwrap();
    let mut changes = log.changes();
    let mut acks = pin!(log.enqueue(&[to(0, "1")]).unwrap());
    at_sync.recv().unwrap();
    let poll = acks.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Pending), "{poll:?}");
    assert_eq!(log.bounds(P0).await.unwrap().end, Offset(0));
    assert_eq!(log.read(P0, Offset(0), 1).await.unwrap().records, []);
    assert!(!changes.has_changed().unwrap());
    go.send(()).unwrap();
    assert_eq!(acks.await.unwrap()[0].offset, Offset(0));
    assert_eq!(log.read(P0, Offset(0), 1).await.unwrap().records.len(), 1);
    assert!(changes.has_changed().unwrap());
    changes.changed().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_takes_again_when_it_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let (files, at_sync, go) = gated();
    let log = try_open(dir.path(), Options { queue_bytes_max: 1000, ..options() }, files).unwrap();
    let taken = [log.enqueue(&[to(0, [0; 500])]).unwrap(), log.enqueue(&[to(0, [1; 300])]).unwrap()];
    at_sync.recv().unwrap();
    let refused = log.enqueue(&[to(0, [2; 300])]);
    assert!(matches!(refused, Err(Error::Backpressure { max: 1000, .. })), "{refused:?}");
    drop(go);
    for acks in taken {
        acks.await.unwrap();
    }
    log.close().await;
    assert_eq!(values(&log, 0).await.len(), 2);
    let never = log.enqueue(&[to(0, [3; 1001])]);
    assert!(matches!(never, Err(Error::TooLarge { max: 1000, .. })), "{never:?}");
}

/// Fails once in the third group, where `when` says; then everything acked is there, and the log works.
async fn fails_once(when: fn(&Op<'_>) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let (files, failing) = failing();
    let log = try_open(dir.path(), options(), files.clone()).unwrap();
    append(&log, 0, "1").await;
    append(&log, 0, "2").await;
    let mut left = 1;
    set(&failing, move |op| when(op) && std::mem::take(&mut left) == 1);
    let failed = log.append(vec![to(0, [3; 600]), to(1, "x")]).await;
    assert!(matches!(failed, Err(Error::Unknown { .. })), "{failed:?}");
    assert_eq!(ends(&log).await, [Offset(2), Offset(0)]);
    assert_eq!(append(&log, 0, "3").await.offset, Offset(2));
    for _ in 0..2 {
        assert_eq!(values(&log, 0).await, [b"1", b"2", b"3"]);
        append(&log, 1, "y").await;
    }
    drop(log);
    let log = try_open(dir.path(), options(), files).unwrap();
    assert_eq!(values(&log, 0).await, [b"1", b"2", b"3"]);
    assert_eq!(values(&log, 1).await, [b"y", b"y"]);
}

#[tokio::test]
async fn a_failed_write_is_unknown_and_the_log_goes_on() {
    fails_once(is_group).await;
}

#[tokio::test]
async fn a_failed_sync_is_unknown_and_the_log_goes_on() {
    fails_once(|op| matches!(op, Op::Sync(_))).await;
}

#[tokio::test]
async fn a_file_whose_sync_failed_is_cut_before_anything_else_is_written_or_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (files, failing) = failing();
    let log = try_open(dir.path(), options(), files).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    set(&failing, {
        let seen = Arc::clone(&seen);
        move |op| {
            let name = format!("{op:?}").split('(').next().unwrap().to_owned();
            seen.lock().unwrap().push(name);
            matches!(op, Op::Sync(_)) && seen.lock().unwrap().len() == 2
        }
    });
    assert!(log.append(vec![to(0, "1")]).await.is_err());
    append(&log, 0, "2").await;
    assert_eq!(*seen.lock().unwrap(), ["Write", "Sync", "SetLen", "Allocate", "Sync", "Write", "Sync"]);
}

#[tokio::test]
async fn while_a_failure_is_not_cleared_away_appends_are_certainly_not_on_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (files, failing) = failing();
    let log = try_open(dir.path(), options(), files).unwrap();
    append(&log, 0, "1").await;
    set(&failing, |op| matches!(op, Op::Sync(_) | Op::SetLen(..)));
    assert!(matches!(log.append(vec![to(0, "2")]).await, Err(Error::Unknown { .. })));
    for _ in 0..3 {
        let refused = log.append(vec![to(0, "3")]).await;
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    }
    assert_eq!(values(&log, 0).await, [b"1"]);
    set(&failing, |_| false);
    assert_eq!(append(&log, 0, "4").await.offset, Offset(1));
    drop(log);
    assert_eq!(values(&open(dir.path()), 0).await, [b"1", b"4"]);
}

#[tokio::test]
async fn a_full_disk_refuses_new_segments_loses_nothing_and_recovers() {
    let causes: [fn(&Op<'_>) -> bool; 6] = [
        |op| matches!(op, Op::Create(_)),
        |op| matches!(op, Op::Allocate(..)),
        |op| matches!(op, Op::Write(_, 0, _)),
        |op| matches!(op, Op::Sync(path) if path.extension().unwrap() == "unfinished"),
        |op| matches!(op, Op::Rename(..)),
        |op| matches!(op, Op::SyncDir(_)),
    ];
    for (at, cause) in causes.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let (files, failing) = failing();
        let log = try_open(dir.path(), options(), files).unwrap();
        set(&failing, cause);
        let (mut acked, mut refused) = (0, None);
        while acked < 20 && refused.is_none() {
            match log.append(vec![to(0, [1; 900])]).await {
                Ok(_) => acked += 1,
                Err(error) => refused = Some(error),
            }
        }
        let refused = refused.expect("20 records need several segments");
        assert!(matches!(refused, Error::Unavailable { .. }), "cause {at}: {refused:?}");
        assert!(log.append(vec![to(0, [1; 900])]).await.is_err());
        assert_eq!(values(&log, 0).await.len(), acked, "cause {at}");
        set(&failing, |_| false);
        append(&log, 0, "2").await;
        drop(log);
        let log = open(dir.path());
        assert_eq!(values(&log, 0).await.len(), acked + 1, "cause {at}");
    }
}

#[tokio::test]
async fn an_unsynced_group_that_an_open_finds_is_written_again_and_synced_before_it_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    let (files, failing) = failing();
    let log = try_open(dir.path(), options(), files.clone()).unwrap();
    append(&log, 0, "1").await;
    set(&failing, |op| matches!(op, Op::Sync(_) | Op::SetLen(..)));
    assert!(matches!(log.append(vec![to(0, "2")]).await, Err(Error::Unknown { .. })));
    drop(log);
    let seen = Arc::new(Mutex::new(Vec::new()));
    set(&failing, {
        let seen = Arc::clone(&seen);
        move |op| {
            seen.lock().unwrap().push(match op {
                Op::Write(_, _, parts) => {
                    format!("write {:?}", joined(parts).iter().rev().find(|byte| **byte != 0))
                }
                other => format!("{other:?}").split('(').next().unwrap().to_owned(),
            });
            false
        }
    });
    let log = try_open(dir.path(), options(), files).unwrap();
    assert_eq!(*seen.lock().unwrap(), ["SyncDir", "SyncDir", "write Some(50)", "Sync"]);
    assert_eq!(values(&log, 0).await, [b"1", b"2"]);
}

#[tokio::test]
async fn a_log_that_takes_nothing_says_why_until_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let (files, failing) = failing();
    let log = try_open(dir.path(), options(), files).unwrap();
    append(&log, 0, "1").await;
    assert_eq!(log.shut(), None);
    set(&failing, |op| matches!(op, Op::Sync(_)));
    assert!(log.append(vec![to(0, "2")]).await.is_err());
    let shut = log.shut().unwrap();
    assert!(!shut.dead && shut.reason.starts_with("its disk"), "{shut:?}");
    set(&failing, |_| false);
    append(&log, 0, "3").await;
    assert_eq!(log.shut(), None);
}
