//! The Postgres nodes behind each shard's router: opened as the topology names them, and exchanged when it changes.
//!
//! Invariant: a router always has the nodes of the newest topology that was followed; nobody who holds it is told.

use std::{collections::HashMap, fs, sync::Arc};

use anyhow::{Context, Result};
use millpond_schemas::{Shard as Entry, Topology};
use millpond_shard::{Kind, Password, PostgresConfig, Router, Shard};
use tokio::sync::watch;

use crate::settings::Settings;

/// How nodes are opened.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Connections that read, per node.
    pub(crate) readers: u32,
    /// Of every shard's user. None: the environment says it.
    pub(crate) password: Option<Password>,
    /// What a node's server shows of this process: the same for all of one role.
    pub(crate) application_name: String,
}

/// Every shard's router, by index in the topology, and the nodes that are open.
pub(crate) struct Nodes {
    options: Options,
    routers: Vec<Router>,
    /// By address and what it is used as.
    open: HashMap<(String, bool), Shard>,
}

impl Options {
    /// As the settings say, for a process of this role.
    pub(crate) fn of(settings: &Settings, role: &str) -> Result<Self> {
        let file = &settings.shards.password_file;
        let password = if file.is_empty() {
            None
        } else {
            let text =
                fs::read_to_string(file).with_context(|| format!("read shards.password_file {file}"))?;
            Some(Password::new(text.trim_end_matches(['\n', '\r'])))
        };
        let application_name = format!("millpond-{role}");
        Ok(Self { readers: settings.shards.read_connections, password, application_name })
    }

    /// What opens the node at an address.
    pub(crate) fn config(&self, address: &str, kind: Kind) -> PostgresConfig {
        PostgresConfig {
            readers: self.readers,
            password: self.password.clone(),
            application_name: self.application_name.clone(),
            ..PostgresConfig::new(address, kind)
        }
    }
}

impl Nodes {
    /// Opens the nodes of a topology. Needs none of them to be up.
    pub(crate) fn open(topology: &Topology, options: Options) -> Result<Self> {
        let mut nodes = Self { options, routers: Vec::new(), open: HashMap::new() };
        for entry in &topology.shards {
            let (primary, replicas) = nodes.of(entry)?;
            nodes.routers.push(Router::new(&entry.name, primary, replicas));
        }
        Ok(nodes)
    }

    /// One router a shard.
    pub(crate) fn routers(&self) -> Vec<Router> {
        self.routers.clone()
    }

    /// Follows the topology for ever. A change that cannot be followed leaves the nodes as they were.
    pub(crate) async fn follow(mut self, mut topology: watch::Receiver<Arc<Topology>>) {
        while topology.changed().await.is_ok() {
            let new = topology.borrow_and_update().clone();
            if let Err(error) = self.change(&new) {
                tracing::error!(epoch = new.epoch, "the topology cannot be followed: {error:#}");
            }
        }
        std::future::pending::<()>().await;
    }

    fn change(&mut self, topology: &Topology) -> Result<()> {
        anyhow::ensure!(
            topology.shards.len() == self.routers.len(),
            "it names {} shards, this process has {}: start it again",
            topology.shards.len(),
            self.routers.len()
        );
        for (index, entry) in topology.shards.iter().enumerate() {
            let (primary, replicas) = self.of(entry)?;
            tracing::info!(shard = entry.name, primary = entry.primary, epoch = topology.epoch, "nodes");
            self.routers[index].set_nodes(primary, replicas);
        }
        let named = |(address, primary): &(String, bool)| {
            let role = |entry: &Entry| {
                if *primary { entry.primary == *address } else { entry.replicas.contains(address) }
            };
            topology.shards.iter().any(role)
        };
        self.open.retain(|node, _| named(node));
        Ok(())
    }

    fn of(&mut self, entry: &Entry) -> Result<(Shard, Vec<Shard>)> {
        let primary = self.node(&entry.primary, true)?;
        let replicas = entry.replicas.iter().map(|address| self.node(address, false));
        Ok((primary, replicas.collect::<Result<_>>()?))
    }

    fn node(&mut self, address: &str, primary: bool) -> Result<Shard> {
        let node = (address.to_owned(), primary);
        if let Some(open) = self.open.get(&node) {
            return Ok(open.clone());
        }
        let kind = if primary { Kind::Primary } else { Kind::Replica };
        let shard = Shard::open_postgres(&self.options.config(address, kind))
            .with_context(|| format!("open the shard at {address}"))?;
        self.open.insert(node, shard.clone());
        Ok(shard)
    }
}
