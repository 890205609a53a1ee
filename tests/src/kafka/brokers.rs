//! Three brokers as one cluster: every topic on three of them, two must have a record before it is acked.
//!
//! Invariant: nodes are named by Kafka's own ids, from 1 on.

use anyhow::{Result, anyhow};

use super::{
    Broker,
    layout::{Quorum, Special, random_id},
};
use crate::{folder::Folder, ports, process::Life};

/// The most that the heap of one of many takes, MiB.
const HEAP_MIB: u32 = 192;
/// How many there are.
const NODES: usize = 3;

/// Three brokers. They end with the value.
#[derive(Debug)]
pub struct Brokers {
    // In the order in which they end.
    nodes: Vec<Broker>,
    _folder: Folder,
}

impl Brokers {
    /// Starts three with data of their own, in a temporary folder that goes with them.
    pub fn fresh() -> Result<Self> {
        let folder = Folder::create()?;
        let quorum = Quorum {
            cluster: random_id(),
            controllers: ports::free::<NODES>()?.map(|port| (port, random_id())).into(),
        };
        let special = Special::default();
        let mut nodes = Vec::with_capacity(NODES);
        for (node, port) in ports::free::<NODES>()?.into_iter().enumerate() {
            let dir = folder.path().join(format!("broker-{}", node + 1));
            quorum.format(&dir, node, port, &special)?;
            nodes.push(Broker::spawn(&dir, port, Life::Owned, (special.clone(), HEAP_MIB))?);
        }
        // None is ready before two are.
        for node in &mut nodes {
            node.until_ready()?;
        }
        Ok(Self { nodes, _folder: folder })
    }

    /// Where clients connect: `host:port` of each, with commas.
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(Broker::address).collect::<Vec<_>>().join(",")
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = i32> + use<> {
        (1..).take(self.nodes.len())
    }

    /// One of them, by its id.
    pub fn node(&mut self, id: i32) -> Result<&mut Broker> {
        let place = usize::try_from(id - 1).ok();
        place.and_then(|place| self.nodes.get_mut(place)).ok_or_else(|| anyhow!("there is no broker {id}"))
    }
}
