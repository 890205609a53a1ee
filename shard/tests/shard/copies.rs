//! Promises of reading a whole copy: of one moment, in one order, the same on every engine.

use futures_util::TryStreamExt;
use millpond_schemas::Offset;
use millpond_shard::{CopyReader, Dump, Name, Shard, Stored, Table};

use crate::{
    build::{Copy, GENERATION, P0, P1, key, known, live, tombstone},
    memory::replay,
};

async fn all(reader: &mut CopyReader) -> Vec<(Table, Vec<Stored>)> {
    let mut all = Vec::new();
    for table in Table::ALL {
        all.push((table, reader.stream(table).try_collect().await.unwrap()));
    }
    all
}

/// The parts that a dump says there are, table by table.
fn parts(dump: &Dump) -> Vec<Vec<Result<u128, String>>> {
    let of = dump.watermark.partition;
    vec![
        dump.rows.iter().map(|row| Ok(row.digest(of))).collect(),
        dump.outcomes.iter().map(|one| Ok(one.part(of, GENERATION))).collect(),
        dump.seen.iter().map(|one| Ok(one.part(of, GENERATION))).collect(),
        dump.operations.iter().map(|one| Ok(one.part(of))).collect(),
        dump.dead_letters.iter().map(|one| Ok(one.part(of, GENERATION))).collect(),
    ]
}

pub(crate) async fn a_copy_is_read_thing_by_thing_as_it_is(shard: &Shard) {
    let dump = replay(shard, Copy::create(shard, P0).await, &[2, 3, 1]).await;
    replay(shard, Copy::create(shard, P1).await, &[6]).await;
    let mut reader = shard.copy_reader(P0).await.unwrap();
    assert_eq!(reader.watermark(), Some(&dump.watermark));
    let all = all(&mut reader).await;
    let read: Vec<Vec<_>> =
        all.iter().map(|(_, things)| things.iter().map(|thing| thing.part.clone()).collect()).collect();
    assert_eq!(read, parts(&dump));
    for (table, things) in &all {
        assert!(things.is_sorted_by(|one, next| one.name < next.name), "{table:?}");
        assert!(!things.is_empty(), "{table:?} proves nothing");
    }
    let first = Name::Key { tenant: "t".to_owned(), key: "a".into() };
    assert_eq!(all[0].1[0].name, first);
    reader.close().await;
}

pub(crate) async fn copies_are_read_alike_whatever_the_engine_and_the_flushes(shard: &Shard) {
    replay(shard, Copy::create(shard, P0).await, &[6]).await;
    let other = crate::on_sqlite().await;
    replay(&other.shard, Copy::create(&other.shard, P0).await, &[1, 3, 2]).await;
    let mut here = shard.copy_reader(P0).await.unwrap();
    let mut there = other.shard.copy_reader(P0).await.unwrap();
    assert_eq!(all(&mut here).await, all(&mut there).await);
    here.close().await;
    there.close().await;
    other.shard.close().await;
}

pub(crate) async fn a_copy_is_read_at_one_moment_while_others_write(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    copy.put(shard, vec![known(live(key("a"), 0, "v")), known(live(key("b"), 1, "v"))]).await;
    let mut reader = shard.copy_reader(P0).await.unwrap();
    let mut before = shard.copy_reader(P0).await.unwrap();
    let before = all(&mut before).await;
    copy.put(shard, vec![known(tombstone(key("a"), 2)), known(live(key("c"), 3, "v"))]).await;
    assert_eq!(reader.watermark().unwrap().applied, Offset(1));
    assert_eq!(all(&mut reader).await, before);
    reader.close().await;
    let mut after = shard.copy_reader(P0).await.unwrap();
    let rows: Vec<Stored> = after.stream(Table::Rows).try_collect().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.tombstone).collect::<Vec<_>>(), [true, false, false]);
    after.close().await;
}

pub(crate) async fn without_a_copy_there_is_no_watermark_and_nothing_to_read(shard: &Shard) {
    Copy::create(shard, P0).await;
    let mut reader = shard.copy_reader(P1).await.unwrap();
    assert_eq!(reader.watermark(), None);
    assert!(all(&mut reader).await.iter().all(|(_, things)| things.is_empty()));
    reader.close().await;
}

pub(crate) async fn a_reader_that_is_dropped_halfway_leaves_the_shard_usable(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let rows = (0..1000).map(|n| known(live(key(format!("{n:04}")), n, "v"))).collect();
    copy.put(shard, rows).await;
    for _ in 0..20 {
        let mut reader = shard.copy_reader(P0).await.unwrap();
        let first = reader.stream(Table::Rows).try_next().await.unwrap();
        assert!(first.is_some());
    }
    copy.put(shard, vec![known(live(key("z"), 1000, "v"))]).await;
    assert_eq!(shard.dump(P0).await.unwrap().rows.len(), 1001);
}
