//! Nodes that fail, come back, live on an old timeline, and are replaced.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use millpond_shard::{Error, Kind, Reached, Reading, Router};

use super::{Node, asked, count, key, read, refreshed, router, until};
use crate::build::{Copy, P0, P1, known, live};

#[tokio::test]
async fn a_dead_replica_costs_one_retry_and_is_left_alone() {
    let primary = Node::at("primary", 10).await;
    let (dead, well) = (Node::at("dead", 10).await, Node::at("well", 10).await);
    let router = router(&primary, &[&dead, &well]);
    refreshed(&router).await;
    dead.shard().close().await;
    for _ in 0..50 {
        assert_eq!(asked(&router, -1).await.0, "well");
    }
    assert_eq!(count(&router, Kind::Replica, Reached::Failed), 1);
    assert_eq!((router.report().retries, count(&router, Kind::Primary, Reached::Answered)), (1, 0));
    assert_eq!(resting(&router), [false, true, false]);
    well.shard().close().await;
    for _ in 0..50 {
        assert_eq!(asked(&router, -1).await.0, "primary");
    }
    assert_eq!(count(&router, Kind::Replica, Reached::Failed), 2);
    router.close().await;
}

fn resting(router: &Router) -> Vec<bool> {
    router.report().nodes.into_iter().map(|node| node.resting).collect()
}

#[tokio::test]
async fn a_replica_that_is_well_again_is_asked_again() {
    let primary = Node::at("primary", 0).await;
    let bare = Node::bare().await;
    let router = Router::reading("s0", primary.shard(), vec![bare.shard.clone()], Reading::Direct);
    assert_eq!(asked(&router, -1).await.0, "primary");
    assert_eq!(count(&router, Kind::Replica, Reached::Failed), 1);
    let mut copy = Copy::create(&bare.shard, P0).await;
    copy.put(&bare.shard, vec![known(live(key("who"), 0, "back"))]).await;
    until(|| !router.report().nodes[1].resting).await;
    assert_eq!(asked(&router, -1).await.0, "back");
}

#[tokio::test]
async fn where_nobody_answers_it_is_unavailable() {
    let (primary, replica) = (Node::at("primary", 1).await, Node::at("replica", 1).await);
    let router = router(&primary, &[&replica]);
    primary.shard().close().await;
    assert_eq!(asked(&router, -1).await.0, "replica");
    assert_eq!(asked(&router, 2).await, ("replica".into(), 1), "older, but an answer");
    replica.shard().close().await;
    for at_least in [-1, 1, 2] {
        let answer = read(&router, vec![key("who")], at_least).await;
        assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    }
    assert!(router.read(P1, vec![key("who")], super::want(-1)).await.is_err());
    router.close().await;
}

#[tokio::test]
async fn a_dead_primary_leaves_lagging_replicas() {
    let (primary, lagging) = (Node::at("primary", 100).await, Node::at("lagging", 10).await);
    let router = router(&primary, &[&lagging]);
    refreshed(&router).await;
    primary.shard().close().await;
    assert_eq!(asked(&router, 50).await, ("lagging".into(), 10));
}

#[tokio::test]
async fn an_answer_from_an_old_timeline_is_refused_and_one_that_lags_is_not() {
    let mut primary = Node::at("primary", 10).await.owned_by(11);
    primary.advance(20, Vec::new()).await;
    let mut old = Node::at("old", 10).await.owned_by(2);
    old.advance(15, Vec::new()).await;
    let mut lagging = Node::at("lagging", 5).await.owned_by(2);
    lagging.advance(10, Vec::new()).await;
    let only_old = router(&primary, &[&old]);
    assert_eq!(asked(&only_old, -1).await.0, "old", "nothing is known of a later Claim yet");
    refreshed(&only_old).await;
    assert!(only_old.report().nodes[1].resting, "its look is judged alike");
    for _ in 0..20 {
        assert_eq!(asked(&only_old, -1).await.0, "primary");
    }
    let of_both = router(&primary, &[&old, &lagging]);
    assert_eq!(asked(&of_both, 20).await.0, "primary", "which tells its owner");
    for _ in 0..20 {
        assert_eq!(asked(&of_both, -1).await.0, "lagging");
    }
    assert_eq!(count(&of_both, Kind::Replica, Reached::OldTimeline), 1);
    only_old.close().await;
    of_both.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_replaced_under_load_and_no_read_fails() {
    let primary = Node::at("primary", 10).await;
    let mut replica = Node::at("replica", 10).await;
    let router = router(&primary, &[&replica]);
    let stop = Arc::new(AtomicBool::new(false));
    let load = async |router: Router, stop: Arc<AtomicBool>| {
        let mut reads = 0u64;
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(asked(&router, 10).await.1, 10);
            reads += 1;
        }
        reads
    };
    let loads: Vec<_> = (0..4).map(|_| tokio::spawn(load(router.clone(), Arc::clone(&stop)))).collect();
    for _ in 0..20 {
        let new = Node::at("new", 10).await;
        let answered = count(&router, Kind::Replica, Reached::Answered);
        router.set_nodes(primary.shard(), vec![new.shard()]);
        until(|| count(&router, Kind::Replica, Reached::Answered) > answered + 10).await;
        let old = std::mem::replace(&mut replica, new);
        closed(&old).await;
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        assert!(load.await.unwrap() > 0);
    }
    assert_eq!(count(&router, Kind::Replica, Reached::Failed), 0);
}

/// Waits until a node's shard is closed.
async fn closed(node: &Node) {
    let end = tokio::time::Instant::now() + super::PATIENCE;
    while node.shard().watermark(P0).await.is_ok() {
        assert!(tokio::time::Instant::now() < end, "it is never closed");
    }
}

#[tokio::test]
async fn a_promoted_replica_is_kept_open_and_the_old_primary_is_closed() {
    let (primary, replica) = (Node::at("primary", 10).await, Node::at("replica", 10).await);
    let router = router(&primary, &[&replica]);
    let clone = router.clone();
    router.set_nodes(replica.shard(), Vec::new());
    closed(&primary).await;
    assert!(clone.primary().is(&replica.shard()));
    assert_eq!(asked(&clone, -1).await.0, "replica");
    assert_eq!(count(&clone, Kind::Primary, Reached::Answered), 1);
    clone.close().await;
    assert!(read(&router, vec![key("who")], -1).await.is_err());
}
