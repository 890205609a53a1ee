//! What a rebuild reads: a deployment's log, or that of a data directory, beside the server that has it or without one.
//!
//! Invariant: nothing is ever appended to the mutations log; of a data directory nothing at all is written. While it is
//! open nothing is trimmed that it may still read: a deployment's databases are told, a data directory's log is locked
//! for readers by the reading of it.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use millpond_log::{Clock, Log, Topologies, local};
use millpond_schemas::{Keyring, Topology};
use tokio::task::JoinSet;

use super::keep::Keeper;
use crate::{
    deployment::{Background, Deployment},
    mac_key,
    nodes::Options,
    settings::Settings,
};

const CONTROL: &str = "log/control";

/// An open log, and what belongs to it.
pub struct Source {
    /// The mutations log.
    pub log: Log,
    /// The control topic; one of a data directory takes no changes.
    pub control: Log,
    /// As of the opening.
    pub topology: Arc<Topology>,
    /// To verify control records.
    pub keyring: Keyring,
    /// The machine's.
    pub clock: Clock,
    /// Of a data directory that nobody else has open.
    lock: Option<local::DirLock>,
    /// Of a deployment.
    keeper: Option<Keeper>,
    following: JoinSet<()>,
}

impl Source {
    /// Opens what the settings name: a deployment where they name brokers, else the data directory. `alone`: nobody else
    /// may have that directory meanwhile.
    pub async fn open(settings: &Settings, alone: bool) -> Result<Self> {
        if settings.kafka.brokers.is_empty() {
            Self::directory(settings, alone).await
        } else {
            Self::deployment(settings).await
        }
    }

    async fn deployment(settings: &Settings) -> Result<Self> {
        let (deployment, background) = Deployment::connect(settings, "rebuild").await?;
        let keyring = Deployment::keyring(settings)?;
        let topology = deployment.topology.borrow().clone();
        let mut following = JoinSet::new();
        following.spawn(follow(background));
        let keeper = Some(Keeper::start(&deployment.topology, &Options::of(settings, "rebuild")?).await);
        let Deployment { log, control, clock, .. } = deployment;
        Ok(Self { log, control, topology, keyring, clock, lock: None, keeper, following })
    }

    async fn directory(settings: &Settings, alone: bool) -> Result<Self> {
        let dir = settings.data_dir();
        ensure!(
            dir.join(CONTROL).is_dir(),
            "there is no log in {}: name a data directory with --data-dir, or a deployment with --config",
            dir.display()
        );
        let lock = alone.then(|| lock(dir)).transpose()?;
        let control = read_only(dir, CONTROL, 1).await?;
        let topologies = Topologies::open(control.clone()).await.context("read the control topic")?;
        let topology = Arc::clone(topologies.current().context("the control topic holds no topology")?);
        let stream = format!("log/mutations.{}", topology.generation.0);
        let log = read_only(dir, &stream, topology.partitions()).await?;
        let keyring = mac_key::read(&settings.mac_key_file(), false).context("read the MAC key")?;
        let following = JoinSet::new();
        Ok(Self { log, control, topology, keyring, clock: Clock::System, lock, keeper: None, following })
    }

    /// The control topic of a data directory that nobody else has open, to be written to.
    pub async fn writable_control(&self) -> Result<Log> {
        let lock = self.lock.as_ref().context("the data directory is not locked")?;
        let control = local::Log::open(lock, CONTROL, local::Options::new(1)).await;
        Ok(Log::Local(control.context("open the control topic")?))
    }

    /// The topology as it is now.
    pub async fn current(&self) -> Result<Arc<Topology>> {
        let topologies = Topologies::open(self.control.clone()).await.context("read the control topic")?;
        Ok(Arc::clone(topologies.current().context("the control topic holds no topology")?))
    }

    /// Closes everything.
    pub async fn close(mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop().await;
        }
        self.following.shutdown().await;
        self.log.close().await;
        self.control.close().await;
    }
}

fn lock(dir: &Path) -> Result<local::DirLock> {
    let lock = local::DirLock::acquire(dir);
    lock.context("a shard's file is exchanged only while nobody has it open: stop the server first")
}

async fn read_only(dir: &Path, stream: &str, partitions: u32) -> Result<Log> {
    let log = local::Log::open_read_only(dir, stream, partitions).await;
    Ok(Log::Local(log.with_context(|| format!("open {stream}"))?))
}

/// Keeps what a deployment stands on alive. What a rebuild needs of the topology it reads itself.
async fn follow(background: Background) {
    let error = background.run().await;
    tracing::debug!(%error, "the control topic is followed no more");
}
