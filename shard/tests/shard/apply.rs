//! Promises of applying: atomic, fenced, once.

use millpond_schemas::{Flush, LogId, Offset, PartitionId, Row, UnixMillis, Watermark};
use millpond_shard::{Error, Shard};

use crate::build::{
    Copy, FAR, GENERATION, LOG, P0, P1, dead_letter, digest, keep_if_live, key, known, live, operation,
    read_one, rejection, seen, time, tombstone, version,
};

pub(crate) async fn a_copy_is_created_once(shard: &Shard) {
    assert_eq!(shard.watermark(P0).await.unwrap(), None);
    let mut copy = Copy::create(shard, P0).await;
    copy.put(shard, vec![known(live(key("a"), 0, "1"))]).await;
    shard.create_copy(Watermark::empty(P0, GENERATION, LOG)).await.unwrap();
    assert_eq!(shard.watermark(P0).await.unwrap(), Some(copy.at.clone()));
    let other = Watermark::empty(P0, GENERATION, LogId([8; 16]));
    assert!(matches!(shard.create_copy(other).await, Err(Error::Fenced { partition: P0 })));
    assert_eq!(shard.watermarks(vec![P1, P0]).await.unwrap(), [copy.at]);
}

pub(crate) async fn a_flush_writes_rows_and_moves_the_watermark(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let rows = vec![known(live(key("a"), 0, "1")), known(tombstone(key("b"), 1))];
    let mut flush = copy.flush(3, rows.clone());
    flush.next.claim = bytes::Bytes::from_static(b"claim");
    flush.next.sealed = true;
    flush.next.owner = Offset(2);
    flush.next.digest_offset = Offset(1);
    copy.apply(shard, flush).await;
    let dump = shard.dump(P0).await.unwrap();
    assert_eq!(dump.watermark, copy.at);
    assert_eq!(dump.rows, rows.into_iter().map(|upsert| upsert.row).collect::<Vec<_>>());
}

pub(crate) async fn a_flush_sent_twice_changes_nothing_and_says_fenced(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let flush = copy.flush(1, vec![known(live(key("a"), 0, "1"))]);
    copy.apply(shard, flush.clone()).await;
    let before = shard.dump(P0).await.unwrap();
    assert_eq!(shard.apply(vec![flush]).await.unwrap().fenced, [P0]);
    assert_eq!(shard.dump(P0).await.unwrap(), before);
}

pub(crate) async fn a_fenced_partition_does_not_hold_up_the_others(shard: &Shard) {
    let copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    let [mut stale, good] = copies.map(|copy| copy.flush(1, vec![known(live(key("a"), 0, "1"))]));
    stale.previous.digest = digest(99);
    let nowhere = PartitionId(5);
    let mut uncopied = stale.clone();
    uncopied.next.partition = nowhere;
    let applied = shard.apply(vec![stale, good.clone(), uncopied]).await.unwrap();
    assert_eq!(applied.fenced, [P0, nowhere]);
    assert_eq!(shard.watermark(P0).await.unwrap().unwrap().applied, Offset::NONE);
    assert_eq!(shard.watermark(P1).await.unwrap(), Some(good.next));
    assert_eq!(read_one(shard, P0, key("a")).await, None);
    assert!(read_one(shard, P1, key("a")).await.is_some());
}

pub(crate) async fn a_digest_or_log_that_differs_is_fenced(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    copy.put(shard, vec![known(live(key("a"), 0, "1"))]).await;
    let good = copy.flush(1, vec![known(live(key("a"), 1, "2"))]);
    let mut digest_differs = good.clone();
    digest_differs.previous.digest = digest(7);
    let mut log_differs = good.clone();
    log_differs.previous.log_id = LogId([8; 16]);
    let mut offset_differs = good.clone();
    offset_differs.previous.applied = Offset(5);
    for bad in [digest_differs, log_differs, offset_differs] {
        assert_eq!(shard.apply(vec![bad]).await.unwrap().fenced, [P0]);
        assert_eq!(shard.watermark(P0).await.unwrap(), Some(copy.at.clone()));
    }
    copy.apply(shard, good).await;
}

pub(crate) async fn a_lower_owner_is_fenced_and_a_higher_one_takes_over(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    for (owner, fenced) in [(3, false), (3, false), (2, true), (9, false), (3, true)] {
        let mut flush = copy.flush(1, vec![]);
        flush.next.owner = Offset(owner);
        if fenced {
            assert_eq!(shard.apply(vec![flush]).await.unwrap().fenced, [P0], "owner {owner}");
        } else {
            copy.apply(shard, flush).await;
        }
    }
    assert_eq!(shard.watermark(P0).await.unwrap().unwrap().owner, Offset(9));
}

