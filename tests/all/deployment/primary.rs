//! A shard's primary dies under load and comes back: writes are accepted meanwhile, and applied afterwards.

use anyhow::Result;
use millpond_tests::{
    deployment::{Deployment, Engines, Options},
    postgres::Cluster,
};
use tokio::task::block_in_place;

use super::load::Load;

#[tokio::test(flavor = "multi_thread")]
async fn a_primarys_death_stops_no_write_and_loses_and_doubles_nothing() -> Result<()> {
    let mut cluster = Cluster::fresh(1)?;
    let options = Options { apis: 2, writers: 2, ..Options::default() };
    let deployment = Deployment::start_on(Engines::shared()?.with_cluster(&cluster), &options).await?;
    let load = Load::start(&deployment, 2);
    load.more(&deployment, &[0, 1], 100).await?;
    block_in_place(|| cluster.kill(0))?;
    load.more(&deployment, &[0, 1], 100).await?;
    block_in_place(|| cluster.start_again(0))?;
    load.more(&deployment, &[0, 1], 50).await?;
    load.stop().await?.is_there_once(&deployment).await
}
