//! The shards and their nodes, as this process knows them from its reads and its looks at them every second.
//!
//! Invariant: asks nobody.

use millpond_shard::{NodeReport, Reached};
use serde::Serialize;

use crate::{refreshes::Read, state::State};

/// One shard.
#[derive(Debug, Serialize)]
pub(super) struct Shard {
    pub(super) name: String,
    /// Those that it serves.
    partitions: Vec<u32>,
    /// Whether its primary answered when it was last asked, about a second ago.
    pub(super) answers: bool,
    /// Reads of all its nodes that were answered and fresh enough, ever.
    reads: u64,
    /// Reads that failed, or that an old timeline answered, ever.
    reads_failed: u64,
    /// The primary first.
    pub(super) nodes: Vec<Node>,
}

/// One node of a shard.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    /// `primary` or `replica`.
    pub(super) kind: &'static str,
    /// As the topology names it: no secret is in it.
    pub(super) address: String,
    /// It failed, and is asked again only after a probe has succeeded.
    pub(super) resting: bool,
    /// How far it is known to be behind the primary, in the partition that is the furthest behind.
    lag_records: u64,
    lag_seconds: f64,
    /// Statements that reads have become, ever.
    queries: u64,
    connections: u64,
    connections_in_use: u64,
}

impl State {
    /// Every shard of the topology.
    pub(super) fn told_shards(&self) -> Vec<Shard> {
        let topology = self.topology.borrow().clone();
        let unreachable = self.refreshes.of(Read::Unreachable);
        let told = |(index, router): (usize, &millpond_shard::Router)| {
            let report = router.report();
            let reads = |of: &[Reached]| {
                let counted = report.reads.iter().filter(|(_, reached, _)| of.contains(reached));
                counted.map(|(.., count)| count).sum()
            };
            let entry = topology.shards.get(index);
            let addresses = entry.map(|entry| std::iter::once(&entry.primary).chain(&entry.replicas));
            let mut addresses = addresses.into_iter().flatten();
            Shard {
                name: router.name().to_owned(),
                partitions: topology.partitions_of(index).map(|partition| partition.0).collect(),
                answers: !unreachable.contains(&index),
                reads: reads(&[Reached::Answered]),
                reads_failed: reads(&[Reached::Failed, Reached::OldTimeline]),
                nodes: report
                    .nodes
                    .iter()
                    .map(|node| of_node(node, addresses.next().cloned().unwrap_or_default()))
                    .collect(),
            }
        };
        self.shards.iter().enumerate().map(told).collect()
    }
}

fn of_node(node: &NodeReport, address: String) -> Node {
    Node {
        kind: node.kind.name(),
        address,
        resting: node.resting,
        lag_records: node.lag_records,
        lag_seconds: node.lag.as_secs_f64(),
        queries: node.queries,
        connections: node.pool.connections,
        connections_in_use: node.pool.in_use,
    }
}

#[cfg(test)]
impl Shard {
    /// One of which nobody has read anything.
    pub(super) fn unread(name: &str, answers: bool, nodes: Vec<Node>) -> Self {
        Self { name: name.to_owned(), partitions: vec![0], answers, reads: 0, reads_failed: 0, nodes }
    }
}

#[cfg(test)]
impl Node {
    /// One of which nobody has read anything.
    pub(super) fn unread(kind: &'static str, address: &str, resting: bool) -> Self {
        let (lag_records, lag_seconds, queries) = (0, 0.0, 0);
        let (connections, connections_in_use) = (4, 0);
        let address = address.to_owned();
        Self { kind, address, resting, lag_records, lag_seconds, queries, connections, connections_in_use }
    }
}
