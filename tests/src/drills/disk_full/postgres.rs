//! A primary of its own whose data directory has no space left.
//!
//! Postgres may end when its own log has no space: then it is started again, as a supervisor does, once there is some.

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{Context, Sent, comes, read};
use crate::{
    deployment::{Deployment, Engines, Options},
    faults::fs::SmallFs,
    postgres::{Cluster, Secrets},
    process::Life,
    roles::Kind,
};

/// A cluster that was just made, and some.
const BYTES: u64 = 256 << 20;
/// Writes while there is no room.
const WRITES: u64 = 200;

/// Writes are accepted while the primary has no room, wait, and are applied by themselves once it has.
pub(super) async fn full(context: &Context, _round: u64) -> Result<()> {
    let folder = TempDir::new()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let secrets = Secrets::create(folder.path())?;
    let at = folder.path().join("cluster");
    let disk = SmallFs::mount(&at, BYTES)?;
    let mut cluster = tokio::task::block_in_place(|| Cluster::start(&at, &secrets, 0, Life::Owned))?;
    let engines = Engines::shared()?.with_cluster(&cluster);
    let deployment = Deployment::start_on(engines, &Options::default()).await?;
    let (http, mut sent) = (deployment.api(0), Sent::default());
    sent.put(http, "before").await?;
    comes("it is applied", async || Ok(read(http, "before", "strong").await?.status == 200)).await?;
    disk.fill()?;
    context.fault("disk full", "Postgres");
    for n in 0..WRITES {
        let answer = sent.put(http, &format!("full-{n}")).await?;
        ensure!(answer.status == 202, "Kafka has room: {answer:?}");
    }
    let told = async || {
        let ready = deployment.ops(Kind::Writer, 0).get("/readyz?verbose").send().await?;
        Ok(ready.text().lines().any(|line| line.contains("partition") && !line.ends_with("ok")))
    };
    comes("the writer says that it waits", told).await?;
    let answer = sent.put(http, "full-last").await?;
    ensure!(answer.status == 202, "Kafka has room: {answer:?}");
    disk.free()?;
    if !cluster.is_alive(0) {
        context.figure("Postgres", "ended, and was started again");
        tokio::task::block_in_place(|| cluster.start_again(0)).context("start Postgres again")?;
    }
    comes("all is applied", async || Ok(read(http, "full-last", "strong").await?.status == 200)).await?;
    sent.stands(http).await?;
    sent.count(context);
    deployment.drained().await?;
    Ok(())
}
