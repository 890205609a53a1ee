//! What was once synced and is no longer what was written: halts, is never cut and never served.

use super::*;

fn is_corrupt<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Corrupt { .. }))
}

/// Several sealed segments and a last one; the values of partition 0.
async fn several_segments(dir: &Path) -> Vec<Vec<u8>> {
    let log = open(dir);
    for at in 0..12u8 {
        log.append(vec![to(0, vec![at; 700]), to(1, vec![at; 300])]).await.unwrap();
    }
    let values = values(&log, 0).await;
    drop(log);
    assert!(segments(dir).len() >= 3);
    values
}

#[tokio::test]
async fn a_bad_group_before_a_good_one_halts_and_nothing_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 0, "first").await;
    let Log::Local(local) = &log else { unreachable!("it is a local log") };
    let end = usize::try_from(local.0.shared.state().cursor.position).unwrap();
    append(&log, 0, "second").await;
    drop(log);
    let path = &segments(dir.path())[0];
    let bytes = fs::read(path).unwrap();
    for at in 4096..end {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        fs::write(path, &bad).unwrap();
        match try_open(dir.path(), options(), unsynced()) {
            Err(Error::Corrupt { .. }) => assert_eq!(fs::read(path).unwrap(), bad),
            // What pads the group is nobody's.
            Ok(log) => {
                assert!(end - at < 8 && values(&log, 0).await == [b"first".to_vec(), b"second".to_vec()]);
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_sealed_segment_is_detected_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let expected = several_segments(dir.path()).await;
    let path = &segments(dir.path())[1];
    let bytes = fs::read(path).unwrap();
    let mut detected = 0;
    for at in (4096..bytes.len()).step_by(3) {
        edit(path, |bytes| bytes[at] ^= 1 << (at % 8));
        let log = try_open(dir.path(), options(), unsynced()).unwrap();
        let (read, other) = (read_all(&log, 0).await, read_all(&log, 1).await);
        detected += usize::from(is_corrupt(&read) || is_corrupt(&other));
        if let Ok(read) = read {
            assert!(
                read.iter().map(|record| record.raw.value.as_deref().unwrap()).eq(&expected),
                "byte {at}"
            );
        }
        fs::write(path, &bytes).unwrap();
    }
    let tried = (bytes.len() - 4096).div_ceil(3);
    assert!(detected > tried * 9 / 10, "all but padding: {detected} of {tried}");
}

#[tokio::test]
async fn a_damaged_header_of_any_segment_halts() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).await;
    for path in segments(dir.path()) {
        for at in 0..48 + 2 * 8 + 4 {
            edit(&path, |bytes| bytes[at] ^= 1);
            assert!(is_corrupt(&try_open(dir.path(), options(), unsynced())), "byte {at} of {path:?}");
            edit(&path, |bytes| bytes[at] ^= 1);
        }
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..40]).unwrap();
        assert!(is_corrupt(&try_open(dir.path(), options(), unsynced())));
        fs::write(&path, whole).unwrap();
    }
    open(dir.path());
}

#[tokio::test]
async fn a_missing_segment_halts() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).await;
    fs::remove_file(&segments(dir.path())[1]).unwrap();
    let answer = try_open(dir.path(), options(), Files::default());
    assert!(is_corrupt(&answer));
}

#[tokio::test]
async fn a_segment_of_another_log_halts() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    several_segments(dir.path()).await;
    several_segments(other.path()).await;
    fs::copy(&segments(other.path())[1], &segments(dir.path())[1]).unwrap();
    assert!(is_corrupt(&try_open(dir.path(), options(), Files::default())));
}

#[tokio::test]
async fn a_sealed_segment_that_lost_its_tail_halts_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).await;
    let path = &segments(dir.path())[1];
    let length = fs::metadata(path).unwrap().len();
    for cut in [1, 700, length - 4096] {
        let whole = fs::read(path).unwrap();
        edit(path, |bytes| bytes.truncate(usize::try_from(length - cut).unwrap()));
        let log = open(dir.path());
        assert!(is_corrupt(&read_all(&log, 0).await), "{cut} bytes less");
        fs::write(path, whole).unwrap();
    }
}

#[tokio::test]
async fn a_segment_that_vanishes_under_a_running_log_halts_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).await;
    let log = open(dir.path());
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    assert!(is_corrupt(&read_all(&log, 0).await));
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    several_segments(dir.path()).await;
    let answer = try_open(dir.path(), Options { partitions: 3, ..options() }, Files::default());
    assert!(is_corrupt(&answer));
}
