//! Opening, growing, trimming and reopening.

use std::sync::{Arc, Mutex, mpsc};

use super::*;

#[tokio::test]
async fn a_log_dropped_without_close_has_everything_that_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for at in 0..30u8 {
        drop(log.enqueue(&[to(0, vec![at; 500]), to(1, [at])]).unwrap());
    }
    drop(log);
    let log = open(dir.path());
    assert_eq!(values(&log, 0).await, (0..30).map(|at| vec![at; 500]).collect::<Vec<_>>());
    assert_eq!(append(&log, 1, "next").await.offset, Offset(30));
}

#[tokio::test]
async fn an_idle_partition_whose_segments_are_gone_keeps_its_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for at in 0..3u8 {
        append(&log, 1, [at]).await;
    }
    for at in 0..20u8 {
        append(&log, 0, [at; 1500]).await;
    }
    log.trim(&ends(&log).await).await.unwrap();
    drop(log);
    assert_eq!(segments(dir.path()).len(), 1);
    let log = open(dir.path());
    let bounds = log.bounds(PartitionId(1)).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (Offset(3), Offset(3)));
    assert_eq!(append(&log, 1, "next").await.offset, Offset(3));
}

#[tokio::test]
async fn a_segment_goes_only_when_every_partition_in_it_is_below_its_floor() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 1, "early").await;
    for at in 0..20u8 {
        append(&log, 0, [at; 1500]).await;
    }
    let before = segments(dir.path()).len();
    log.trim(&[Offset(20), Offset(0)]).await.unwrap();
    assert_eq!(segments(dir.path()).len(), before);
    log.trim(&[Offset(10), Offset(1)]).await.unwrap();
    let after = segments(dir.path()).len();
    assert!(after < before && after > 1);
    assert!(log.bounds(P0).await.unwrap().start <= Offset(10));
    assert_eq!(values(&log, 0).await.last().unwrap(), &[19; 1500]);
}

#[tokio::test]
async fn a_segment_that_cannot_be_removed_stays_before_its_successors() {
    let dir = tempfile::tempdir().unwrap();
    let failing = Arc::new(Mutex::new(true));
    let files = Files::watched({
        let failing = Arc::clone(&failing);
        move |op| {
            let fails = matches!(op, Op::Remove(_)) && *failing.lock().unwrap();
            fails.then(|| Fault::Fail(std::io::Error::other("no")))
        }
    });
    let log = try_open(dir.path(), options(), files).unwrap();
    for at in 0..9u8 {
        append(&log, 0, [at; 1500]).await;
    }
    let before = segments(dir.path()).len();
    for _ in 0..2 {
        assert!(matches!(log.trim(&ends(&log).await).await, Err(Error::Unavailable { .. })));
        assert_eq!((segments(dir.path()).len(), values(&log, 0).await.len()), (before, 9));
    }
    *failing.lock().unwrap() = false;
    log.trim(&ends(&log).await).await.unwrap();
    drop(log);
    assert_eq!(segments(dir.path()).len(), 1);
    open(dir.path());
}

#[tokio::test]
async fn a_group_larger_than_a_segment_gets_a_segment_of_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 0, "small").await;
    append(&log, 0, vec![1; 300_000]).await;
    append(&log, 0, "small").await;
    log.append((0..9).map(|_| to(1, vec![2; 100_000])).collect()).await.unwrap();
    assert_eq!(
        log.read(PartitionId(1), Offset(8), 1).await.unwrap().records[0].raw,
        to(1, vec![2; 100_000]).raw
    );
    drop(log);
    let log = open(dir.path());
    let lengths = |values: Vec<Vec<u8>>| values.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(values(&log, 0).await), [5, 300_000, 5]);
    assert_eq!(lengths(values(&log, 1).await), [100_000; 9]);
}

#[tokio::test]
async fn what_was_left_unfinished_is_removed_and_foreign_files_are_let_be() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()), 0, "1").await;
    let foreign = dir.path().join(STREAM).join("notes.txt");
    fs::write(&foreign, "mine").unwrap();
    fs::write(dir.path().join(STREAM).join("0000000000000002.unfinished"), "half").unwrap();
    let log = open(dir.path());
    assert_eq!(values(&log, 0).await, [b"1"]);
    assert_eq!(segments(dir.path()), [dir.path().join(STREAM).join("0000000000000001.segment"), foreign]);
}

#[tokio::test]
async fn more_segments_than_are_kept_open_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = try_open(dir.path(), options(), unsynced()).unwrap();
    for at in 0..100u8 {
        append(&log, 0, [at; 4000]).await;
    }
    for _ in 0..2 {
        assert_eq!(values(&log, 0).await, (0..100).map(|at| vec![at; 4000]).collect::<Vec<_>>());
    }
}

/// Files whose group syncs wait: each tells that it has come, and goes on when it is told to.
pub(super) fn gated() -> (Files, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((came, at_sync), (go, may_go)) = (mpsc::channel(), mpsc::channel());
    let gate = Mutex::new((came, may_go));
    let group = Mutex::new(false);
    let files = Files::watched(move |op| {
        let of_group = matches!(op, Op::Write(_, position, _) if *position > 0);
        if of_group {
            *group.lock().unwrap() = true;
        } else if matches!(op, Op::Sync(_)) && std::mem::take(&mut *group.lock().unwrap()) {
            let (came, may_go) = &*gate.lock().unwrap();
            // Either end is gone when the case is over.
            let _over = came.send(());
            let _over = may_go.recv();
        }
        None
    });
    (files, at_sync, go)
}

#[tokio::test]
async fn calls_gather_while_a_sync_runs_and_share_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (files, at_sync, go) = gated();
    let log = try_open(dir.path(), options(), files).unwrap();
    let first = log.enqueue(&[to(0, "0")]).unwrap();
    at_sync.recv().unwrap();
    let rest: Vec<_> = (1..=40).map(|at| log.enqueue(&[to(0, [at])]).unwrap()).collect();
    go.send(()).unwrap();
    first.await.unwrap();
    at_sync.recv().unwrap();
    go.send(()).unwrap();
    for (offset, acks) in (1..).zip(rest) {
        assert_eq!(acks.await.unwrap()[0].offset, Offset(offset));
    }
    assert!(at_sync.try_recv().is_err(), "there was no third sync");
}

#[tokio::test]
async fn a_group_of_more_pieces_than_one_system_call_takes_is_written_whole() {
    const CALLS: u16 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let (files, at_sync, go) = gated();
    let log = try_open(dir.path(), options(), files).unwrap();
    let first = log.enqueue(&[to(1, "first")]).unwrap();
    at_sync.recv().unwrap();
    let value = |at: u16| at.to_le_bytes().repeat(1 + usize::from(at % 7));
    let rest: Vec<_> = (0..CALLS).map(|at| log.enqueue(&[to(0, value(at))]).unwrap()).collect();
    go.send(()).unwrap();
    first.await.unwrap();
    at_sync.recv().unwrap();
    go.send(()).unwrap();
    for acks in rest {
        acks.await.unwrap();
    }
    drop(log);
    assert_eq!(values(&open(dir.path()), 0).await, (0..CALLS).map(value).collect::<Vec<_>>());
}
