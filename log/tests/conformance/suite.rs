//! What every log must do, as scenarios on an empty log.

use std::collections::HashMap;

use bytes::Bytes;
use millpond_log::{Ack, Append, Bounds, Error, Extent, Log, Read};
use millpond_schemas::{ByteString, Offset, PartitionId, Raw, UnixMillis};
use tokio::task::JoinSet;

use super::{PARTITIONS, raw, read_all, to};

const P0: PartitionId = PartitionId(0);
const MIB: usize = 1 << 20;

async fn bounds(log: &Log, partition: u32) -> (i64, i64) {
    let Bounds { start, end } = log.bounds(PartitionId(partition)).await.unwrap();
    (start.0, end.0)
}

pub(crate) async fn an_appended_record_is_read_back(log: &Log) {
    assert_eq!(log.partitions(), PARTITIONS);
    assert_eq!(bounds(log, 0).await, (0, 0));
    assert_eq!(log.read(P0, Offset(0), MIB).await.unwrap().records, []);
    let acks = log.append(vec![to(0, raw("a", "1"))]).await.unwrap();
    let read = log.read(P0, Offset(0), MIB).await.unwrap().records;
    assert_eq!(acks, [Ack { offset: read[0].offset, time: read[0].time }]);
    assert_eq!((read.len(), read[0].offset, &read[0].raw), (1, Offset(0), &raw("a", "1")));
    assert_eq!((bounds(log, 0).await, bounds(log, 1).await), ((0, 1), (0, 0)));
}

pub(crate) async fn one_call_spans_partitions_and_is_acked_in_its_order(log: &Log) {
    let partitions = [2, 0, 2, 3, 0, 2];
    let records = |round: i32| {
        let name = move |at| format!("{round}-{at}");
        partitions.iter().enumerate().map(move |(at, p)| to(*p, raw("k", name(at)))).collect::<Vec<_>>()
    };
    let first = log.append(records(0)).await.unwrap();
    let second = log.append(records(1)).await.unwrap();
    assert_eq!(first.iter().map(|ack| ack.offset.0).collect::<Vec<_>>(), [0, 0, 1, 0, 1, 2]);
    assert_eq!(second.iter().map(|ack| ack.offset.0).collect::<Vec<_>>(), [3, 2, 4, 1, 3, 5]);
    for (round, acks) in [first, second].iter().enumerate() {
        for (record, ack) in records(i32::try_from(round).unwrap()).into_iter().zip(acks) {
            let read = log.record(record.partition, ack.offset).await.unwrap().unwrap();
            assert_eq!((&read.raw, read.offset), (&record.raw, ack.offset));
        }
    }
    assert_eq!(bounds(log, 1).await, (0, 0));
}

pub(crate) async fn a_call_without_records_is_acked(log: &Log) {
    assert_eq!(log.append(Vec::new()).await.unwrap(), []);
    assert_eq!(bounds(log, 0).await, (0, 0));
}

pub(crate) async fn every_byte_comes_back(log: &Log) {
    let parts =
        [None, Some(Bytes::new()), Some(Bytes::from_static(b"\0\xff\n/")), Some(Bytes::from(vec![7; 300]))];
    let headers = [
        vec![],
        vec![("kv-format".into(), Bytes::from_static(b"record"))],
        vec![
            ("same".into(), Bytes::from_static(b"1")),
            (ByteString::new(), Bytes::new()),
            ("same".into(), Bytes::from_static(b"\xfe")),
            ("naïve".into(), Bytes::from_static(b"2")),
        ],
    ];
    let mut sent = Vec::new();
    for key in &parts {
        for value in &parts {
            for headers in &headers {
                sent.push(Raw { key: key.clone(), headers: headers.clone(), value: value.clone() });
            }
        }
    }
    log.append(sent.iter().map(|raw| to(1, raw.clone())).collect()).await.unwrap();
    let read = read_all(log, 1, Offset(0), 100).await;
    assert_eq!(read.into_iter().map(|record| record.raw).collect::<Vec<_>>(), sent);
}

