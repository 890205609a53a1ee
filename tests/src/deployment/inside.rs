//! What lies in a deployment's shards and on its log, and waiting for it.

use anyhow::{Context, Result, ensure};
use millpond_schemas::{PartitionId, RecordKey, Tenant};
use millpond_shard::{Dump, Kind as Node, Password, PostgresConfig, Shard};

use super::{Deployment, PATIENCE, SHARDS};
use crate::process::until_async;

impl Deployment {
    /// The partition of a key of the tenant `default`.
    pub fn partition(&self, key: &str) -> u32 {
        self.partition_of("default", key)
    }

    /// The partition of a tenant's key.
    pub fn partition_of(&self, tenant: &str, key: &str) -> u32 {
        let tenant = Tenant::new(tenant.to_owned()).expect("a test's tenant is one");
        RecordKey::new(&tenant, key.as_bytes()).expect("a test's key is one").partition(self.partitions()).0
    }

    /// A key of the tenant `default` for every partition, in order, beginning so.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let of = |partition| {
            let keys = (0u32..).map(|n| format!("{prefix}{n}"));
            keys.into_iter().find(|key| self.partition(key) == partition).expect("there is one")
        };
        (0..self.partitions()).map(of).collect()
    }

    /// The shard that serves a partition, as `init` places them.
    pub fn shard_of(&self, partition: u32) -> usize {
        partition as usize % SHARDS
    }

    /// A shard's primary, opened as a role opens it.
    pub fn open(&self, shard: usize) -> Result<Shard> {
        let mut config = PostgresConfig::new(self.address(shard, self.primary), Node::Primary);
        config.password = Some(Password::new(self.engines.password()));
        Ok(Shard::open_postgres(&config)?)
    }

    /// Everything of every partition, in order.
    pub async fn dumps(&self) -> Result<Vec<Dump>> {
        let mut dumps = Vec::new();
        for shard in 0..SHARDS {
            let open = self.open(shard)?;
            for partition in (0..self.partitions()).filter(|partition| self.shard_of(*partition) == shard) {
                dumps.push(open.dump(PartitionId(partition)).await?);
            }
            open.close().await;
        }
        dumps.sort_by_key(|dump| dump.watermark.partition);
        Ok(dumps)
    }

    /// The last applied offset of a partition, as its shard's primary says; -1 before there is one.
    pub fn applied(&self, partition: u32) -> Result<i64> {
        let sql = format!("SELECT applied_offset FROM watermark WHERE partition = {partition}");
        let said = self.psql_primary(self.shard_of(partition), &sql)?;
        if said.is_empty() { Ok(-1) } else { said.parse().with_context(|| format!("{said} is no offset")) }
    }

    /// Deadlocks that its primary's databases have counted.
    pub fn deadlocks(&self) -> Result<u64> {
        let mut found = 0;
        for shard in 0..SHARDS {
            let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
            found += self.psql_primary(shard, sql)?.parse::<u64>()?;
        }
        Ok(found)
    }

    /// Waits until every partition has applied all that is on the log now.
    pub async fn drained(&self) -> Result<()> {
        let topics = self.topics()?;
        let ends: Result<Vec<i64>> =
            (0..self.partitions()).map(|partition| Ok(topics.bounds(&self.topic(), partition)?.1)).collect();
        for (partition, end) in (0..).zip(ends?) {
            let what = format!("partition {partition} is applied up to {end}");
            self.until(&what, async || Ok(self.applied(partition)? >= end - 1)).await?;
        }
        Ok(())
    }

    /// Waits until something holds; an error counts as no. Fails, saying what did not, with the ends of the logs.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let mut last = Ok(false);
        let held = until_async(PATIENCE, async || {
            last = holds().await;
            matches!(last, Ok(true))
        });
        let held = held.await;
        ensure!(held, "not after {PATIENCE:?}: {what} ({last:?}){}", self.tails());
        Ok(())
    }
}
