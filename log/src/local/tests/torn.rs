//! The last group, torn in every way, is cut, and nothing before it is harmed.

use super::*;

/// A segment with two groups; where the second starts and ends, and what it holds.
async fn two_groups(dir: &Path) -> (Vec<u8>, std::ops::Range<usize>) {
    let log = open(dir);
    log.append(vec![to(0, "first"), to(1, "other")]).await.unwrap();
    let Log::Local(local) = &log else { unreachable!("it is a local log") };
    let start = local.0.shared.state().cursor.position;
    log.append(vec![to(1, "second"), to(0, [9; 40]), to(1, "third")]).await.unwrap();
    let end = local.0.shared.state().cursor.position;
    log.close().await;
    let bytes = fs::read(&segments(dir)[0]).unwrap();
    (bytes, usize::try_from(start).unwrap()..usize::try_from(end).unwrap())
}

/// Opens the segment as it is now: the first group is there, and the second whole or not at all; then goes on.
async fn recovers(dir: &Path, whole: bool) {
    let log = try_open(dir, options(), unsynced()).unwrap();
    let (end, other_end) = if whole { (2, 3) } else { (1, 1) };
    assert_eq!(ends(&log).await, [Offset(end), Offset(other_end)]);
    assert_eq!(values(&log, 0).await[0], b"first");
    assert_eq!(values(&log, 1).await[0], b"other");
    assert_eq!(append(&log, 0, "next").await.offset, Offset(end));
    drop(log);
    let log = try_open(dir, options(), unsynced()).unwrap();
    assert_eq!(values(&log, 0).await.last().unwrap(), b"next");
}

#[tokio::test]
async fn a_group_cut_off_at_any_byte_is_gone_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, second) = two_groups(dir.path()).await;
    let path = &segments(dir.path())[0];
    for length in second.clone() {
        fs::write(path, &bytes[..length]).unwrap();
        recovers(dir.path(), false).await;
    }
    fs::write(path, &bytes[..second.end]).unwrap();
    recovers(dir.path(), true).await;
}

#[tokio::test]
async fn a_group_with_zeros_or_garbage_from_any_byte_on_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, second) = two_groups(dir.path()).await;
    let path = &segments(dir.path())[0];
    for start in second.clone() {
        for fill in [0x00, 0xff, 0xa5] {
            let mut torn = bytes.clone();
            torn[start..second.end].fill(fill);
            // What was zero before (padding, or a length's high bytes) may be whole when filled with zeros.
            let whole = torn == bytes || is_padding(&bytes, start, &second);
            torn[second.end..].fill(fill);
            fs::write(path, &torn).unwrap();
            recovers(dir.path(), whole).await;
        }
    }
}

/// Only zeros that pad the group follow.
fn is_padding(bytes: &[u8], start: usize, group: &std::ops::Range<usize>) -> bool {
    let header = super::super::format::GroupHeader::decode(&bytes[group.clone()]).unwrap();
    let last = header.blocks.last().unwrap();
    start >= group.start + (last.start + last.length) as usize
}

#[tokio::test]
async fn a_group_that_lacks_any_one_disk_sector_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log =
        try_open(dir.path(), Options { segment_bytes: 1 << 16, ..options() }, Files::default()).unwrap();
    append(&log, 0, "first").await;
    append(&log, 0, [7; 5000]).await;
    drop(log);
    let path = &segments(dir.path())[0];
    let bytes = fs::read(path).unwrap();
    for sector in (4096..4096 + 5500).step_by(512) {
        let mut torn = bytes.clone();
        let kept = if sector == 4096 { 4096 + 200 } else { sector };
        torn[kept..sector + 512].fill(0);
        fs::write(path, &torn).unwrap();
        let log = try_open(dir.path(), options(), unsynced()).unwrap();
        assert_eq!(values(&log, 0).await, [b"first"], "sector {sector}");
    }
}

#[tokio::test]
async fn a_value_that_holds_a_copy_of_a_group_does_not_pass_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, second) = two_groups(dir.path()).await;
    let (log, path) = (open(dir.path()), &segments(dir.path())[0]);
    let copies: Vec<u8> =
        (0..8).flat_map(|shift| [vec![0; shift], bytes[second.clone()].to_vec()].concat()).collect();
    append(&log, 0, copies).await;
    drop(log);
    edit(path, |bytes| bytes[second.end + 40] ^= 1);
    recovers(dir.path(), true).await;
}
