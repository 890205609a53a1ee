//! Whoever reads a log from its beginning, to rebuild or to verify, keeps it whole for as long; and so does a copy that
//! the log has parted from, which can only be made anew from there.

use std::sync::Arc;

use anyhow::{Result, ensure};
use millpond::{
    rebuild::Source,
    settings::{Settings, Sources},
};
use millpond_log::Manual;
use millpond_schemas::{Offset, PartitionId, floor::TRIM_AGE_MIN};
use millpond_tests::{deployment::Engines, pond::Pond};
use millpond_writer::Config;
use tempfile::TempDir;

use super::{
    embedded::{self, HOUR, START, Sweeper, fill, options},
    kafka,
};
use crate::halts::embedded::sql;

/// A pond of which something is old and applied, without a writer.
async fn old(dir: &TempDir) -> Result<(Arc<Manual>, Pond)> {
    let clock = Manual::new(START);
    let pond = Pond::open(&options(dir.path(), &clock)).await?;
    let writer = pond.writer(Config::default());
    fill(&pond, 100).await?;
    clock.advance(25 * HOUR);
    fill(&pond, 20).await?;
    pond.drained().await?;
    writer.stop().await;
    Ok((clock, pond))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_read_beside_its_server_keeps_its_log() -> Result<()> {
    let dir = TempDir::new()?;
    let (_, pond) = old(&dir).await?;
    let source = Source::open(&Settings::on_free_ports(dir.path()), false).await?;
    let sweeper = Sweeper::start(&pond, Some(TRIM_AGE_MIN));
    sweeper.rounds().await?;
    assert_eq!(embedded::starts(&pond).await?, [Offset(0); 4]);
    source.close().await;
    sweeper.rounds().await?;
    let trimmed = embedded::starts(&pond).await?;
    ensure!(trimmed.iter().any(|start| *start > Offset(0)), "nobody reads any more: {trimmed:?}");
    sweeper.stop().await;
    pond.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_the_log_has_parted_from_keeps_what_it_can_be_made_from() -> Result<()> {
    let dir = TempDir::new()?;
    let (clock, pond) = old(&dir).await?;
    pond.close().await;
    sql(dir.path(), "UPDATE watermark SET applied_digest = zeroblob(16) WHERE partition = 0")?;
    let pond = Pond::open(&options(dir.path(), &clock)).await?;
    let writer = pond.writer(Config::default());
    assert_eq!(writer.halted(PartitionId(0)).await?, "log-diverged");
    let sweeper = Sweeper::start(&pond, Some(TRIM_AGE_MIN));
    sweeper.rounds().await?;
    assert_eq!(embedded::starts(&pond).await?, [Offset(0); 4]);
    sweeper.stop().await;
    writer.stop().await;
    pond.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_read_keeps_its_log_until_the_reader_ends() -> Result<()> {
    let deployment = kafka::deployment(Engines::shared()?, "1h").await?;
    kafka::drop_what_is_young(&deployment).await?;
    let stand = kafka::applied(&deployment)?;
    let all = async || Ok(kafka::starts(&deployment)? == stand);
    deployment.until("the log starts where the copies stand", all).await?;

    let environment = [("MILLPOND_KAFKA__ACCEPT".to_owned(), "message.timestamp.type".to_owned())].into();
    let config = Some(deployment.dir().join("millpond.toml"));
    let settings = Settings::load(&Sources { config, environment, flags: Vec::new() })?.settings;
    let source = Source::open(&settings, false).await?;
    kafka::put(&deployment, "later", kafka::OLD)?;
    deployment.drained().await?;
    kafka::rounds(&deployment).await?;
    ensure!(kafka::starts(&deployment)? == stand, "it may still read all of it");
    // As when its process is killed: the sessions end, and nobody says so.
    drop(source);
    let applied = kafka::applied(&deployment)?;
    let trimmed = async || Ok(kafka::starts(&deployment)? == applied);
    deployment.until("the log is trimmed again", trimmed).await
}
