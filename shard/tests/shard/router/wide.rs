//! Reads of several partitions: the node that is best for all of them, and no answer that lacks one.

use bytes::Bytes;
use millpond_schemas::{Offset, PartitionId};
use millpond_shard::{Error, Kind, ManyRead, Reached, Router, Scan, Scanned, Wants};
use tokio::time::Instant;

use super::{Node, PATIENCE, count, refreshed, router};
use crate::build::{Copy, P0, P1, key, known, live, tenant};

/// A node with both partitions, at these offsets.
async fn node(name: &'static str, offsets: [i64; 2]) -> Node {
    let node = Node::at(name, offsets[0]).await;
    let mut other = Copy::create(&node.shard(), P1).await;
    let flush = other.flush(offsets[1] + 1, vec![known(live(key("other"), 0, name))]);
    other.apply(&node.shard(), flush).await;
    node
}

fn wants(at_least: &[(PartitionId, i64)]) -> Wants {
    let at_least = at_least.iter().map(|(partition, offset)| (*partition, Offset(*offset))).collect();
    Wants { at_least, deadline: Instant::now() + PATIENCE }
}

async fn range(router: &Router, wants: &Wants) -> Result<Scanned, Error> {
    let scan = Scan {
        tenant: tenant("t"),
        start: Bytes::new(),
        end: None,
        limit: 10,
        looked_max: 100,
        bytes_max: 1_000,
        reverse: false,
    };
    router.range(scan, wants).await
}

async fn keys(router: &Router, wants: &Wants) -> Result<ManyRead, Error> {
    router.read_many(vec![(P0, key("who")), (P1, key("other"))], 1_000, wants).await
}

/// Who has answered both, and how far it had applied each.
async fn asked(router: &Router, at_least: [i64; 2]) -> (String, Vec<i64>) {
    let wants = wants(&[(P0, at_least[0]), (P1, at_least[1])]);
    let scanned = range(router, &wants).await.unwrap();
    let read = keys(router, &wants).await.unwrap();
    let name = |value: &Bytes| String::from_utf8(value.to_vec()).unwrap();
    let ranged: Vec<String> = scanned.rows.iter().map(|(_, row)| name(row.value.as_ref().unwrap())).collect();
    let named: Vec<String> =
        read.rows.iter().flatten().map(|row| name(row.value.as_ref().unwrap())).collect();
    assert_eq!(ranged.len(), 2);
    assert!(ranged.iter().chain(&named).all(|one| *one == ranged[0]), "{ranged:?} {named:?}");
    let applied = scanned.freshness.iter().map(|state| state.applied.offset.0).collect();
    (ranged[0].clone(), applied)
}

#[tokio::test]
async fn the_node_that_has_enough_of_every_partition_answers() {
    let primary = node("primary", [20, 20]).await;
    let (half, all) = (node("half", [20, 5]).await, node("all", [15, 15]).await);
    let router = router(&primary, &[&half, &all]);
    router.refresh(vec![P0, P1], Instant::now() + PATIENCE).await.unwrap();
    for _ in 0..10 {
        assert_eq!(asked(&router, [15, 10]).await, ("all".into(), vec![15, 15]));
        assert_eq!(asked(&router, [18, 3]).await, ("half".into(), vec![20, 5]));
        assert_eq!(asked(&router, [18, 18]).await, ("primary".into(), vec![20, 20]));
    }
    primary.shard().close().await;
    assert_eq!(
        asked(&router, [18, 18]).await,
        ("all".into(), vec![15, 15]),
        "older, but the freshest there is"
    );
}

#[tokio::test]
async fn a_node_without_a_copy_of_every_partition_has_not_answered() {
    let primary = node("primary", [20, 20]).await;
    let lacking = Node::at("lacking", 20).await;
    let both = router(&primary, &[&lacking]);
    assert_eq!(asked(&both, [-1, -1]).await.0, "primary");
    assert_eq!(count(&both, Kind::Replica, Reached::Failed), 1);
    let alone = router(&lacking, &[]);
    for at_least in [-1, 20] {
        let wants = wants(&[(P0, at_least), (P1, -1)]);
        assert!(matches!(range(&alone, &wants).await, Err(Error::Unavailable { .. })));
        assert!(matches!(keys(&alone, &wants).await, Err(Error::Unavailable { .. })));
    }
    assert_eq!(range(&alone, &wants(&[(P0, 20)])).await.unwrap().rows.len(), 1, "of what it has it tells");
}

#[tokio::test]
async fn one_partition_from_an_old_timeline_spoils_the_answer() {
    let mut primary = node("primary", [10, 20]).await.owned_by(11);
    primary.advance(20, Vec::new()).await;
    let mut old = node("old", [10, 20]).await.owned_by(2);
    old.advance(30, Vec::new()).await;
    let router = router(&primary, &[&old]);
    refreshed(&router).await;
    assert_eq!(asked(&router, [-1, -1]).await, ("primary".into(), vec![20, 20]));
    assert!(count(&router, Kind::Replica, Reached::Answered) == 0, "it was not believed");
}
