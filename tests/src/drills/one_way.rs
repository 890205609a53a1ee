//! Packets between a writer and Postgres are lost in one direction alone, from a COMMIT or its answer on, while the log
//! stays in reach: another writer takes over, and what the cut one still wanted to commit is void. Every third time it is
//! both writers, so that nobody can take over; when one link is whole again somebody applies again.
//!
//! Each writer has a network namespace of its own, without a relay: nobody but the two ends notices what is missing.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    COMMIT, COMMITTED, Context, Drill, Length, Need,
    stage::{self, Owners, owned, until_shared_out, watch_rise},
};
use crate::{
    deployment::{self, Deployment, Engines, PATIENCE},
    faults::netns::{Lost, Namespace},
    process::until_async,
    roles::Kind,
    workload::{Target, Workload},
};

/// How long another writer may take.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);
/// How long packets are lost in the long form.
const CUT: Duration = Duration::from_secs(40);

pub(super) const DRILL: Drill = Drill {
    name: "one-way",
    number: 8,
    about: "packets between a writer and Postgres are lost in one direction: another writer takes over within 15 s, the \
            cut one commits 0 rows; with both cut nothing is lost",
    engines: Need::Shared,
    long: Length::new(900, 6),
    short: Length::new(60, 2),
    run: |context| Box::pin(run(context)),
};

/// A deployment whose writers are hosts of their own.
struct Site {
    // It ends before its namespaces.
    deployment: Deployment,
    /// One for each writer.
    hosts: Vec<Namespace>,
    /// Of Postgres.
    ports: Vec<u16>,
    owners: Owners,
}

async fn run(context: Context) -> Result<()> {
    let site = deploy().await?;
    let deployment = &site.deployment;
    let workload = Workload::start(&Target::of(deployment), &context.workload(), context.recorder())?;
    workload.more(50).await?;
    for round in context.rounds() {
        let lost = if (round ^ context.seed()).is_multiple_of(2) { Lost::Requests } else { Lost::Answers };
        // Each writer, each way, in six rounds.
        match usize::try_from(round % 3)? {
            2 => site.cut_both(&context, lost).await?,
            victim => site.cut(&context, victim, lost).await?,
        }
        workload.more(50).await?;
    }
    context.judge_takeovers(100, TAKEOVER_MAX);
    context.worked(&workload.stop().await?);
    context.settle(deployment).await
}

/// Two apis, a sweeper, and two writers with a host each.
async fn deploy() -> Result<Site> {
    let engines = Engines::shared()?;
    let ports: Vec<u16> = engines.postgres()?.iter().map(SocketAddr::port).collect();
    let kafka: SocketAddr = engines.kafka().parse().context("one broker")?;
    let reached = [&ports[..], &[kafka.port()]].concat();
    let hosts = (0..2).map(|_| Namespace::new(&reached)).collect::<Result<Vec<_>>>()?;
    let none = deployment::Options { writers: 0, apis: 0, ..stage::options() };
    let mut deployment = Deployment::start_on(engines, &none).await?;
    for host in &hosts {
        deployment.spawn_with(Kind::Writer, host.environment())?;
    }
    for _ in 0..stage::options().apis {
        deployment.spawn(Kind::Api)?;
    }
    deployment.until_ready().await?;
    until_shared_out(&deployment).await?;
    let owners = Owners::open(&deployment)?;
    Ok(Site { deployment, hosts, ports, owners })
}

impl Site {
    /// One writer is cut off, and healed long after another has taken over.
    async fn cut(&self, context: &Context, victim: usize, lost: Lost) -> Result<()> {
        let (host, deployment) = (&self.hosts[victim], &self.deployment);
        let held = self.owners.of(&owned(deployment, victim).await?).await?;
        self.lose(context, victim, lost).await?;
        let began = Instant::now();
        self.owners.until_taken_over(deployment, &held).await?;
        context.takeover(began.elapsed());
        let mut highest = self.owners.now().await?;
        if context.is_long() {
            until_async(CUT.saturating_sub(began.elapsed()), async || false).await;
        }
        let meanwhile = self.owners.now().await?;
        ensure!(meanwhile == highest, "partitions changed hands again: {highest:?}, then {meanwhile:?}");
        let dropped = host.dropped()?;
        ensure!(dropped > 0, "no packet was dropped");
        host.heal()?;
        let healed = Instant::now();
        let (rises, shared) =
            tokio::join!(watch_rise(&self.owners, &mut highest), until_shared_out(deployment));
        shared?;
        rises?;
        let [cut, back] = [healed - began, healed.elapsed()].map(|time| time.as_secs_f64());
        context.figure(
            &format!("writer-{victim}, {}", name(lost)),
            format!("cut for {cut:.1} s, {dropped} packets dropped, partitions again after {back:.1} s"),
        );
        Ok(())
    }

    /// Both writers are cut off: nobody applies. One is healed, and has everything; then the other.
    async fn cut_both(&self, context: &Context, lost: Lost) -> Result<()> {
        let deployment = &self.deployment;
        for writer in 0..self.hosts.len() {
            self.lose(context, writer, lost).await?;
        }
        let claims = self.owners.now().await?;
        let stood_aside = async || Ok(self.stands_aside(0).await? || self.stands_aside(1).await?);
        deployment.until("a writer leaves its partitions to the other", stood_aside).await?;
        if context.is_long() {
            until_async(CUT, async || false).await;
        }
        ensure!(self.owners.now().await? == claims, "a writer that is cut off has applied");
        self.hosts[0].heal()?;
        let healed = Instant::now();
        deployment.drained().await?;
        let alone = healed.elapsed().as_secs_f64();
        self.hosts[1].heal()?;
        until_shared_out(deployment).await?;
        context.figure(
            &format!("both, {}", name(lost)),
            format!(
                "writer-0 applies {alone:.1} s after it was healed, both {:.1} s",
                healed.elapsed().as_secs_f64()
            ),
        );
        Ok(())
    }

    /// A writer says that it reaches no shard and has left its group.
    async fn stands_aside(&self, writer: usize) -> Result<bool> {
        let ready = self.deployment.ops(Kind::Writer, writer).get("/readyz?verbose").send().await?;
        Ok(ready.text().contains("partitions are left to other writers"))
    }

    /// From a writer's next COMMIT, or its answer, on.
    async fn lose(&self, context: &Context, writer: usize, lost: Lost) -> Result<()> {
        let host = &self.hosts[writer];
        let pattern = match lost {
            Lost::Requests => COMMIT,
            Lost::Answers => COMMITTED,
        };
        host.lose_from(pattern, lost, &self.ports)?;
        let met = until_async(PATIENCE, async || host.dropped().is_ok_and(|dropped| dropped > 0));
        ensure!(met.await, "writer-{writer} commits nothing{}", self.deployment.tails());
        host.lose(lost, &self.ports)?;
        context.fault(name(lost), &format!("writer-{writer}"));
        Ok(())
    }
}

fn name(lost: Lost) -> &'static str {
    match lost {
        Lost::Requests => "COMMIT and all that follows lost",
        Lost::Answers => "answer to COMMIT and all that follows lost",
    }
}
