//! Promises of memory: outcomes, ids, operations and dead letters, and that they do not depend on how flushes were cut.

use millpond_schemas::{
    DeadLetter, Exception, Flush, Generation, Offset, Outcome, Position, UnixMillis,
    limits::{MEMORY_MS, WINDOW_OFFSETS},
};
use millpond_shard::{Dump, Letter, Letters, Shard};

use crate::build::{
    Copy, GENERATION, P0, P1, dead_letter, keep_if_live, key, known, live, operation, rejection, seen, time,
};

const NOTHING: [i64; 0] = [];

/// Flushes of ten records; the one at `10 n + 5` of each is rejected where `n` is even.
async fn ten_flushes(shard: &Shard) -> Copy {
    let mut copy = Copy::create(shard, P0).await;
    for n in 0..10 {
        let mut flush = copy.flush(10, vec![]);
        if n % 2 == 0 {
            flush.outcomes.exceptions = vec![rejection(n * 10 + 5)];
        }
        copy.apply(shard, flush).await;
    }
    copy
}

pub(crate) async fn outcomes_come_by_range(shard: &Shard) {
    let copy = ten_flushes(shard).await;
    let froms = async |from, to| -> Vec<i64> {
        let found = shard.outcomes(P0, Offset(from), Offset(to)).await.unwrap();
        assert_eq!(found.freshness.applied, copy.at.position());
        found.ranges.iter().map(|range| range.from.0).collect()
    };
    assert_eq!(froms(0, 99).await, [0, 20, 40, 60, 80]);
    assert_eq!(froms(5, 5).await, [0]);
    assert_eq!(froms(9, 20).await, [0, 20]);
    assert_eq!(froms(10, 19).await, NOTHING);
    assert_eq!(froms(29, 40).await, [20, 40]);
    assert_eq!(froms(90, 1_000).await, NOTHING);
    let range = shard.outcomes(P0, Offset(45), Offset(45)).await.unwrap().ranges.pop().unwrap();
    assert_eq!(range.of(Offset(45)), Some(rejection(45).outcome));
    assert_eq!(range.of(Offset(46)), Some(Outcome::Applied(None)));
    assert_eq!((range.to, range.time), (Offset(49), time(49)));
}

pub(crate) async fn plain_outcomes_leave_no_row(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    copy.put(shard, vec![known(live(key("a"), 0, "v"))]).await;
    assert_eq!(shard.outcomes(P0, Offset(0), Offset(0)).await.unwrap().ranges, []);
}

pub(crate) async fn ids_come_back_after_an_offset_and_a_time(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    for from in [0, 10, 20] {
        let mut flush = copy.flush(10, vec![]);
        flush.seen = (from..from + 10).step_by(3).map(seen).collect();
        copy.apply(shard, flush).await;
    }
    let offsets = async |after, since| -> Vec<i64> {
        let found = shard.seen(P0, Offset(after), since).await.unwrap();
        assert!(found.iter().all(|one| *one == seen(one.offset.0)));
        found.iter().map(|one| one.offset.0).collect()
    };
    let all = [0, 3, 6, 9, 10, 13, 16, 19, 20, 23, 26, 29];
    assert_eq!(offsets(-1, UnixMillis(0)).await, all);
    assert_eq!(offsets(9, UnixMillis(0)).await, all[4..]);
    assert_eq!(offsets(13, UnixMillis(0)).await, all[6..]);
    assert_eq!(offsets(-1, time(13)).await, all[5..]);
    assert_eq!(offsets(29, UnixMillis(0)).await, NOTHING);
}

pub(crate) async fn an_operation_that_comes_again_replaces_the_old_one(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    for operations in [(0..100).map(|n| operation(n, 0)).collect(), vec![operation(4, 1)]] {
        let mut flush = copy.flush(1, vec![]);
        flush.operations = operations;
        copy.apply(shard, flush).await;
    }
    let found = shard.operations(P0).await.unwrap();
    let expected: Vec<_> = (0..100).map(|n| operation(n, i64::from(n == 4))).collect();
    assert_eq!(found, expected);
}

pub(crate) async fn dead_letters_come_back_unchanged(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let mut flush = copy.flush(3, vec![]);
    flush.dead_letters = (0..3).map(dead_letter).collect();
    flush.dead_letters[1].raw.key = None;
    flush.dead_letters[1].raw.value = Some(bytes::Bytes::new());
    let expected = flush.dead_letters.clone();
    copy.apply(shard, flush).await;
    assert_eq!(shard.dead_letters(P0, Offset(0), 10).await.unwrap(), expected);
    assert_eq!(shard.dead_letters(P0, Offset(1), 1).await.unwrap(), expected[1..2]);
    let glance = shard.letters(P0, 2).await.unwrap();
    assert_eq!(glance.counts.iter().map(|(_, count)| count).sum::<u64>(), 3, "{glance:?}");
    let newest: Vec<_> = expected[1..].iter().rev().map(|dead| letter(dead, GENERATION)).collect();
    assert_eq!(glance.newest, newest);
    assert_eq!(shard.letters(P1, 2).await.unwrap(), Letters::default());
}

fn letter(dead: &DeadLetter, generation: Generation) -> Letter {
    Letter {
        position: Position { generation, partition: P0, offset: dead.offset },
        time: dead.time,
        refusal: dead.refusal.clone(),
        record_key: dead.raw.key.clone(),
        value_bytes: dead.raw.value.as_ref().map(|value| value.len() as u64),
    }
}

