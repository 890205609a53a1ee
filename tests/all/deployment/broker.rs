//! The broker dies under load and comes back: apis and writers go on by themselves.

use std::time::Instant;

use anyhow::Result;
use millpond_tests::{
    deployment::{Deployment, Engines, Options},
    kafka::Broker,
};
use tokio::task::block_in_place;

use super::load::Load;

#[tokio::test(flavor = "multi_thread")]
async fn a_brokers_death_loses_and_doubles_nothing_and_apis_recover() -> Result<()> {
    let mut broker = Broker::fresh()?;
    let options = Options { apis: 2, writers: 2, ..Options::default() };
    let deployment = Deployment::start_on(Engines::shared()?.with_broker(&broker), &options).await?;
    let load = Load::start(&deployment, 2);
    load.more(&deployment, &[0, 1], 100).await?;
    block_in_place(|| broker.kill())?;
    load.more_not_accepted(&deployment, 10).await?;
    let began = Instant::now();
    block_in_place(|| broker.start_again())?;
    println!("the broker served again after {:?}", began.elapsed());
    load.more(&deployment, &[0, 1], 1).await?;
    println!("both apis accepted again after {:?}", began.elapsed());
    load.more(&deployment, &[0, 1], 100).await?;
    load.stop().await?.is_there_once(&deployment).await
}