pub(crate) async fn a_read_starts_at_any_offset_and_keeps_to_its_bound(log: &Log) {
    const COUNT: i64 = 120;
    for from in (0..COUNT).step_by(7) {
        let records = (from..COUNT.min(from + 7)).map(|at| to(0, raw("k", format!("{at:0999}"))));
        log.append(records.chain([to(1, raw("other", [1; 5000]))]).collect()).await.unwrap();
    }
    for from in 0..COUNT {
        for bytes_max in [0, 1, 999, 1_000, 2_500, 30_000] {
            let read = log.read(P0, Offset(from), bytes_max).await.unwrap().records;
            let expected = usize::try_from(COUNT - from).unwrap().min((bytes_max / 1000).max(1));
            assert!((1..=expected).contains(&read.len()), "{} of {expected} from {from}", read.len());
            for (record, at) in read.iter().zip(from..) {
                assert_eq!((record.offset.0, &record.raw), (at, &raw("k", format!("{at:0999}"))));
            }
        }
    }
    assert_eq!(read_all(log, 0, Offset(3), 10_000).await.len(), 117);
}

pub(crate) async fn a_large_record_is_read_whole(log: &Log) {
    let value =
        |seed: usize| (0..=MIB).map(|at| u8::try_from((at * seed) % 251).unwrap()).collect::<Vec<_>>();
    let large = [raw("a", value(3)), raw("b", value(5)), raw("c", value(7))];
    log.append(vec![to(0, raw("small", "1"))]).await.unwrap();
    log.append(large.iter().map(|raw| to(0, raw.clone())).collect()).await.unwrap();
    log.append(vec![to(0, raw("small", "2"))]).await.unwrap();
    for (offset, raw) in (1..).zip(&large) {
        assert_eq!(&log.read(P0, Offset(offset), 1).await.unwrap().records[0].raw, raw);
    }
    assert_eq!(read_all(log, 0, Offset(0), 3 * MIB).await.len(), 5);
}

pub(crate) async fn a_record_that_can_never_fit_is_refused_and_harms_nothing(log: &Log) {
    let fits = || to(0, raw("a", "1"));
    let never = to(0, raw("b", vec![0; 64 * MIB]));
    let answer = log.append(vec![fits(), never]).await;
    assert!(matches!(answer, Err(Error::TooLarge { bytes, max }) if bytes > max), "{answer:?}");
    assert_eq!(bounds(log, 0).await, (0, 0));
    assert_eq!(log.append(vec![fits()]).await.unwrap()[0].offset, Offset(0));
}

pub(crate) async fn one_record_is_read_by_its_offset(log: &Log) {
    log.append(vec![to(0, raw("a", "1")), to(0, raw("b", "2"))]).await.unwrap();
    for (offset, raw) in [(1, raw("b", "2")), (0, raw("a", "1"))] {
        let record = log.record(P0, Offset(offset)).await.unwrap().unwrap();
        assert_eq!((record.offset, record.raw), (Offset(offset), raw));
    }
    let beyond = log.record(P0, Offset(2)).await;
    assert!(matches!(beyond, Err(Error::BeyondEnd { end: Offset(2) })), "{beyond:?}");
    let below = log.record(P0, Offset(-1)).await;
    assert!(matches!(below, Err(Error::Trimmed { start: Offset(0) })), "{below:?}");
    log.rest(P0);
    assert_eq!(log.read(P0, Offset(1), MIB).await.unwrap().next, Offset(2));
}

pub(crate) async fn a_read_outside_the_log_is_told_its_bounds(log: &Log) {
    log.append(vec![to(0, raw("a", "1"))]).await.unwrap();
    assert_eq!(log.read(P0, Offset(1), MIB).await.unwrap(), Read { records: vec![], next: Offset(1) });
    let beyond = log.read(P0, Offset(2), MIB).await;
    assert!(matches!(beyond, Err(Error::BeyondEnd { end: Offset(1) })), "{beyond:?}");
    let below = log.read(P0, Offset(-1), MIB).await;
    assert!(matches!(below, Err(Error::Trimmed { start: Offset(0) })), "{below:?}");
}

