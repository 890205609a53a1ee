//! Fresh before stale, replicas before the primary, and the primary before an answer that is too old.

use millpond_shard::{Kind, Reached};

use super::{Node, asked, count, deleted, key, live, read, refreshed, router};

#[tokio::test]
async fn without_replicas_the_primary_answers() {
    let primary = Node::at("primary", 10).await;
    let router = router(&primary, &[]);
    assert_eq!(asked(&router, -1).await, ("primary".into(), 10));
    assert_eq!(asked(&router, 10).await, ("primary".into(), 10));
    assert_eq!(asked(&router, 11).await, ("primary".into(), 10), "the answer says how old it is");
    assert_eq!(count(&router, Kind::Primary, Reached::Behind), 1);
    assert_eq!(router.report().retries, 0);
}

#[tokio::test]
async fn fresh_replicas_take_turns_and_the_others_are_spared() {
    let primary = Node::at("primary", 100).await;
    let (a, b, old) = (Node::at("a", 100).await, Node::at("b", 101).await, Node::at("old", 60).await);
    let router = router(&primary, &[&old, &a, &b]);
    refreshed(&router).await;
    let mut answered = std::collections::BTreeMap::new();
    for _ in 0..30 {
        *answered.entry(asked(&router, -1).await.0).or_insert(0) += 1;
    }
    assert_eq!(answered.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(answered.values().all(|times| *times >= 10), "{answered:?}");
    assert_eq!(count(&router, Kind::Primary, Reached::Answered), 0);
}

#[tokio::test]
async fn a_lagging_replica_that_is_well_spares_the_primary() {
    let primary = Node::at("primary", 100).await;
    let (a, b) = (Node::at("a", 40).await, Node::at("b", 60).await);
    let router = router(&primary, &[&a, &b]);
    refreshed(&router).await;
    for _ in 0..10 {
        assert_eq!(asked(&router, -1).await, ("b".into(), 60));
    }
    assert_eq!(count(&router, Kind::Primary, Reached::Answered), 0);
}

#[tokio::test]
async fn behind_one_the_other_is_asked_and_then_the_primary() {
    let mut primary = Node::at("primary", 100).await;
    let (mut a, b) = (Node::at("a", 98).await, Node::at("b", 99).await);
    let router = router(&primary, &[&a, &b]);
    for _ in 0..4 {
        assert_eq!(asked(&router, 99).await, ("b".into(), 99));
    }
    assert_eq!(count(&router, Kind::Primary, Reached::Answered), 0);
    assert_eq!(asked(&router, 100).await, ("primary".into(), 100));
    assert_eq!(asked(&router, 101).await, ("primary".into(), 100), "the freshest that there is");
    primary.advance(101, Vec::new()).await;
    assert_eq!(asked(&router, 101).await, ("primary".into(), 101));
    assert!(count(&router, Kind::Replica, Reached::Behind) >= 2);
    a.advance(101, Vec::new()).await;
    refreshed(&router).await;
    for _ in 0..4 {
        assert_eq!(asked(&router, 101).await, ("a".into(), 101));
    }
}

#[tokio::test]
async fn far_behind_what_is_wanted_no_replica_is_waited_for() {
    let primary = Node::at("primary", 100).await;
    let paused = Node::at("paused", 10).await;
    let router = router(&primary, &[&paused]);
    refreshed(&router).await;
    for _ in 0..5 {
        assert_eq!(asked(&router, 100).await, ("primary".into(), 100));
    }
    assert_eq!(count(&router, Kind::Replica, Reached::Behind), 0);
    assert_eq!(asked(&router, 10).await, ("paused".into(), 10), "for this it will do");
    let lag = router.report().nodes[1];
    assert_eq!((lag.kind, lag.lag_records, lag.lag.as_millis()), (Kind::Replica, 90, 90));
}

#[tokio::test]
async fn a_replica_that_catches_up_within_a_moment_spares_the_primary() {
    let primary = Node::at("primary", 100).await;
    let mut replica = Node::at("replica", 90).await;
    let router = router(&primary, &[&replica]);
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { asked(&router, 100).await }
    });
    super::until(|| count(&router, Kind::Replica, Reached::Behind) > 0).await;
    replica.advance(100, Vec::new()).await;
    // On a slow machine it has asked the primary by now.
    let (who, applied) = waiting.await.unwrap();
    assert!(who == "replica" || who == "primary", "{who}");
    assert_eq!(applied, 100);
    assert_eq!(asked(&router, 100).await, ("replica".into(), 100));
}

#[tokio::test]
async fn misses_are_as_fresh_as_hits() {
    let (mut primary, mut replica) = (Node::at("primary", 5).await, Node::at("replica", 5).await);
    let rows = || vec![live(key("gone"), 6, "old")];
    primary.advance(6, rows()).await;
    replica.advance(6, rows()).await;
    primary.advance(8, vec![deleted("gone", 7), live(key("new"), 8, "v")]).await;
    let router = router(&primary, &[&replica]);
    let there = async |name, at_least| {
        read(&router, vec![key(name)], at_least).await.unwrap().rows.pop().unwrap().is_some()
    };
    assert_eq!((there("gone", -1).await, there("new", -1).await), (true, false), "the replica's state");
    assert_eq!((there("gone", 7).await, there("new", 8).await), (false, true), "the primary's state");
    assert!(!there("never", 8).await);
    assert_eq!(count(&router, Kind::Primary, Reached::Answered), 3);
}
