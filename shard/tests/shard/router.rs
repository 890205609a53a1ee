//! Which node answers a read. The nodes are SQLite shards to which the same flushes were applied up to a chosen one;
//! the row `who` names the node in each.

mod gather;
mod nodes;
mod order;
mod wide;

use std::time::Duration;

use millpond_schemas::{Offset, RecordKey, Row};
use millpond_shard::{Error, Kind, Reached, Reading, Router, Shard, Snapshot, Want};
use tokio::time::Instant;

use crate::{
    Fixture,
    build::{Copy, P0, key, known, live, tombstone},
    on_sqlite,
};

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A node, and the copy of [`P0`] on it.
struct Node {
    fixture: Fixture,
    copy: Copy,
    name: &'static str,
}

impl Node {
    /// An empty one.
    async fn new(name: &'static str) -> Self {
        let fixture = on_sqlite().await;
        let copy = Copy::create(&fixture.shard, P0).await;
        Self { fixture, copy, name }
    }

    /// One at this offset.
    async fn at(name: &'static str, offset: i64) -> Self {
        let mut node = Self::new(name).await;
        node.advance(offset, Vec::new()).await;
        node
    }

    /// One that has no copy yet: reads of it fail, looks at it do not.
    async fn bare() -> Fixture {
        on_sqlite().await
    }

    fn shard(&self) -> Shard {
        self.fixture.shard.clone()
    }

    /// Applies up to `offset`, with these rows beside its name.
    async fn advance(&mut self, offset: i64, rows: Vec<Row>) {
        let records = offset - self.copy.at.applied.0;
        let mut rows: Vec<_> = rows.into_iter().map(known).collect();
        rows.push(known(live(key("who"), offset, self.name)));
        rows.sort_by(|a, b| a.row.key.cmp(&b.row.key));
        let flush = self.copy.flush(records, rows);
        self.copy.apply(&self.fixture.shard, flush).await;
    }

    /// From the next flush on it is owned by this Claim.
    fn owned_by(mut self, claim: i64) -> Self {
        self.copy.at.owner = Offset(claim);
        self
    }
}

fn router(primary: &Node, replicas: &[&Node]) -> Router {
    Router::reading(
        "s0",
        primary.shard(),
        replicas.iter().map(|node| node.shard()).collect(),
        Reading::Direct,
    )
}

fn want(at_least: i64) -> Want {
    Want { at_least: Offset(at_least), deadline: Instant::now() + PATIENCE }
}

async fn read(router: &Router, keys: Vec<RecordKey>, at_least: i64) -> Result<Snapshot, Error> {
    router.read(P0, keys, want(at_least)).await
}

/// Who answered, and how far it had applied.
async fn asked(router: &Router, at_least: i64) -> (String, i64) {
    let snapshot = read(router, vec![key("who")], at_least).await.unwrap();
    let row = snapshot.rows.into_iter().next().unwrap().unwrap();
    (String::from_utf8(row.value.unwrap().into()).unwrap(), snapshot.freshness.applied.offset.0)
}

/// Twice, so that what the primary has now is what replicas are measured by.
async fn refreshed(router: &Router) {
    for _ in 0..2 {
        router.refresh(vec![P0], Instant::now() + PATIENCE).await.unwrap();
    }
}

fn count(router: &Router, kind: Kind, reached: Reached) -> u64 {
    let reads = router.report().reads;
    reads.into_iter().find(|(k, r, _)| (*k, *r) == (kind, reached)).unwrap().2
}

/// Waits until something is so.
async fn until(holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it never became so");
        tokio::task::yield_now().await;
    }
}

/// The tombstone of a key that was deleted at `offset`.
fn deleted(name: &'static str, offset: i64) -> Row {
    tombstone(key(name), offset)
}
