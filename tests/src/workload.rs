//! Clients at work: many, mixed, seeded, at a steady rate, with everything that they sent and were told in a history.
//!
//! Not a load generator: it looks for lies, not for speed. Invariant: every value that is written names its client and its
//! number, and a call is in the history before its client makes the next one.

mod batch;
mod client;
mod draw;
pub(crate) mod native;
mod send;
mod token;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::batch::results;
pub(crate) use self::native::Native;
pub(crate) use self::send::{call, line};
use self::{
    client::{Client, Shared},
    draw::Draw,
};
use crate::{deployment::Deployment, history::Recorder, process::until_async};

/// Calls without a session that may be under way. One more is left out, and counted.
const LOOSE_MAX: usize = 256;
/// The first number of a client without a session.
const LOOSE_FROM: u64 = 1_000_000;

/// What clients do.
#[derive(Clone, Debug)]
pub struct Options {
    /// All that is random comes of it.
    pub seed: u64,
    /// Operations a second, batches counted as one.
    pub rate: u32,
    /// Clients with a session: each makes one call at a time and keeps its tokens. They make half of the calls.
    pub sessions: u32,
    /// Of a hundred operations, how many go straight to Kafka.
    pub native_per_cent: u32,
    /// Of a hundred operations that go straight to Kafka, how many can never apply.
    pub poison_per_cent: u32,
    /// Whether keys expire.
    pub ttl: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, rate: 300, sessions: 8, native_per_cent: 10, poison_per_cent: 0, ttl: true }
    }
}

/// Where they do it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Several: a client goes to the next when one does not serve it.
    pub apis: Vec<SocketAddr>,
    /// Brokers, topic and P. None: nothing goes straight to Kafka.
    pub kafka: Option<(String, String, u32)>,
}

impl Target {
    /// A deployment's apis, its broker and its topic.
    pub fn of(deployment: &Deployment) -> Self {
        let apis = deployment.count(crate::roles::Kind::Api);
        Self {
            apis: (0..apis).map(|api| deployment.address_of_api(api)).collect(),
            kafka: Some((deployment.kafka().to_owned(), deployment.topic(), deployment.partitions())),
        }
    }
}

/// How operations ended for their clients, retries not counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// The log has it, or the read was answered.
    pub ok: AtomicU64,
    /// Certainly not on the log, or the read was not answered.
    pub failed: AtomicU64,
    /// Nobody knows.
    pub unknown: AtomicU64,
    /// Left out: too many were under way.
    pub left_out: AtomicU64,
}

/// [`Counters`] at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// See [`Counters::ok`].
    pub ok: u64,
    /// See [`Counters::failed`].
    pub failed: u64,
    /// See [`Counters::unknown`].
    pub unknown: u64,
    /// See [`Counters::left_out`].
    pub left_out: u64,
}

/// Clients at work, until they are stopped. Dropped, they are cut off in the middle.
pub struct Workload {
    stop: CancellationToken,
    clients: JoinSet<()>,
    counters: Arc<Counters>,
}

impl Workload {
    /// Starts them; what they do goes into the history.
    pub fn start(target: &Target, options: &Options, recorder: &Recorder) -> Result<Self> {
        let native = target.kafka.as_ref().map(Native::connect).transpose()?;
        let (stop, counters) = (CancellationToken::new(), Arc::<Counters>::default());
        let shared = Arc::new(Shared {
            recorder: recorder.clone(),
            counters: Arc::clone(&counters),
            apis: target.apis.clone(),
            native,
            stop: stop.clone(),
        });
        let mut clients = JoinSet::new();
        let of_sessions = if options.sessions == 0 { 0 } else { (options.rate / 2).max(1) };
        for number in 0..options.sessions {
            let every = Duration::from_secs(1) * options.sessions / of_sessions;
            let draw = Draw::new(options, u64::from(number), true);
            clients.spawn(session(Client::new(Arc::clone(&shared), u64::from(number), true), draw, every));
        }
        let every = Duration::from_secs(1) / (options.rate - of_sessions).max(1);
        clients.spawn(loose(shared, Draw::new(options, LOOSE_FROM, false), every));
        Ok(Self { stop, clients, counters })
    }

    /// How operations have ended so far.
    pub fn totals(&self) -> Totals {
        let [ok, failed, unknown, left_out] =
            [&self.counters.ok, &self.counters.failed, &self.counters.unknown, &self.counters.left_out]
                .map(|counter| counter.load(Ordering::Relaxed));
        Totals { ok, failed, unknown, left_out }
    }

    /// Waits until so many more operations have succeeded.
    pub async fn more(&self, count: u64) -> Result<()> {
        let wanted = self.totals().ok + count;
        let enough = until_async(crate::deployment::PATIENCE, async || self.totals().ok >= wanted).await;
        anyhow::ensure!(enough, "not {count} more operations succeeded within a minute: {:?}", self.totals());
        Ok(())
    }

    /// No new operations; those under way end, and what is unknown and can be repeated is, for a while.
    pub async fn stop(mut self) -> Result<Totals> {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client panicked")?;
        }
        Ok(self.totals())
    }
}

/// One call after the other, each when it is due or as soon as it can be.
async fn session(mut client: Client, mut draw: Draw, every: Duration) {
    let mut pace = interval(every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = client.stop();
    while stop.run_until_cancelled(pace.tick()).await.is_some() {
        let job = draw.job(client.versions());
        client.run(job).await;
    }
}

/// Calls that wait for nobody, each of a client of its own.
async fn loose(shared: Arc<Shared>, mut draw: Draw, every: Duration) {
    let (permits, mut running) = (Arc::new(Semaphore::new(LOOSE_MAX)), JoinSet::new());
    let mut pace = interval(every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in LOOSE_FROM.. {
        if shared.stop.run_until_cancelled(pace.tick()).await.is_none() {
            break;
        }
        while running.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            shared.counters.left_out.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let mut client = Client::new(Arc::clone(&shared), number, false);
        let job = draw.job_of(number, client.versions());
        running.spawn(async move {
            client.run(job).await;
            drop(permit);
        });
    }
    while running.join_next().await.is_some() {}
}
