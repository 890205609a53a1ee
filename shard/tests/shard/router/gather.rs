//! Reads that wait together become one query, and none of them suffers for another.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use millpond_shard::{Error, KEYS_MAX, Reading, Router, Snapshot};

use super::{Node, want};
use crate::build::{Copy, P0, P1, key, known, live};

/// A router that gathers, on one node with keys `0`, `1` and so on, and a partition without a copy.
async fn gathering(keys: i64) -> (Node, Router) {
    let mut node = Node::new("primary").await;
    let rows = (0..keys).map(|n| live(key(format!("{n:05}")), n, n.to_string())).collect();
    node.advance(keys, rows).await;
    let router = Router::reading("s0", node.shard(), Vec::new(), Reading::Gathered);
    (node, router)
}

fn queries(router: &Router) -> u64 {
    router.report().nodes[0].queries
}

async fn get(router: &Router, n: i64) -> Result<Snapshot, Error> {
    router.read(P0, vec![key(format!("{n:05}"))], want(-1)).await
}

fn value(answer: Result<Snapshot, Error>) -> String {
    let row = answer.unwrap().rows.pop().unwrap().unwrap();
    String::from_utf8(row.value.unwrap().into()).unwrap()
}

/// All wait before the first task runs: there is one thread.
#[tokio::test]
async fn two_hundred_waiting_reads_are_four_queries() {
    let (_node, router) = gathering(200).await;
    let answers = join_all((0..200).map(|n| get(&router, n))).await;
    for (n, answer) in (0..200).zip(answers) {
        assert_eq!(value(answer), n.to_string());
    }
    assert_eq!(queries(&router), 4);
    assert_eq!(value(get(&router, 7).await), "7");
    assert_eq!(queries(&router), 5, "one that is alone is sent at once");
}

#[tokio::test]
async fn callers_that_go_away_harm_nobody() {
    let (_node, router) = gathering(100).await;
    let mut left = Vec::new();
    let mut gone = Vec::new();
    for n in 0..100 {
        let mut call = Box::pin(get(&router, n));
        assert!(futures_util::poll!(&mut call).is_pending());
        if n % 2 == 0 { left.push((n, call)) } else { gone.push(call) }
    }
    drop(gone);
    for (n, call) in left {
        assert_eq!(value(call.await), n.to_string());
    }
    assert_eq!(queries(&router), 1, "nobody waits for the others' keys");
    // Dropped when the query may be under way.
    for n in 0..100 {
        let mut call = Box::pin(get(&router, n));
        assert!(futures_util::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
        drop(call);
        assert_eq!(value(get(&router, n).await), n.to_string());
    }
    router.close().await;
}

#[tokio::test]
async fn what_one_has_asked_for_fails_alone() {
    let (_node, router) = gathering(10).await;
    let without_copy = router.read(P1, vec![key("a")], want(-1));
    let too_many = router.read(P0, vec![key("a"); KEYS_MAX + 1], want(-1));
    let many = router.read(P0, (0..1000).map(|n| key(format!("{:05}", n % 10))).collect(), want(-1));
    let (a, without_copy, too_many, many, b) =
        tokio::join!(get(&router, 1), without_copy, too_many, many, get(&router, 2));
    assert_eq!((value(a), value(b)), ("1".into(), "2".into()));
    assert!(matches!(without_copy, Err(Error::Unavailable { .. })));
    assert!(matches!(too_many, Err(Error::Refused { .. })));
    let many = many.unwrap().rows;
    assert_eq!(many.len(), 1000);
    assert!((0..).zip(many).all(|(n, row)| row.unwrap().version == crate::build::version(n % 10)));
}

#[tokio::test]
async fn a_damaged_row_fails_its_own_caller_alone() {
    let (node, router) = gathering(64).await;
    crate::sqlite::change(&node.fixture, "UPDATE kv SET value = x'00' WHERE key = x'3030303037'").await;
    let answers = join_all((0..64).map(|n| get(&router, n))).await;
    for (n, answer) in (0..64).zip(answers) {
        match answer {
            Err(Error::Corrupt { .. }) if n == 7 => {}
            answer => assert_eq!(value(answer), n.to_string()),
        }
    }
}

#[tokio::test]
async fn partitions_and_misses_keep_apart() {
    let (node, router) = gathering(10).await;
    let mut other = Copy::create(&node.shard(), P1).await;
    other.put(&node.shard(), vec![known(live(key("00003"), 0, "other"))]).await;
    let of = async |partition, name: &str| router.read(partition, vec![key(name)], want(-1)).await.unwrap();
    let (a, b, c) = tokio::join!(of(P0, "00003"), of(P1, "00003"), of(P0, "never"));
    assert_eq!((value(Ok(a.clone())), value(Ok(b.clone()))), ("3".into(), "other".into()));
    assert_eq!((a.freshness.applied.partition, b.freshness.applied.partition), (P0, P1));
    assert_eq!((c.rows, c.freshness.applied), (vec![None], a.freshness.applied));
}

/// Every flush writes `who`: its version is the offset that the answer has to name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_beside_applies_is_of_the_state_that_it_names() {
    let (mut node, router) = gathering(0).await;
    let write = async {
        for offset in 1.. {
            node.advance(offset, Vec::new()).await;
        }
    };
    let read = async {
        let mut states = BTreeSet::new();
        while states.len() < 500 {
            let found = router.read(P0, vec![key("who")], want(-1)).await.unwrap();
            let named = found.freshness.applied.version();
            assert_eq!(found.rows[0].as_ref().map(|row| row.version), Some(named));
            states.insert(named);
        }
    };
    tokio::select! {
        () = write => unreachable!("it writes as long as there are readers"),
        () = read => {}
    }
}

#[tokio::test]
async fn more_than_may_wait_is_refused_at_once_and_the_rest_is_answered() {
    let (_node, router) = gathering(1).await;
    let answers = join_all((0..5000).map(|_| get(&router, 0))).await;
    let (answered, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((answered.len(), refused.len()), (4096, 904));
    assert!(refused.iter().all(|refused| matches!(refused, Err(Error::Unavailable { .. }))));
    assert_eq!(value(get(&router, 0).await), "0");
}
