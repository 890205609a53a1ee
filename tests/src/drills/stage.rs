//! What several drills need: a deployment whose roles reach the primary through a link of ours, who owns what, and whose
//! connection it is.
//!
//! Invariant: it looks and waits, and breaks nothing.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use millpond_schemas::PartitionId;
use millpond_shard::Shard;
use tokio::time::timeout;

use crate::{
    deployment::{Deployment, Engines, Options, PATIENCE},
    faults::proxy::{Caught, Direction, Proxy},
    process::until_async,
    roles::Kind,
};

/// A client of Postgres sends a COMMIT.
pub const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
/// Postgres says that it is committed.
pub const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// Two apis, two writers and a sweeper.
pub(super) fn options() -> Options {
    let more = "[sweeper]\ninterval = \"200ms\"\n".to_owned();
    Options { apis: 2, writers: 2, sweepers: 1, more, ..Options::default() }
}

/// Those, with a link between them and the suite's primary, and every writer with partitions of its own.
pub(super) async fn linked() -> Result<(Deployment, Proxy)> {
    let engines = Engines::shared()?;
    let proxy = Proxy::start(engines.primary()?)?;
    let deployment = Deployment::start_on(engines.with_primary_at(proxy.address()), &options()).await?;
    until_shared_out(&deployment).await?;
    Ok((deployment, proxy))
}

/// What a writer says of its partitions: the partition and its state.
pub async fn owned(deployment: &Deployment, writer: usize) -> Result<Vec<(u32, String)>> {
    let ready = deployment.ops(Kind::Writer, writer).get("/readyz?verbose").send().await?.text();
    let lines = ready.lines().filter_map(|line| line.split_once("]partition "));
    let parsed = lines.filter_map(|(_, rest)| {
        let (partition, state) = rest.split_once(' ')?;
        Some((partition.trim_end_matches(':').parse().ok()?, state.to_owned()))
    });
    Ok(parsed.collect())
}

/// Waits until every writer has partitions, and together they have each once and none stands still.
pub async fn until_shared_out(deployment: &Deployment) -> Result<()> {
    let shared_out = async || {
        let mut all = Vec::new();
        for writer in 0..deployment.count(Kind::Writer) {
            let own = owned(deployment, writer).await?;
            if own.is_empty() {
                return Ok(false);
            }
            all.extend(own);
        }
        Ok(all.len() == deployment.partitions() as usize
            && all.iter().all(|(_, state)| state.ends_with("ok")))
    };
    deployment.until("every writer has partitions, and all are applied", shared_out).await
}

/// Waits until some writer is about to commit, or was just told that it has.
pub(super) async fn catch_commit(proxy: &Proxy, direction: Direction) -> Result<Caught> {
    let pattern = match direction {
        Direction::ToServer => COMMIT,
        Direction::ToClient => COMMITTED,
    };
    timeout(PATIENCE, proxy.catch(direction, pattern)).await.context("nobody commits")?
}

/// Which writer has this end of a connection through a link.
pub(super) fn writer_of(deployment: &mut Deployment, proxy: &Proxy, client: SocketAddr) -> Result<usize> {
    let inode = inode(client, proxy.address())?;
    for writer in 0..deployment.count(Kind::Writer) {
        let pid = deployment.role(Kind::Writer, writer).pid();
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if links.into_iter().any(|link| link.to_string_lossy() == format!("socket:[{inode}]")) {
            return Ok(writer);
        }
    }
    anyhow::bail!("no writer has the connection from {client}")
}

/// The number of the socket with these two ends, of IPv4. One port alone may be the near end of many connections, of which
/// most are long closed.
fn inode(near: SocketAddr, far: SocketAddr) -> Result<u64> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let port = |end: &str| u16::from_str_radix(end.rsplit_once(':')?.1, 16).ok();
    let found = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = port(fields.get(1)?)? == near.port() && port(fields.get(2)?)? == far.port();
        is_it.then(|| fields.get(9)?.parse().ok()).flatten().filter(|inode| *inode != 0)
    });
    found.with_context(|| format!("no socket is connected from {near} to {far}"))
}

/// Who owns each partition, as the primaries say.
pub struct Owners {
    shards: Vec<(Shard, Vec<PartitionId>)>,
}

impl Owners {
    /// Opens both primaries.
    pub fn open(deployment: &Deployment) -> Result<Self> {
        let all = (0..deployment.partitions()).map(PartitionId);
        let of = |shard| all.clone().filter(|partition| deployment.shard_of(partition.0) == shard).collect();
        let shards = (0..2).map(|shard| Ok((deployment.open(shard)?, of(shard))));
        Ok(Self { shards: shards.collect::<Result<_>>()? })
    }

    /// The owning Claim's offset, by partition.
    pub async fn now(&self) -> Result<BTreeMap<u32, i64>> {
        let mut owners = BTreeMap::new();
        for (shard, partitions) in &self.shards {
            let watermarks =
                timeout(Duration::from_secs(5), shard.read_watermarks(partitions.clone())).await??;
            owners.extend(watermarks.iter().map(|watermark| (watermark.partition.0, watermark.owner.0)));
        }
        Ok(owners)
    }

    /// Those of these partitions.
    pub async fn of(&self, partitions: &[(u32, String)]) -> Result<BTreeMap<u32, i64>> {
        let mut owners = self.now().await?;
        owners.retain(|partition, _| partitions.iter().any(|(own, _)| own == partition));
        ensure!(!owners.is_empty(), "it owns partitions");
        Ok(owners)
    }

    /// Waits until somebody else has committed in all of these.
    pub async fn until_taken_over(&self, deployment: &Deployment, before: &BTreeMap<u32, i64>) -> Result<()> {
        let taken_over = async || {
            let now = self.now().await?;
            Ok(before.iter().all(|(partition, owner)| now.get(partition).is_some_and(|now| now > owner)))
        };
        deployment.until("a successor commits", taken_over).await
    }
}

/// Looks for a few seconds: an owner never falls, a zombie's is lower than its successor's. `highest` is what was seen.
pub(super) async fn watch_rise(owners: &Owners, highest: &mut BTreeMap<u32, i64>) -> Result<()> {
    let (mut seen, mut looks) = (Ok(()), 0);
    until_async(Duration::from_secs(3), async || {
        seen = owners.now().await.and_then(|now| rise(highest, &now));
        looks += 1;
        seen.is_err()
    })
    .await;
    ensure!(looks > 1, "nobody looked");
    seen
}

fn rise(highest: &mut BTreeMap<u32, i64>, now: &BTreeMap<u32, i64>) -> Result<()> {
    for (partition, owner) in now {
        let known = highest.entry(*partition).or_insert(*owner);
        ensure!(owner >= known, "partition {partition} belongs to {owner} again, after {known}");
        *known = *owner;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_port_with_two_connections_is_told_apart_by_their_far_ends() -> Result<()> {
        let servers = [TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?];
        let [near] = crate::ports::free()?;
        let near = SocketAddr::from(([127, 0, 0, 1], near));
        let mut open = Vec::new();
        for server in &servers {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(near)?;
            open.push(socket.connect(server.local_addr()?).await?);
        }
        let found = [inode(near, servers[0].local_addr()?)?, inode(near, servers[1].local_addr()?)?];
        assert!(found[0] != found[1], "both are {found:?}");
        Ok(())
    }
}