pub(crate) async fn a_row_that_is_ahead_rolls_everything_back(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    copies[0].put(shard, vec![known(live(key("a"), 9, "ahead"))]).await;
    let rows = || vec![known(live(key("a"), 1, "2")), known(live(key("b"), 1, "2"))];
    let flushes = vec![copies[1].flush(2, rows()), copies[0].flush(2, rows())];
    match shard.apply(flushes).await {
        Err(Error::RowAhead { partition: P0, .. }) => {}
        other => panic!("{other:?}"),
    }
    for copy in &copies {
        assert_eq!(shard.watermark(copy.at.partition).await.unwrap(), Some(copy.at.clone()));
        assert_eq!(read_one(shard, copy.at.partition, key("b")).await, None);
    }
}

/// Each case: the row before, and whether a blind put at offset 5 keeps its `created_at`.
pub(crate) async fn created_at_stays_only_while_the_key_lives(shard: &Shard) {
    let put_at = time(5);
    let expiring = |at: UnixMillis| Some(Row { expires_at: Some(at), ..live(key("k"), 0, "1") });
    let cases = [
        (None, false),
        (Some(live(key("k"), 0, "1")), true),
        (Some(tombstone(key("k"), 0)), false),
        (Some(Row { expires_at: Some(FAR), ..tombstone(key("k"), 0) }), false),
        (expiring(UnixMillis(put_at.0 - 1)), false),
        (expiring(put_at), false),
        (expiring(UnixMillis(put_at.0 + 1)), true),
    ];
    for (number, (before, kept)) in (0..).zip(cases) {
        let mut copy = Copy::create(shard, PartitionId(number)).await;
        copy.put(shard, before.into_iter().map(known).collect()).await;
        let mut put = live(key("k"), 7, "2");
        put.created_at = put_at;
        let flush = copy.flush(2, vec![keep_if_live(put)]);
        copy.apply(shard, flush).await;
        let row = shard.dump(PartitionId(number)).await.unwrap().rows.pop().unwrap();
        assert_eq!(row.created_at, if kept { time(0) } else { put_at }, "case {number}");
        assert_eq!((row.version, row.updated_at), (version(7), time(7)), "case {number}");
    }
}

pub(crate) async fn created_at_that_is_known_is_taken(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    copy.put(shard, vec![known(live(key("k"), 0, "1"))]).await;
    copy.put(shard, vec![known(live(key("k"), 1, "2"))]).await;
    assert_eq!(read_one(shard, P0, key("k")).await.unwrap().created_at, time(1));
}

pub(crate) async fn a_purge_removes_exact_versions_only(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let rows: Vec<_> = (0..100).map(|n| known(tombstone(key(format!("{n:03}")), n))).collect();
    copy.put(shard, rows).await;
    let purged: Vec<_> = (0..99).map(|n| (key(format!("{n:03}")), version(n))).collect();
    for not_there in [key("050/"), key("051")] {
        let mut wrong = copy.flush(1, vec![]);
        wrong.purged.clone_from(&purged);
        wrong.purged[50].0 = not_there;
        assert!(matches!(shard.apply(vec![wrong]).await, Err(Error::RowAhead { partition: P0, .. })));
    }
    for other in [49, 51] {
        let mut wrong = copy.flush(1, vec![]);
        wrong.purged.clone_from(&purged);
        wrong.purged[50].1 = version(other);
        assert!(matches!(shard.apply(vec![wrong]).await, Err(Error::RowAhead { partition: P0, .. })));
    }
    assert_eq!(shard.dump(P0).await.unwrap().rows.len(), 100);
    let mut right = copy.flush(1, vec![]);
    right.purged = purged;
    copy.apply(shard, right).await;
    assert_eq!(shard.dump(P0).await.unwrap().rows, [tombstone(key("099"), 99)]);
}

pub(crate) async fn ten_thousand_rows_fit_a_flush(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let rows: Vec<_> = (0..10_007).map(|n| known(live(key(format!("{n:05}")), n, "v"))).collect();
    copy.put(shard, rows.clone()).await;
    let dump = shard.dump(P0).await.unwrap();
    assert!(dump.rows.iter().eq(rows.iter().map(|upsert| &upsert.row)));
}