pub(crate) async fn times_never_go_back_and_are_those_of_the_acks(log: &Log) {
    let mut acks = Vec::new();
    for at in 0..50 {
        acks.extend(log.append(vec![to(0, raw("k", format!("{at}")))]).await.unwrap());
    }
    let read = read_all(log, 0, Offset(0), MIB).await;
    assert!(read.is_sorted_by_key(|record| record.time));
    assert_eq!(acks, read.iter().map(|r| Ack { offset: r.offset, time: r.time }).collect::<Vec<_>>());
}

pub(crate) async fn concurrent_callers_each_keep_their_order(log: &Log) {
    const CALLERS: i64 = 8;
    const CALLS: i64 = 100;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let log = log.clone();
        callers.spawn(async move {
            let record = |call, partition| to(partition, raw(&format!("{caller}"), format!("{call}")));
            let send = |call| log.enqueue(&[record(call, 0), record(call, 1), record(call, 0)]).unwrap();
            let sent: Vec<_> = (0..CALLS).map(send).collect();
            let mut acks = Vec::new();
            for call in sent {
                acks.push(call.await.unwrap());
            }
            (caller, acks)
        });
    }
    let mut at = HashMap::new();
    while let Some(done) = callers.join_next().await {
        let (caller, acks) = done.unwrap();
        assert!(acks.iter().flat_map(|call| [call[0].offset, call[2].offset]).is_sorted_by(|a, b| a < b));
        assert!(acks.is_sorted_by(|a, b| a[1].offset < b[1].offset));
        for (call, acks) in acks.iter().enumerate() {
            for (partition, ack) in [0, 1, 0].into_iter().zip(acks) {
                at.insert((partition, ack.offset), raw(&format!("{caller}"), format!("{call}")));
            }
        }
    }
    for (partition, count) in [(0, 2 * CALLERS * CALLS), (1, CALLERS * CALLS)] {
        let read = read_all(log, partition, Offset(0), 10_000).await;
        assert_eq!(i64::try_from(read.len()), Ok(count));
        for record in read {
            assert_eq!(at.remove(&(partition, record.offset)), Some(record.raw));
        }
    }
    assert!(at.is_empty(), "no two acks name the same place");
}

pub(crate) async fn what_nobody_waits_for_is_appended_all_the_same(log: &Log) {
    drop(log.enqueue(&[to(0, raw("k", "nobody"))]).unwrap());
    let acks = log.append(vec![to(0, raw("k", "somebody"))]).await.unwrap();
    assert_eq!(acks[0].offset, Offset(1));
    assert_eq!(log.read(P0, Offset(0), MIB).await.unwrap().records[0].raw, raw("k", "nobody"));
}

pub(crate) async fn a_reader_at_the_end_is_woken(log: &Log) {
    const COUNT: i64 = 300;
    let reader = tokio::spawn({
        let log = log.clone();
        async move {
            let (mut changes, mut next) = (log.changes(), Offset(0));
            while next < Offset(COUNT) {
                let read = log.read(P0, next, MIB).await.unwrap();
                if read.next == next {
                    changes.changed().await.unwrap();
                }
                next = read.next;
            }
        }
    });
    for at in 0..COUNT {
        log.append(vec![to(0, raw("k", format!("{at}")))]).await.unwrap();
    }
    reader.await.unwrap();
}

pub(crate) async fn a_trim_keeps_what_is_at_the_floor_and_no_offset_is_issued_twice(log: &Log) {
    const COUNT: i64 = 100;
    let large = |at: i64| format!("{at:05000}");
    let call = |at: i64| -> Vec<Append> { (0..PARTITIONS).map(|p| to(p, raw("k", large(at)))).collect() };
    for at in 0..COUNT {
        log.append(call(at)).await.unwrap();
    }
    let floors = [Offset(60), Offset(70), Offset(COUNT), Offset(80)];
    log.trim(&floors).await.unwrap();
    for (partition, floor) in (0..).zip(floors) {
        let (start, end) = bounds(log, partition).await;
        assert!(start <= floor.0 && end == COUNT, "{start}..{end} with floor {floor}");
        for record in read_all(log, partition, floor, MIB).await {
            assert_eq!(record.raw, raw("k", large(record.offset.0)));
        }
        if start > 0 {
            let below = log.read(PartitionId(partition), Offset(start - 1), MIB).await;
            assert!(matches!(below, Err(Error::Trimmed { start: at }) if at.0 == start), "{below:?}");
        }
    }
    log.trim(&[Offset(COUNT); PARTITIONS as usize]).await.unwrap();
    log.trim(&[Offset(0); PARTITIONS as usize]).await.unwrap();
    let acks = log.append(call(COUNT)).await.unwrap();
    assert!(acks.iter().all(|ack| ack.offset == Offset(COUNT)));
}

