//! Clocks that are off by ten years, either way: an api's, a sweeper's, a writer's, the broker's.
//!
//! Results do not depend on whose clock it is, or they wait until it is right; the checker replays the log, and the
//! replay must come to the same.

use std::{collections::BTreeMap, path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};

use super::{
    Context, Drill, Length, Need,
    calls::{Caller, code, is_known},
    stage::{options, owned, until_shared_out},
};
use crate::{
    deployment::{self, Deployment, Engines},
    faults::clock::{Clock, TEN_YEARS},
    history::{Change, Expiry, Intent},
    kafka::{Broker, Special},
    roles::Kind,
    workload::{Options, Target, Workload},
};

/// What is more than this ahead halts, ms.
const JUMP_MS: i64 = 600_000;
/// The number of this drill's own client.
const CLIENT: u64 = 3_000_000;
/// Operations after a broker's clock is right again.
const HEALED: u64 = 200;
const HALTED: &str = "time-jump";
const APART: &str = "clock-skew";

pub(super) const DRILL: Drill = Drill {
    name: "clocks",
    number: 17,
    about: "clocks off by ten years on api, sweeper, writer and broker: same digest as a replay; halts time-jump, loses \
            nothing, goes on when they are right; TTL writes are refused meanwhile",
    engines: Need::Shared,
    long: Length::new(120, 1000),
    short: Length::new(120, 4),
    run: |context| Box::pin(run(context)),
};

/// Those of the first process of each kind.
struct Clocks {
    api: Clock,
    sweeper: Clock,
    writer: Clock,
    broker: Clock,
}

impl Clocks {
    fn new(dir: &Path) -> Result<Self> {
        let clock = |name| {
            let dir = dir.join(name);
            std::fs::create_dir(&dir)?;
            Clock::new(&dir)
        };
        let (api, sweeper) = (clock("api")?, clock("sweeper")?);
        Ok(Self { api, sweeper, writer: clock("writer")?, broker: clock("broker")? })
    }
}

struct Stage<'a> {
    context: &'a Context,
    deployment: &'a Deployment,
    clocks: &'a Clocks,
    workload: &'a Workload,
}

async fn run(context: Context) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let clocks = Clocks::new(folder.path())?;
    let special = Special { environment: clocks.broker.environment(), ..Special::default() };
    let broker = tokio::task::spawn_blocking(move || Broker::special(special)).await??;
    let deployment = deploy(&broker, &clocks).await?;
    let options = Options { seed: context.seed(), ..Options::default() };
    let workload = Workload::start(&Target::of(&deployment), &options, context.recorder())?;
    workload.more(50).await?;
    let stage = Stage { context: &context, deployment: &deployment, clocks: &clocks, workload: &workload };
    for round in context.rounds() {
        match round % 4 {
            0 => stage.broker_ahead().await?,
            1 => stage.api_and_sweeper().await?,
            2 => stage.writer().await?,
            _ => stage.broker_behind().await?,
        }
    }
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

/// Two of each, but for the sweeper; the first of each goes by a clock of its own.
async fn deploy(broker: &Broker, clocks: &Clocks) -> Result<Deployment> {
    let none = deployment::Options { apis: 0, writers: 0, sweepers: 0, ..options() };
    let mut deployment = Deployment::start_on(Engines::shared()?.with_broker(broker), &none).await?;
    for (kind, clock) in
        [(Kind::Api, &clocks.api), (Kind::Writer, &clocks.writer), (Kind::Sweeper, &clocks.sweeper)]
    {
        deployment.spawn_with(kind, clock.environment())?;
    }
    deployment.spawn_with(Kind::Api, BTreeMap::new())?;
    deployment.spawn_with(Kind::Writer, BTreeMap::new())?;
    deployment.until_ready().await?;
    until_shared_out(&deployment).await?;
    Ok(deployment)
}

