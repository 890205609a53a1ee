//! Promises when connections break: nothing is lost, nothing is done twice, and nobody waits for a writer that hangs.

use std::{sync::atomic::Ordering, time::Duration};

use millpond_schemas::{Offset, PartitionId, Watermark};
use millpond_shard::{Error, Router, Shard, Want};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::proxy::{Lost, Proxy};
use crate::{
    apply::one_of_two_is_fenced,
    build::{Copy, P0, key, known, live, read_one},
    database::{Database, on_postgres},
};

#[tokio::test]
async fn a_commit_that_is_lost_or_whose_answer_is_lost_is_told_apart_by_reading() {
    for lost in [Lost::Commit, Lost::CommitAnswer] {
        let fixture = on_postgres().await;
        let proxy = Proxy::start(&fixture.database, lost).await;
        let shard = proxy.shard();
        let mut copy = Copy::create(&shard, P0).await;
        copy.put(&shard, vec![known(live(key("a"), 0, "v"))]).await;
        let flush = copy.flush(1, vec![known(live(key("a"), 1, "w"))]);
        proxy.armed.store(true, Ordering::SeqCst);
        let error = shard.apply(vec![flush.clone()]).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let there = shard.watermark(P0).await.unwrap().unwrap();
        let expected = if lost == Lost::Commit { &flush.previous } else { &flush.next };
        assert_eq!(&there, expected, "{lost:?}");
        let again = shard.apply(vec![flush.clone()]).await.unwrap().fenced;
        assert_eq!(again.is_empty(), lost == Lost::Commit);
        assert_eq!(read_one(&shard, P0, key("a")).await.unwrap().value.unwrap(), "w");
        shard.close().await;
        fixture.shard.close().await;
    }
}

#[tokio::test]
async fn a_pooler_that_drops_settings_is_refused() {
    let fixture = on_postgres().await;
    let proxy = Proxy::start(&fixture.database, Lost::Options).await;
    let refused = proxy.shard();
    for error in [refused.watermark(P0).await.unwrap_err(), refused.read(P0, vec![]).await.unwrap_err()] {
        assert!(
            matches!(&error, Error::Schema { source, .. } if source.to_string().contains("pgbouncer")),
            "{error:?}"
        );
    }
    refused.close().await;
    fixture.shard.close().await;
}

#[tokio::test]
async fn ended_sessions_cost_one_call_each_and_lose_nothing() {
    let fixture = on_postgres().await;
    let shard = &fixture.shard;
    let mut copy = Copy::create(shard, P0).await;
    for offset in 0..10 {
        fixture
            .database
            .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            .await;
        let flush = copy.flush(1, vec![known(live(key("a"), offset, "v"))]);
        match shard.apply(vec![flush.clone()]).await {
            Ok(applied) => assert_eq!(applied.fenced, []),
            Err(error) => {
                assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
                assert_eq!(shard.watermark(P0).await.unwrap(), Some(copy.at.clone()));
                assert_eq!(shard.apply(vec![flush.clone()]).await.unwrap().fenced, []);
            }
        }
        copy.at = flush.next;
        // Of each reader that was idle, the first call fails.
        let mut failed = 0;
        while let Err(error) = shard.read(P0, vec![key("a")]).await {
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            failed += 1;
            assert!(failed <= 4);
        }
    }
    assert_eq!(shard.dump(P0).await.unwrap().watermark, copy.at);
    shard.close().await;
}

/// A transaction that has moved the watermark of `P0` and is not yet committed.
async fn unfinished(database: &Database, application_name: &str) -> PgConnection {
    let mut other = database.tool().await;
    let named = sqlx::query("SELECT set_config('application_name', $1, false)").bind(application_name);
    named.execute(&mut other).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE watermark SET applied_offset = 7 WHERE partition = 0")
        .execute(&mut other)
        .await
        .unwrap();
    other
}

#[tokio::test]
async fn a_transaction_still_at_work_is_waited_for() {
    let fixture = on_postgres().await;
    Copy::create(&fixture.shard, P0).await;
    let mut other = unfinished(&fixture.database, "millpond").await;
    let shard = fixture.database.shard();
    let reading = tokio::spawn({
        let shard = shard.clone();
        async move { shard.watermark(P0).await }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = async {
        while fixture.database.number(waits).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap().unwrap().applied, Offset(7));
    other.close().await.unwrap();
    shard.close().await;
    fixture.shard.close().await;
}

#[tokio::test]
async fn a_writer_that_hangs_is_ended_by_its_name_and_nobody_else_is() {
    let fixture = on_postgres().await;
    let copy = Copy::create(&fixture.shard, P0).await;
    let mut stranger = unfinished(&fixture.database, "a tool").await;
    let shard = fixture.database.shard();
    assert!(matches!(shard.watermark(P0).await, Err(Error::Unavailable { .. })));
    sqlx::raw_sql("ROLLBACK").execute(&mut stranger).await.unwrap();
    stranger.close().await.unwrap();

    let mut zombie = unfinished(&fixture.database, "millpond").await;
    let own = fixture.database.shard();
    assert_eq!(own.watermark(P0).await.unwrap(), Some(copy.at.clone()));
    assert!(sqlx::raw_sql("COMMIT").execute(&mut zombie).await.is_err());
    for shard in [own, shard] {
        shard.close().await;
    }
    fixture.shard.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_of_one_database_one_is_fenced() {
    let fixture = on_postgres().await;
    let other = fixture.database.shard();
    one_of_two_is_fenced(&fixture.shard, &other).await;
    other.close().await;
    fixture.shard.close().await;
}

#[tokio::test]
async fn a_reopened_shard_holds_what_was_applied() {
    let fixture = on_postgres().await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    copy.put(&fixture.shard, vec![known(live(key("a"), 0, "v"))]).await;
    let before = fixture.shard.dump(P0).await.unwrap();
    let all: Vec<Watermark> = fixture.shard.checkpoint().await.unwrap();
    assert_eq!(all, [copy.at]);
    fixture.shard.close().await;
    let again: Shard = fixture.database.shard();
    assert_eq!(again.dump(P0).await.unwrap(), before);
    again.close().await;
}

/// Of partitions that one statement does not name together.
#[tokio::test]
async fn a_read_that_is_slow_holds_up_no_other() {
    const FAR_AWAY: PartitionId = PartitionId(64);
    let fixture = on_postgres().await;
    let shard = &fixture.shard;
    for partition in [P0, FAR_AWAY] {
        let mut copy = Copy::create(shard, partition).await;
        copy.put(shard, vec![known(live(key("a"), 0, "v"))]).await;
    }
    let router = Router::new("s0", shard.clone(), Vec::new());
    let want = Want { at_least: Offset::NONE, deadline: Instant::now() + Duration::from_secs(20) };
    let mut tool = fixture.database.tool().await;
    let mut locked = tool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE kv_p00000").execute(&mut *locked).await.unwrap();
    let mut slow = Box::pin(router.read(P0, vec![key("a")], want));
    assert!(futures_util::poll!(&mut slow).is_pending());
    for _ in 0..3 {
        let quick = router.read(FAR_AWAY, vec![key("a")], want).await.unwrap();
        assert_eq!(quick.rows[0].as_ref().unwrap().value.as_ref().unwrap(), "v");
        assert!(futures_util::poll!(&mut slow).is_pending());
    }
    locked.rollback().await.unwrap();
    assert_eq!(slow.await.unwrap().rows.len(), 1);
    drop(tool);
    router.close().await;
}