pub(crate) async fn what_it_calls_older_is_older(log: &Log) {
    let at_once = || (0..PARTITIONS).map(|p| to(p, raw("k", "v".repeat(3000)))).collect::<Vec<_>>();
    let first = log.append(at_once()).await.unwrap()[0].time;
    // The clock goes on while it appends.
    let mut last = first;
    while last.0 < first.0 + 50 || log.bounds(P0).await.unwrap().end < Offset(40) {
        last = log.append(at_once()).await.unwrap()[0].time;
    }
    let middle = UnixMillis(first.0.midpoint(last.0));
    let times = [first, middle, last, UnixMillis(last.0 + 1)];
    for (partition, (older, time)) in (0..).zip(log.older(&times).await.into_iter().zip(times)) {
        let older = older.expect("it can be told");
        let (start, end) = bounds(log, partition).await;
        assert!((start..=end).contains(&older.0), "{older} is not in {start}..={end}");
        for record in read_all(log, partition, Offset(0), MIB).await {
            assert!(record.offset >= older || record.time < time, "{record:?} is not older than {time}");
        }
        // Some is, and it comes to know it.
        assert_eq!(older > Offset(0), partition > 0, "partition {partition}: {older}");
    }
}

pub(crate) async fn its_extent_is_what_lies_from_an_offset_on(log: &Log) {
    const COUNT: i64 = 100;
    const BYTES: u64 = 5000;
    let call = || (0..PARTITIONS).map(|p| to(p, raw("k", "v".repeat(5000)))).collect::<Vec<_>>();
    for _ in 0..COUNT {
        log.append(call()).await.unwrap();
    }
    let all = u64::from(PARTITIONS) * COUNT.unsigned_abs();
    let whole = log.extent(&[Offset(0); PARTITIONS as usize]).await.unwrap();
    assert_eq!(whole.records, all);
    assert!((all * BYTES..all * BYTES * 2).contains(&whole.bytes), "{whole:?}");
    let end = log.extent(&[Offset(COUNT); PARTITIONS as usize]).await.unwrap();
    assert_eq!(end, Extent::default());
    let last = log.extent(&[Offset(COUNT), Offset(COUNT - 10), Offset(COUNT), Offset(COUNT)]).await.unwrap();
    assert_eq!(last.records, 10);
    assert!(last.bytes >= 10 * BYTES && last.bytes < whole.bytes, "{last:?}");
    log.trim(&[Offset(50); PARTITIONS as usize]).await.unwrap();
    let mut left = 0;
    for partition in 0..PARTITIONS {
        let (start, end) = bounds(log, partition).await;
        left += end.abs_diff(start);
    }
    let trimmed = log.extent(&[Offset(0); PARTITIONS as usize]).await.unwrap();
    assert_eq!(trimmed.records, left);
    assert!(trimmed.bytes < whole.bytes, "{trimmed:?}");
}

pub(crate) async fn closing_finishes_what_was_taken_and_takes_no_more(log: &Log) {
    let taken: Vec<_> = (0..50).map(|at| log.enqueue(&[to(0, raw("k", format!("{at}")))]).unwrap()).collect();
    log.close().await;
    for acks in taken {
        acks.await.unwrap();
    }
    let late = log.append(vec![to(0, raw("k", "late"))]).await;
    assert!(matches!(late, Err(Error::Unavailable { .. })), "{late:?}");
    assert_eq!(read_all(log, 0, Offset(0), MIB).await.len(), 50);
}