pub(crate) async fn dead_letters_are_unpublished_until_told_otherwise(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    for copy in &mut copies {
        let mut flush = copy.flush(4, vec![]);
        flush.dead_letters = (0..4).map(dead_letter).collect();
        copy.apply(shard, flush).await;
    }
    let next = Generation(2);
    let mut flush = copies[0].flush(2, vec![]);
    flush.next.generation = next;
    flush.dead_letters = vec![dead_letter(1)];
    copies[0].apply(shard, flush).await;
    let before = shard.dump(P0).await.unwrap();
    let left = async |limit| -> Vec<(u16, i64)> {
        let left = shard.unpublished(P0, limit).await.unwrap();
        assert!(left.iter().all(|(_, dead)| *dead == dead_letter(dead.offset.0)));
        left.into_iter().map(|(generation, dead)| (generation.0, dead.offset.0)).collect()
    };
    assert_eq!(left(10).await, [(1, 0), (1, 1), (1, 2), (1, 3), (2, 1)]);
    assert_eq!(left(2).await, [(1, 0), (1, 1)]);
    shard.published(P0, GENERATION, Offset(2)).await.unwrap();
    // What was told late changes nothing.
    shard.published(P0, GENERATION, Offset(1)).await.unwrap();
    assert_eq!(left(10).await, [(1, 3), (2, 1)]);
    shard.published(P0, next, Offset(0)).await.unwrap();
    shard.published(P0, GENERATION, Offset(3)).await.unwrap();
    assert_eq!(left(10).await, [(2, 1)]);
    shard.published(P0, next, Offset(1)).await.unwrap();
    assert_eq!(left(10).await, []);
    assert_eq!(shard.unpublished(P1, 10).await.unwrap().len(), 4, "of another partition nothing was told");
    assert_eq!(shard.dump(P0).await.unwrap(), before, "no part of a copy's state");
}

/// A flush of one record with one of everything that is remembered.
fn remembering(copy: &Copy, number: u8, at: UnixMillis) -> Flush {
    let mut flush = copy.flush(1, vec![]);
    let offset = flush.next.applied;
    flush.next.time = at;
    flush.outcomes.time = at;
    flush.outcomes.exceptions = vec![rejection(offset.0)];
    let mut one = seen(offset.0);
    one.time = at;
    flush.seen = vec![one];
    let mut durable = operation(number, offset.0);
    durable.time = at;
    flush.operations = vec![durable];
    flush
}

fn remembered(dump: &Dump) -> (usize, usize, usize) {
    (dump.outcomes.len(), dump.seen.len(), dump.operations.len())
}

pub(crate) async fn pruning_forgets_only_what_is_too_old(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let day = |ms: i64| UnixMillis(1_000 + ms + i64::try_from(MEMORY_MS).unwrap());
    for (number, at) in [(0, UnixMillis(1_000)), (1, UnixMillis(1_001)), (2, day(0))] {
        let flush = remembering(&copy, number, at);
        copy.apply(shard, flush).await;
    }
    assert!(!shard.prune(P0, 10).await.unwrap());
    assert_eq!(remembered(&shard.dump(P0).await.unwrap()), (3, 3, 3), "exactly 24 h is not yet too old");
    let flush = remembering(&copy, 3, day(2));
    copy.apply(shard, flush).await;
    assert!(shard.prune(P0, 1).await.unwrap(), "two are too old");
    assert_eq!(remembered(&shard.dump(P0).await.unwrap()), (3, 3, 3));
    assert!(shard.prune(P0, 1).await.unwrap());
    assert!(!shard.prune(P0, 1).await.unwrap());
    assert_eq!(remembered(&shard.dump(P0).await.unwrap()), (2, 2, 2));

    let mut flush = copy.flush(WINDOW_OFFSETS, vec![]);
    flush.next.time = day(2);
    copy.apply(shard, flush).await;
    assert!(!shard.prune(P0, 10).await.unwrap());
    assert_eq!(remembered(&shard.dump(P0).await.unwrap()), (2, 1, 2), "the window is shorter than a day");
}

/// The same log of six records, cut as `cuts` say.
pub(crate) async fn replay(shard: &Shard, mut copy: Copy, cuts: &[i64]) -> Dump {
    let mut from = 0;
    for records in cuts {
        let offsets = from..from + records;
        let rows =
            offsets.clone().map(|n| keep_if_live(live(key([b'a' + u8::try_from(n).unwrap()]), n, "v")));
        let mut flush = copy.flush(*records, rows.collect());
        flush.outcomes.exceptions =
            offsets.clone().filter(|n| n % 2 == 0).map(rejection).collect::<Vec<Exception>>();
        flush.seen = offsets.clone().map(seen).collect();
        flush.operations = offsets.clone().map(|n| operation(9 - u8::try_from(n).unwrap(), n)).collect();
        flush.dead_letters = offsets.filter(|n| n % 3 == 0).map(dead_letter).collect();
        copy.apply(shard, flush).await;
        from += records;
    }
    shard.dump(copy.at.partition).await.unwrap()
}

pub(crate) async fn dumps_do_not_depend_on_how_flushes_were_cut(shard: &Shard) {
    let whole = replay(shard, Copy::create(shard, P0).await, &[6]).await;
    let other = crate::on_sqlite().await;
    let cut = replay(&other.shard, Copy::create(&other.shard, P0).await, &[1, 3, 2]).await;
    assert_eq!(whole, cut);
    assert_eq!((whole.rows.len(), remembered(&whole), whole.dead_letters.len()), (6, (3, 6, 6), 2));
    other.shard.close().await;
}
