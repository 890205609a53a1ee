//! Promises of refusals: what Postgres does not let pass harms nobody else.

use millpond_schemas::{Flush, Offset, PartitionId};
use millpond_shard::Error;

use crate::{
    build::{Copy, P0, P1, dead_letter, key, known, live, read_one},
    database::on_postgres,
};

const P2: PartitionId = PartitionId(2);

#[tokio::test]
async fn a_leaf_that_refuses_inserts_holds_up_its_partition_alone() {
    let fixture = on_postgres().await;
    let shard = &fixture.shard;
    let mut copies = Vec::new();
    for partition in [P0, P1, P2] {
        let mut copy = Copy::create(shard, partition).await;
        copy.put(shard, vec![known(live(key("a"), 0, "v"))]).await;
        copies.push(copy);
    }
    fixture.database.run("REVOKE INSERT ON kv_p00001 FROM current_user").await;
    let flush = |copy: &Copy| copy.flush(1, vec![known(live(key("a"), 1, "w"))]);
    let flushes: Vec<Flush> = copies.iter().map(flush).collect();
    let error = shard.apply(flushes.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Schema { .. }), "{error:?}");
    for copy in &copies {
        assert_eq!(shard.watermark(copy.at.partition).await.unwrap(), Some(copy.at.clone()));
    }
    let others = vec![flushes[0].clone(), flushes[2].clone()];
    assert_eq!(shard.apply(others).await.unwrap().fenced, []);
    assert!(matches!(shard.apply(vec![flushes[1].clone()]).await, Err(Error::Schema { .. })));
    assert_eq!(read_one(shard, P2, key("a")).await.unwrap().value.unwrap(), "w");
    assert_eq!(read_one(shard, P1, key("a")).await.unwrap().value.unwrap(), "v");
    fixture.database.run("GRANT INSERT ON kv_p00001 TO current_user").await;
    copies[1].apply(shard, flushes[1].clone()).await;
    assert_eq!(read_one(shard, P1, key("a")).await.unwrap().value.unwrap(), "w");
    shard.close().await;
}

#[tokio::test]
async fn a_refused_value_leaves_nothing_and_the_next_transaction_works() {
    let fixture = on_postgres().await;
    let shard = &fixture.shard;
    let mut copy = Copy::create(shard, P0).await;
    fixture.database.run("ALTER TABLE dead_letter ADD CONSTRAINT never CHECK (reason = '')").await;
    let mut flush = copy.flush(1, vec![known(live(key("a"), 0, "v"))]);
    flush.dead_letters = vec![dead_letter(0)];
    assert!(matches!(shard.apply(vec![flush]).await, Err(Error::Refused { .. })));
    let nul = millpond_schemas::Row { content_type: "a\0b".into(), ..live(key("a"), 0, "v") };
    let flush = copy.flush(1, vec![known(nul)]);
    assert!(matches!(shard.apply(vec![flush]).await, Err(Error::Refused { .. })));
    assert_eq!(shard.watermark(P0).await.unwrap().unwrap().applied, Offset::NONE);
    copy.put(shard, vec![known(live(key("a"), 0, "v"))]).await;
    assert_eq!(shard.dump(P0).await.unwrap().rows.len(), 1);
    shard.close().await;
}

#[tokio::test]
async fn a_changed_column_is_corrupt_and_harms_no_other_row() {
    for damage in [
        "UPDATE kv SET value = '\\x00' WHERE key = '\\x61'",
        "UPDATE kv SET expires_at = 1 WHERE key = '\\x61'",
        "UPDATE kv SET value = NULL, tombstone = true WHERE key = '\\x61'",
        "UPDATE kv SET version = version + 1 WHERE key = '\\x61'",
        "UPDATE kv SET checksum = checksum + 1 WHERE key = '\\x61'",
        "UPDATE kv SET content_type = '' WHERE key = '\\x61'",
        "UPDATE kv SET tenant = 'T' WHERE key = '\\x61'; UPDATE kv SET value = '\\x00' WHERE key = '\\x61'",
    ] {
        let fixture = on_postgres().await;
        let shard = &fixture.shard;
        let mut copy = Copy::create(shard, P0).await;
        copy.put(shard, vec![known(live(key("a"), 0, "1")), known(live(key("b"), 1, "2"))]).await;
        fixture.database.run(damage).await;
        assert!(matches!(shard.dump(P0).await, Err(Error::Corrupt { .. })), "{damage}");
        if !damage.contains("tenant") {
            let error = shard.read(P0, vec![key("a")]).await.unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{damage}: {error:?}");
        }
        assert!(read_one(shard, P0, key("b")).await.is_some());
        shard.close().await;
    }
}
