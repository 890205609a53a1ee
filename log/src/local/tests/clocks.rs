//! Append times when the wall clock misbehaves.

use std::{sync::Arc, time::Duration};

use super::*;

fn with(clock: &Arc<Manual>) -> Options {
    Options { clock: Clock::Manual(Arc::clone(clock)), ..options() }
}

#[tokio::test]
async fn a_clock_that_goes_back_does_not_take_times_back_even_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::new(UnixMillis(50_000));
    let log = try_open(dir.path(), with(&clock), Files::default()).unwrap();
    assert_eq!(append(&log, 0, "1").await.time, UnixMillis(50_000));
    clock.set_wall(UnixMillis(40_000));
    assert_eq!(append(&log, 1, "2").await.time, UnixMillis(50_000));
    drop(log);
    let log = try_open(dir.path(), with(&clock), Files::default()).unwrap();
    assert_eq!(append(&log, 1, "3").await.time, UnixMillis(50_000));
    clock.advance(Duration::from_secs(20));
    assert_eq!(append(&log, 0, "4").await.time, UnixMillis(60_000));
    assert!(read_all(&log, 0).await.unwrap().is_sorted_by_key(|record| record.time));
}

#[tokio::test]
async fn the_last_time_survives_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Manual::new(UnixMillis(50_000));
    let log = try_open(dir.path(), with(&clock), Files::default()).unwrap();
    append(&log, 0, [0; 4000]).await;
    append(&log, 1, [0; 4000]).await;
    log.trim(&ends(&log).await).await.unwrap();
    drop(log);
    edit(&segments(dir.path())[0], |bytes| bytes.truncate(4096));
    clock.set_wall(UnixMillis(1));
    let log = try_open(dir.path(), with(&clock), Files::default()).unwrap();
    assert_eq!(ends(&log).await, [Offset(1), Offset(0)], "only the header of the last segment is left");
    assert_eq!(append(&log, 1, "1").await.time, UnixMillis(50_000));
}

#[tokio::test]
async fn a_wall_clock_that_parts_from_elapsed_time_is_refused_until_it_is_right_again() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in [UnixMillis(50_000 - 600_000), UnixMillis(50_000 + 600_000)] {
        let clock = Manual::new(UnixMillis(50_000));
        let log = try_open(dir.path(), with(&clock), Files::default()).unwrap();
        let end = ends(&log).await;
        clock.set_wall(wrong);
        let refused = log.append(vec![to(0, "wrong")]).await;
        assert!(
            matches!(&refused, Err(Error::Unavailable { reason, .. }) if reason.contains("clock")),
            "{refused:?}"
        );
        assert_eq!(ends(&log).await, end);
        clock.set_wall(UnixMillis(50_000 + 599_999));
        clock.advance(Duration::from_hours(1));
        append(&log, 0, "right").await;
        fs::remove_dir_all(dir.path()).unwrap();
    }
}
