//! The embedded default with its api, writer and sweeper in this process, on a clock that stands until a test moves it.
//!
//! Not for what needs the binary. Reads go by the shard's own clock, so that what the clock here does to a key shows
//! only when a Sweep has been applied. Invariant: ends with the value.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use millpond::embedded::{Embedded, Options};
use millpond_api::Api;
use millpond_log::{Clock, Manual};
use millpond_schemas::{Offset, PartitionId};
use millpond_shard::Shard;
use millpond_writer::Statuses;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::http::Http;

/// How long the sweeper may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often the sweeper looks.
const SWEEP_EVERY: Duration = Duration::from_millis(5);

/// A running one.
pub struct Timed {
    /// Moves its time.
    pub clock: Arc<Manual>,
    /// Calls it.
    pub http: Http,
    /// Its parts.
    pub embedded: Embedded,
    api: Api,
    working: CancellationToken,
    roles: JoinSet<()>,
}

impl Timed {
    /// Opens a data directory with one partition.
    pub async fn start(dir: &Path) -> Result<Self> {
        let clock = Manual::new(Clock::System.now());
        let options = Options {
            partitions: 1,
            shards: 1,
            segment_bytes: 1 << 20,
            clock: Clock::Manual(Arc::clone(&clock)),
            ..Options::new(dir)
        };
        let (embedded, follower) = Embedded::open(&options).await?;
        let api =
            Api::start(millpond_api::Config::default(), embedded.api().await?, &mut Registry::default());
        let working = CancellationToken::new();
        let mut roles = JoinSet::new();
        roles.spawn(async move { drop(follower.run().await) });
        spawn_workers(&mut roles, &embedded, &working);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let http = Http::new(listener.local_addr()?);
        let (serving, never) = (api.clone(), CancellationToken::new());
        roles.spawn(async move { drop(serving.serve(listener, never).await) });
        Ok(Self { clock, http, embedded, api, working, roles })
    }

    /// The only shard.
    pub fn shard(&self) -> Shard {
        self.embedded.shards[0].primary()
    }

    /// Waits until the shard has applied everything that is on the log, and `holds` is true of it.
    pub async fn until(&self, holds: impl AsyncFn(&Shard) -> Result<bool>) -> Result<()> {
        let mut outcomes = self.embedded.outcomes.subscribe().await.expect("it passes through memory");
        let reached = async {
            while !holds(&self.shard()).await? {
                outcomes.next().await.context("the writer goes on")?;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, reached).await.context("the shard does not get there")?
    }

    /// The last offset that is applied.
    pub async fn applied(&self) -> Result<Offset> {
        let mark = self.shard().watermark(PartitionId(0)).await?;
        Ok(mark.context("there is a copy")?.applied)
    }

    /// Closes it, as a clean shutdown does.
    pub async fn close(mut self) {
        self.api.stop().await;
        self.working.cancel();
        self.roles.shutdown().await;
        self.embedded.close().await;
    }
}

fn spawn_workers(roles: &mut JoinSet<()>, embedded: &Embedded, working: &CancellationToken) {
    let writer = embedded.writer(millpond_writer::Config::default(), Statuses::default());
    let sweeper = embedded.sweeper(millpond_sweeper::Config {
        interval: SWEEP_EVERY,
        interval_busy: SWEEP_EVERY,
        ..millpond_sweeper::Config::default()
    });
    roles.spawn(millpond_writer::run(writer, working.clone()));
    roles.spawn(millpond_sweeper::run(sweeper, working.clone()));
}
