//! Writes that go on while something breaks: each increments a key of its own, so that a doubled one shows.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use millpond_tests::{deployment::Deployment, http::Http};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// Callers of each api.
const CALLERS: usize = 3;
/// Each sends so often: the machine is small, and refusals are quick.
const SEND_EVERY: Duration = Duration::from_millis(3);
const INCREMENT: &str = r#"{"op":"increment"}"#;

/// What became of a write, as its caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Accepted,
    NotAccepted,
    Unknown,
}

/// Callers at work.
pub(crate) struct Load {
    stop: CancellationToken,
    callers: JoinSet<Result<Vec<(String, Fate)>>>,
    /// By api.
    accepted: Vec<Arc<AtomicU64>>,
    not_accepted: Arc<AtomicU64>,
}

/// All that was sent.
pub(crate) struct Sent(BTreeMap<String, Fate>);

impl Load {
    /// Starts callers of every api.
    pub(crate) fn start(deployment: &Deployment, apis: usize) -> Self {
        let (stop, mut callers) = (CancellationToken::new(), JoinSet::new());
        let (mut accepted, not_accepted) = (Vec::new(), Arc::<AtomicU64>::default());
        for api in 0..apis {
            let counter = Arc::<AtomicU64>::default();
            for caller in 0..CALLERS {
                let (http, stop) = (deployment.api(api).clone(), stop.clone());
                let counters = [Arc::clone(&counter), Arc::clone(&not_accepted)];
                callers.spawn(call(http, format!("load-{api}-{caller}"), counters, stop));
            }
            accepted.push(counter);
        }
        Self { stop, callers, accepted, not_accepted }
    }

    /// Waits until each of these apis has accepted so many more.
    pub(crate) async fn more(&self, deployment: &Deployment, apis: &[usize], count: u64) -> Result<()> {
        for api in apis {
            let counter = &self.accepted[*api];
            let wanted = counter.load(Ordering::Relaxed) + count;
            let what = format!("api {api} accepts {count} more");
            deployment.until(&what, async || Ok(counter.load(Ordering::Relaxed) >= wanted)).await?;
        }
        Ok(())
    }

    /// Waits until so many more were not accepted.
    pub(crate) async fn more_not_accepted(&self, deployment: &Deployment, count: u64) -> Result<()> {
        let wanted = self.not_accepted.load(Ordering::Relaxed) + count;
        let enough = async || Ok(self.not_accepted.load(Ordering::Relaxed) >= wanted);
        deployment.until("writes are refused", enough).await
    }

    /// Stops the callers; every call has ended then.
    pub(crate) async fn stop(mut self) -> Result<Sent> {
        self.stop.cancel();
        let mut sent = BTreeMap::new();
        while let Some(caller) = self.callers.join_next().await {
            sent.extend(caller.context("a caller panicked")??);
        }
        Ok(Sent(sent))
    }
}

/// Until it is stopped, or its api is gone.
async fn call(
    http: Http,
    name: String,
    [accepted, not_accepted]: [Arc<AtomicU64>; 2],
    stop: CancellationToken,
) -> Result<Vec<(String, Fate)>> {
    let (mut sent, mut pace) = (Vec::new(), interval(SEND_EVERY));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        pace.tick().await;
        if stop.is_cancelled() {
            break;
        }
        let key = format!("{name}-{number}");
        let patch = http.patch(&format!("/kv/{key}"), "application/vnd.millpond.op+json", INCREMENT);
        let Ok(answer) = patch.header("Prefer", "respond-async").send().await else {
            sent.push((key, Fate::Unknown));
            break;
        };
        let fate = match answer.status.as_u16() {
            202 => Fate::Accepted,
            503 => Fate::NotAccepted,
            504 => Fate::Unknown,
            _ => anyhow::bail!("{key}: {answer:?}"),
        };
        match fate {
            Fate::Accepted => drop(accepted.fetch_add(1, Ordering::Relaxed)),
            Fate::NotAccepted => drop(not_accepted.fetch_add(1, Ordering::Relaxed)),
            Fate::Unknown => {}
        }
        sent.push((key, fate));
    }
    Ok(sent)
}

impl Sent {
    fn count(&self, fate: Fate) -> usize {
        self.0.values().filter(|found| **found == fate).count()
    }

    /// Waits until all is applied; then what was accepted is there once, what was refused is not, and what nobody knows
    /// is there at most once.
    pub(crate) async fn is_there_once(&self, deployment: &Deployment) -> Result<()> {
        deployment.drained().await?;
        self.is_there_now(deployment)
    }

    /// As [`Sent::is_there_once`], where all is applied.
    pub(crate) fn is_there_now(&self, deployment: &Deployment) -> Result<()> {
        let mut rows = BTreeMap::new();
        for shard in 0..2 {
            let sql = "SELECT convert_from(key, 'UTF8'), convert_from(value, 'UTF8') FROM kv \
                       WHERE tenant = 'default' AND convert_from(key, 'UTF8') LIKE 'load-%'";
            let text = deployment.psql_primary(shard, sql)?;
            let pairs = text.lines().filter_map(|line| line.split_once('|'));
            rows.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        let counts = [Fate::Accepted, Fate::NotAccepted, Fate::Unknown].map(|fate| self.count(fate));
        println!("accepted, refused, unknown: {counts:?}; rows: {}", rows.len());
        ensure!(counts[0] > 0, "nothing was accepted");
        for (key, fate) in &self.0 {
            let found = rows.remove(key);
            match (fate, found.as_deref()) {
                (Fate::Accepted | Fate::Unknown, Some("1")) | (Fate::NotAccepted | Fate::Unknown, None) => {}
                (fate, found) => anyhow::bail!("{key} was {fate:?}, and is {found:?}"),
            }
        }
        ensure!(rows.is_empty(), "nobody wrote {rows:?}");
        let letters: Result<Vec<String>> =
            (0..2).map(|shard| deployment.psql_primary(shard, "SELECT count(*) FROM dead_letter")).collect();
        ensure!(letters?.iter().all(|count| count == "0"), "there are dead letters");
        Ok(())
    }
}