impl Stage<'_> {
    /// Neither is asked what time a record has.
    async fn api_and_sweeper(&self) -> Result<()> {
        for ahead in [TEN_YEARS, -TEN_YEARS] {
            self.clocks.api.set(ahead)?;
            self.clocks.sweeper.set(-ahead)?;
            self.context.fault("clock off by ten years", "api-0, sweeper-0");
            self.until_ttl_writes_end_with(0, APART).await?;
            self.workload.more(100).await?;
            self.clocks.api.set(0)?;
            self.clocks.sweeper.set(0)?;
            self.until_ttl_writes_end_with(0, "ok").await?;
        }
        until_shared_out(self.deployment).await
    }

    /// What is ahead of its clock is not applied; what is behind is.
    async fn writer(&self) -> Result<()> {
        self.clocks.writer.set(-TEN_YEARS)?;
        self.context.fault("clock ten years behind", "writer-0");
        let began = Instant::now();
        self.until_halted(&[0]).await?;
        self.told("writer behind: halted", began);
        self.workload.more(50).await?;
        self.clocks.writer.set(0)?;
        let began = Instant::now();
        until_shared_out(self.deployment).await?;
        self.told("writer right again: goes on", began);
        self.clocks.writer.set(TEN_YEARS)?;
        self.context.fault("clock ten years ahead", "writer-0");
        self.workload.more(100).await?;
        until_shared_out(self.deployment).await?;
        self.clocks.writer.set(0)
    }

    /// Records carry the wrong time: every partition halts, until somebody says that it is wrong.
    async fn broker_ahead(&self) -> Result<()> {
        self.clocks.broker.set(TEN_YEARS)?;
        self.context.fault("clock ten years ahead", "broker");
        let began = Instant::now();
        self.until_halted(&[0, 1]).await?;
        self.told("broker ahead: halted", began);
        for api in 0..2 {
            self.until_ttl_writes_end_with(api, APART).await?;
        }
        self.workload.more(50).await?;
        self.clocks.broker.set(0)?;
        let began = Instant::now();
        // Afterwards the last record of every partition has the right time.
        self.until_ttl_writes_end_with(1, "ok").await?;
        self.until_ttl_writes_end_with(0, "ok").await?;
        for partition in 0..self.deployment.partitions() {
            // A writer that has only just found the broker again stands elsewhere for a moment.
            let skipped = async || self.skip_times(partition).await.map(|()| true);
            self.deployment
                .until(&format!("the times of partition {partition} are skipped"), skipped)
                .await?;
        }
        until_shared_out(self.deployment).await?;
        self.told("times skipped: goes on", began);
        self.workload.more(HEALED).await
    }

    /// Time does not go back: records take the time of the one before them.
    async fn broker_behind(&self) -> Result<()> {
        self.clocks.broker.set(-TEN_YEARS)?;
        self.context.fault("clock ten years behind", "broker");
        for api in 0..2 {
            self.until_ttl_writes_end_with(api, APART).await?;
        }
        self.workload.more(100).await?;
        until_shared_out(self.deployment).await?;
        self.clocks.broker.set(0)?;
        for api in 0..2 {
            self.until_ttl_writes_end_with(api, "ok").await?;
        }
        self.workload.more(HEALED).await
    }

    fn told(&self, what: &str, began: Instant) {
        self.context.figure(what, format!("after {:.1} s", began.elapsed().as_secs_f64()));
    }

    /// Every partition of these writers is.
    async fn until_halted(&self, writers: &[usize]) -> Result<()> {
        let halted = async || {
            for writer in writers {
                let own = owned(self.deployment, *writer).await?;
                if own.is_empty() || own.iter().any(|(_, state)| !state.contains(HALTED)) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        self.deployment.until(&format!("writers {writers:?} halt: {HALTED}"), halted).await
    }

    /// In every partition a write without a TTL is taken, and one with a TTL ends so.
    async fn until_ttl_writes_end_with(&self, api: usize, wanted: &str) -> Result<()> {
        let caller = Caller {
            recorder: self.context.recorder().clone(),
            address: self.deployment.address_of_api(api),
            client: CLIENT,
        };
        for key in self.deployment.keys("clocks-") {
            let mut tries = 0;
            let ends = async || {
                tries += 1;
                let plain = caller.send(&Intent::put(key.as_str(), format!("plain {api} {tries}"))).await;
                ensure!(is_known(&plain), "a write without a TTL is not taken: {plain:?}");
                let intent = Intent::new(
                    key.as_str(),
                    Change::Put {
                        value: format!("ttl {api} {tries}").into(),
                        content_type: "text/plain".into(),
                        expiry: Some(Expiry::TtlMs(3_600_000)),
                    },
                );
                let result = caller.send(&intent).await;
                ensure!(code(&result) == wanted, "{result:?}");
                Ok(true)
            };
            let what = format!("a write of {key} with a TTL through api {api} ends with {wanted}");
            self.deployment.until(&what, ends).await?;
        }
        Ok(())
    }

    /// Tells that the times of the partition's records from the first wrong one on are.
    async fn skip_times(&self, partition: u32) -> Result<()> {
        let (topics, topic) = (self.deployment.topics()?, self.deployment.topic());
        let now = millpond_log::Clock::System.now().0;
        let from = topics.since(&topic, partition, now + JUMP_MS)?.context("there is a wrong time")?;
        // The wrong times of an earlier round are behind it.
        let from = from.max(self.deployment.applied(partition)? + 1);
        let last = topics.last_since(&topic, partition, (from, now + JUMP_MS))?;
        let range = format!("1-{partition}-{from}..1-{partition}-{last}");
        let ops: Vec<_> = (0..2)
            .map(|writer| format!("http://{}", self.deployment.ops_address(Kind::Writer, writer)))
            .collect();
        let ops = ops.join(",");
        let arguments = ["skip", "--time", &range, "--reason", "its clock was wrong", "--yes", "--ops", &ops];
        let output = self.deployment.run(&arguments).await?;
        // 3: done, and it does not go on yet; whoever waits for it sees that.
        ensure!(matches!(output.status.code(), Some(0 | 3)), "skip --time {range}: {output:?}");
        Ok(())
    }
}
