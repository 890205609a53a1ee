//! Promises of replicas: they answer reads, say how far they are, and are never written to.

use std::time::Duration;

use millpond_shard::{Error, Shard};

use crate::{
    build::{Copy, P0, key, known, live, read_one, tombstone},
    database::on_postgres,
};

#[tokio::test]
async fn a_replica_answers_reads_and_takes_no_writes() {
    let fixture = on_postgres().await;
    let replica = Shard::open_postgres(&fixture.database.replica()).unwrap();
    let mut copy = Copy::create(&fixture.shard, P0).await;
    copy.put(&fixture.shard, vec![known(live(key("a"), 0, "v")), known(tombstone(key("b"), 1))]).await;
    let replayed = async {
        // Until the database itself has come over there is nothing to connect to.
        while replica.watermark(P0).await.ok().flatten().as_ref() != Some(&copy.at) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), replayed).await.unwrap();
    assert!(read_one(&replica, P0, key("a")).await.is_some());
    assert_eq!(read_one(&replica, P0, key("b")).await, None);
    assert_eq!(replica.dump(P0).await.unwrap(), fixture.shard.dump(P0).await.unwrap());
    let flush = copy.flush(1, vec![known(live(key("a"), 2, "w"))]);
    let error = replica.apply(vec![flush]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let state = replica.node_state().await.unwrap();
    assert!(state.in_recovery && state.replay_lag.is_some());
    let state = fixture.shard.node_state().await.unwrap();
    assert_eq!((state.in_recovery, state.replay_lag), (false, Some(Duration::ZERO)));
    replica.close().await;
    fixture.shard.close().await;
}

#[tokio::test]
async fn a_replica_taken_for_a_primary_is_unavailable() {
    let fixture = on_postgres().await;
    let mut config = fixture.database.replica();
    config.kind = millpond_shard::Kind::Primary;
    let replica = Shard::open_postgres(&config).unwrap();
    let said = async {
        loop {
            let error = replica.watermark(P0).await.unwrap_err();
            if let Error::Unavailable { source, .. } = &error
                && source.to_string().contains("recovery")
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), said).await.unwrap();
    replica.close().await;
    fixture.shard.close().await;
}
