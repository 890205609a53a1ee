//! Which engines a deployment stands on.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::{
    kafka::{Broker, Brokers},
    postgres::Cluster,
};

/// A broker, and a Postgres primary with its replicas.
#[derive(Clone, Debug)]
pub struct Engines {
    kafka: String,
    /// With the password and the database `postgres`; the primary first.
    nodes: Vec<String>,
    shared_kafka: bool,
    /// One broker is enough.
    dev: bool,
    shared_postgres: bool,
    /// Where roles find the primary, when it is not where it is.
    primary_at: Option<SocketAddr>,
    /// A shard that does not lie there, and where it lies.
    apart: Option<(usize, Box<Self>)>,
}

impl Engines {
    /// The suite's: what `tests/stack engines` has told.
    pub fn shared() -> Result<Self> {
        let nodes = vec![told("MILLPOND_TEST_POSTGRES")?, told("MILLPOND_TEST_POSTGRES_REPLICA")?];
        let kafka = told("MILLPOND_TEST_KAFKA")?;
        Ok(Self {
            kafka,
            nodes,
            shared_kafka: true,
            dev: true,
            shared_postgres: true,
            primary_at: None,
            apart: None,
        })
    }

    /// Another broker, which ends with the test.
    #[must_use]
    pub fn with_broker(self, broker: &Broker) -> Self {
        Self { kafka: broker.address(), shared_kafka: false, ..self }
    }

    /// Three brokers, which end with the test: topics are replicated as in production.
    #[must_use]
    pub fn with_brokers(self, brokers: &Brokers) -> Self {
        Self { kafka: brokers.addresses(), shared_kafka: false, dev: false, ..self }
    }

    /// Another Postgres cluster, which ends with the test.
    #[must_use]
    pub fn with_cluster(self, cluster: &Cluster) -> Self {
        let nodes = (0..cluster.nodes()).map(|node| cluster.url(node, "postgres")).collect();
        Self { nodes, shared_postgres: false, ..self }
    }

    /// One shard lies on another cluster, whose role `millpond` has the same password and which ends with the test.
    #[must_use]
    pub fn with_shard_on(self, shard: usize, cluster: &Cluster) -> Self {
        let apart = Self { primary_at: None, ..self.clone() }.with_cluster(cluster);
        Self { apart: Some((shard, Box::new(apart))), ..self }
    }

    /// Roles go to the primary through here, such as a link of the test's own; the test itself goes there directly.
    #[must_use]
    pub fn with_primary_at(self, address: SocketAddr) -> Self {
        Self { primary_at: Some(address), ..self }
    }

    /// Where the primary is.
    pub fn primary(&self) -> Result<SocketAddr> {
        self.postgres()?.first().copied().context("there is a primary")
    }

    /// Where each Postgres node is; the primary first.
    pub fn postgres(&self) -> Result<Vec<SocketAddr>> {
        let host = |login: &String| {
            let (_, host) = login.rsplit_once('@').context("it has a password")?;
            let (host, _) = host.split_once('/').context("it has a database")?;
            Ok(host.parse()?)
        };
        self.nodes.iter().map(host).collect()
    }

    /// `host:port` of the broker, or of each.
    pub fn kafka(&self) -> &str {
        &self.kafka
    }

    /// How many Postgres nodes there are; the primary is one.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// A node's database, with the password.
    pub fn url(&self, node: usize, database: &str) -> String {
        let (server, _) = self.nodes[node].rsplit_once('/').unwrap_or_default();
        format!("{server}/{database}")
    }

    /// The same without the password.
    pub fn address(&self, node: usize, database: &str) -> String {
        let url = self.url(node, database).replacen(&format!(":{}@", self.password()), "@", 1);
        match (self.primary_at, url.split_once('@')) {
            (Some(at), Some((login, _))) if node == 0 => format!("{login}@{at}/{database}"),
            _ => url,
        }
    }

    /// The password of the role `millpond`: the same on every node.
    pub fn password(&self) -> &str {
        let login = self.nodes.first().and_then(|node| node.rsplit_once('@')).unwrap_or_default().0;
        login.rsplit_once(':').unwrap_or_default().1
    }

    /// Those that a shard stands on.
    pub(super) fn of(&self, shard: usize) -> &Self {
        match &self.apart {
            Some((apart, engines)) if *apart == shard => engines,
            _ => self,
        }
    }

    /// One broker is enough: `kafka.dev`.
    pub(super) fn dev(&self) -> bool {
        self.dev
    }

    /// The broker is there when the deployment is gone.
    pub(super) fn has_shared_kafka(&self) -> bool {
        self.shared_kafka
    }

    /// The cluster is there when the deployment is gone.
    pub(super) fn has_shared_postgres(&self) -> bool {
        self.shared_postgres
    }
}

fn told(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| {
        format!("{variable} is not set: run it with tests/run.sh or `tests/stack engines -- cargo test …`")
    })
}