pub(crate) async fn large_values_come_back(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let value = |n: u8| vec![n; 512 * 1024];
    copy.put(shard, (0..20).map(|n| known(live(key([n]), n.into(), value(n)))).collect()).await;
    let found = shard.read(P0, (0..20).map(|n| key([n])).collect()).await.unwrap();
    for (n, row) in (0..).zip(found.rows) {
        assert!(row.unwrap().value.unwrap() == value(n), "value {n} differs");
    }
}

pub(crate) async fn rows_of_partitions_stay_apart(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    for (copy, value) in copies.iter_mut().zip(["zero", "one"]) {
        copy.put(shard, vec![known(live(key("k"), 0, value))]).await;
    }
    assert_eq!(read_one(shard, P0, key("k")).await.unwrap().value.unwrap(), "zero");
    assert_eq!(read_one(shard, P1, key("k")).await.unwrap().value.unwrap(), "one");
}

pub(crate) async fn flushes_of_many_partitions_and_sizes_fit_one_call(shard: &Shard) {
    let mut copies = Vec::new();
    for partition in (0..70).map(PartitionId) {
        copies.push(Copy::create(shard, partition).await);
    }
    // Above the largest statement, both of rows and of partitions.
    let flush = |(n, copy): (i64, &Copy)| {
        let rows = (0..n * 7 % 23).map(|n| match n % 3 {
            0 => known(live(key(format!("{n:02}")), n, "known")),
            _ => keep_if_live(live(key(format!("{n:02}")), n, "v")),
        });
        let mut flush = copy.flush(23, rows.collect());
        flush.seen = (0..23).map(seen).collect();
        flush.operations = (0..3).map(|n| operation(n, n.into())).collect();
        flush.dead_letters = vec![dead_letter(22)];
        flush.outcomes.exceptions = vec![rejection(21)];
        flush
    };
    let flushes: Vec<Flush> = (0..).zip(&copies).map(flush).collect();
    assert_eq!(shard.apply(flushes.clone()).await.unwrap().fenced, []);
    for flush in flushes {
        let dump = shard.dump(flush.next.partition).await.unwrap();
        assert_eq!(dump.watermark, flush.next);
        assert!(dump.rows.iter().eq(flush.rows.iter().map(|upsert| &upsert.row)));
        assert_eq!(dump.outcomes, flush.outcomes.exceptions);
        assert_eq!((dump.seen, dump.operations), (flush.seen, flush.operations));
        assert_eq!(dump.dead_letters, flush.dead_letters);
    }
}

pub(crate) async fn a_row_that_is_ahead_in_one_of_many_is_named(shard: &Shard) {
    let mut copies = Vec::new();
    for partition in (0..5).map(PartitionId) {
        copies.push(Copy::create(shard, partition).await);
    }
    copies[3].put(shard, vec![known(live(key("a"), 9, "ahead"))]).await;
    let rows = || vec![keep_if_live(live(key("a"), 1, "2")), known(live(key("b"), 1, "2"))];
    let flushes: Vec<Flush> = copies.iter().map(|copy| copy.flush(2, rows())).collect();
    match shard.apply(flushes.clone()).await {
        Err(Error::RowAhead { partition: PartitionId(3), sent: 1, touched: 0 }) => {}
        other => panic!("{other:?}"),
    }
    for (copy, flush) in copies.iter_mut().zip(flushes).filter(|(copy, _)| copy.at.partition.0 != 3) {
        copy.apply(shard, flush).await;
    }
}

pub(crate) async fn fenced_and_ahead_in_one_call_is_fenced_then_ahead(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    copies[1].put(shard, vec![known(live(key("a"), 9, "ahead"))]).await;
    let mut flushes: Vec<Flush> =
        copies.iter().map(|copy| copy.flush(1, vec![known(live(key("a"), 1, "v"))])).collect();
    flushes[0].previous.digest = digest(99);
    assert!(matches!(shard.apply(flushes.clone()).await, Err(Error::RowAhead { partition: P1, .. })));
    // Of a fenced partition its rows say nothing.
    flushes[1].previous.digest = digest(99);
    assert_eq!(shard.apply(flushes).await.unwrap().fenced, [P0, P1]);
}

/// Both shards are the same database; each flush goes to both at once.
pub(crate) async fn one_of_two_is_fenced(shard: &Shard, other: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    for offset in 0..50 {
        let flush = copy.flush(1, vec![known(live(key("a"), offset, "v"))]);
        let both = tokio::join!(shard.apply(vec![flush.clone()]), other.apply(vec![flush.clone()]));
        let mut fenced = both.0.unwrap().fenced;
        fenced.extend(both.1.unwrap().fenced);
        assert_eq!(fenced, [P0], "offset {offset}");
        copy.at = flush.next;
    }
}
