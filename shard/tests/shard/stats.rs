//! Promises of what is told of a shard's size and of its connections.

use millpond_shard::{Pool, Shard};

use crate::build::{Copy, P0, P1, key, known, live, time, tombstone};

pub(crate) async fn tombstones_of_all_partitions_are_counted(shard: &Shard) {
    assert!(shard.stats().await.unwrap().bytes > 0);
    let mut first = Copy::create(shard, P0).await;
    let rows =
        vec![known(live(key("a"), 3, "x")), known(tombstone(key("b"), 7)), known(tombstone(key("c"), 5))];
    let flush = first.flush(10, rows);
    first.apply(shard, flush).await;
    let mut second = Copy::create(shard, P1).await;
    let flush = second.flush(10, vec![known(tombstone(key("d"), 4))]);
    second.apply(shard, flush).await;
    let stats = shard.stats().await.unwrap();
    assert_eq!((stats.tombstones, stats.oldest_tombstone), (3, Some(time(4))));
}

pub(crate) async fn a_pool_at_rest_lends_nothing(shard: &Shard) {
    shard.stats().await.unwrap();
    let expected = Pool { connections: shard.readers() as u64, ..Pool::default() };
    assert_eq!(shard.pool(), expected);
}
