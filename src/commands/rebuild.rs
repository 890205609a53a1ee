//! `millpond rebuild`: makes copies anew from the log, into another database or in the place of one that was lost.
//!
//! Not here: replaying and changing the topology. Invariant: without --serve nothing that serves is touched; what was
//! done in part goes on when it is run again.

mod plan;
mod progress;
mod tell;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use millpond::{
    rebuild::{self, Awaited, Opened, Place, Served, Source},
    settings::Settings,
};
use millpond_log::{AmendError, Clock, Topologies};
use millpond_schemas::{Audit, PartitionId, Watermark};
use millpond_writer::{CopyDigest, Goal, Progress, Rebuild, RebuildError, digest};
use tokio_util::sync::CancellationToken;

use self::{
    plan::{Plan, Serving},
    progress::Display,
    tell::Report,
};
use super::import::interrupted;
use crate::{
    cli::SettingsArgs,
    client_args::duration,
    confirm::who,
    exit::{Exit, Refused},
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond rebuild --into sqlite:copy.sqlite              all of ./millpond-data, while its server runs
  millpond rebuild --config millpond.toml --into postgres://millpond@db-9/shadow
  millpond rebuild --config millpond.toml --partition 3 --to-time 2026-11-24T09:00:00Z --into sqlite:before.sqlite
  millpond rebuild --into sqlite:before.sqlite --to 1-3-4711      up to that record, of its partition
  millpond rebuild --config millpond.toml --shard shard-0 --into postgres://millpond@db-9/shard0 --serve
                                                          a new primary of the shard, without its old one
  millpond rebuild --config millpond.toml --shard shard-0 --serve
                                                          its database was lost: an empty one stands at its address
  millpond rebuild --data-dir /var/lib/millpond --shard shard-0 --serve
                                                          the file of a stopped server; the old one is kept beside it

The target has to be empty, or hold what an earlier run of this command left: its watermarks are the only state, so after \
Ctrl-C or kill -9 the same command goes on. It refuses a copy of another log, one that a writer has claimed, and one that \
is beyond what is wanted. Passwords come from shards.password_file, PGPASSFILE or PGPASSWORD.

With --serve the topology names the target as soon as it has caught up, and running writers go over to it; writes are \
taken throughout. Replicas of the old primary are left out: they follow another database.

Exits 2 with log-trimmed when the log does not go back to what the target needs, 3 when it was stopped or what serves has \
not caught up yet, 4 when the target is refused.";

/// Rounds of catching up before what is left is the writers' work.
const ROUNDS_MAX: u32 = 5;
/// Offsets that are left to them.
const LEFT_MAX: i64 = 1000;

/// Arguments of `rebuild`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct RebuildArgs {
    /// A partition; may be given more than once [default: all]
    #[arg(long, value_name = "N", conflicts_with = "shard")]
    partition: Vec<u32>,
    /// All partitions of this shard
    #[arg(long, value_name = "NAME")]
    shard: Option<String>,
    /// Where to: sqlite:PATH or postgres://user@host:port/database
    #[arg(long, value_name = "TARGET", required_unless_present = "serve")]
    into: Option<rebuild::Target>,
    /// Up to this position, inclusive, of its partition [default: the log's end]
    #[arg(long, value_name = "POSITION", conflicts_with_all = ["to_time", "serve", "shard"])]
    to: Option<String>,
    /// Up to this moment, inclusive, by the records' own time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "serve")]
    to_time: Option<String>,
    /// How many partitions at a time [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Make it the serving copy; without --into: at the address that serves now
    #[arg(long)]
    serve: bool,
    /// With --serve: how long to wait for writers that do not get on
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, requires = "serve")]
    wait: Duration,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not read the result once more for its digest
    #[arg(long)]
    no_digest: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// What a run works with.
struct Run<'a> {
    args: &'a RebuildArgs,
    settings: &'a Settings,
    source: &'a Source,
    plan: &'a Plan,
    stop: CancellationToken,
    began: Instant,
}

/// Rebuilds, and makes it serve.
pub(crate) async fn run(args: RebuildArgs, before: SettingsArgs) -> Result<Exit> {
    let settings = args.settings.clone().over(before).load()?.settings;
    let alone = args.serve && settings.kafka.brokers.is_empty();
    let source = Source::open(&settings, alone).await?;
    let plan = Plan::of(&args, &settings, &source)?;
    let stop = CancellationToken::new();
    let run =
        Run { args: &args, settings: &settings, source: &source, plan: &plan, stop, began: Instant::now() };
    let ended = if args.dry_run { run.look().await } else { run.go().await };
    source.close().await;
    ended
}

impl Run<'_> {
    /// What would be done.
    async fn look(&self) -> Result<Exit> {
        let marks = self.plan.target.look(self.settings, &self.plan.partitions).await?;
        let mut ends = Vec::new();
        for partition in &self.plan.partitions {
            ends.push(self.source.log.bounds(*partition).await.context("read the log's bounds")?.end);
        }
        tell::dry(self.plan, &marks, &ends, self.args.json)?;
        Ok(Exit::Done)
    }

    async fn go(&self) -> Result<Exit> {
        let by = format!("millpond rebuild, process {} of {}", std::process::id(), who());
        let jobs = self.args.jobs.map_or_else(cores, usize::from).min(self.plan.partitions.len());
        let opened = self.plan.target.open(self.settings, jobs.max(1), &by).await?;
        let stop = self.stop.clone();
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(async move {
            interrupted().await;
            stop.cancel();
        });
        let made = self.make(&opened).await;
        signals.shutdown().await;
        let mut report = match made {
            Ok(report) => report,
            Err(error) => {
                opened.close().await;
                return Err(error);
            }
        };
        opened.close().await;
        self.put_in_place(&mut report).await?;
        report.tell(self.plan, self.args.json)?;
        Ok(report.exit())
    }

    /// Everything that is done with the target open.
    async fn make(&self, opened: &Opened) -> Result<Report> {
        let progress = Progress::default();
        let display = Display::start(&progress);
        let rebuilt = self.rebuild(opened, &progress).await;
        display.finish().await;
        let mut report = Report::new(&progress, self.began.elapsed());
        match rebuilt {
            Ok(marks) => self.measure(opened, &mut report, marks).await?,
            Err(RebuildError::Claimed { partition, .. }) if self.plan.in_place() => {
                output::note(&format!(
                    "a running writer has taken partition {partition} and rebuilds by itself; waiting for it"
                ));
            }
            Err(error) => return Err(error.into()),
        }
        if let Serving::Topology(place) = &self.plan.serving {
            let served = self.serve(place).await?;
            for replica in &served.replicas_dropped {
                output::note(&format!("{replica} follows the old primary: the topology names it no more"));
            }
            report.served = Some(served);
            report.awaited = Some(self.await_writers(opened).await?);
        }
        Ok(report)
    }

    /// To the goal; for one that is to serve again and again, until little is left.
    async fn rebuild(&self, opened: &Opened, progress: &Progress) -> Result<Vec<Watermark>, RebuildError> {
        let rebuild = Rebuild {
            log: self.source.log.clone(),
            topology: self.source.topology.clone(),
            keyring: self.source.keyring.clone(),
            clock: self.source.clock.clone(),
            goal: self.plan.goal,
        };
        let mut rounds = 0;
        loop {
            let marks =
                rebuild.run(opened.shards.clone(), &self.plan.partitions, progress, &self.stop).await?;
            rounds += 1;
            if self.plan.goal != Goal::End
                || !self.args.serve
                || rounds >= ROUNDS_MAX
                || self.left(&marks).await <= LEFT_MAX
            {
                return Ok(marks);
            }
        }
    }

    /// Offsets that the log has gained. What it does not tell is left to the writers.
    async fn left(&self, marks: &[Watermark]) -> i64 {
        let mut left = 0;
        for mark in marks {
            let bounds = self.source.log.bounds(mark.partition).await;
            left += bounds.map_or(0, |bounds| bounds.end.0 - mark.applied.next().0);
        }
        left
    }

    async fn measure(&self, opened: &Opened, report: &mut Report, marks: Vec<Watermark>) -> Result<()> {
        for mark in marks {
            let mut measured: Option<CopyDigest> = None;
            if !self.args.no_digest {
                let of = opened.shards.first().context("a rebuild has a job")?;
                let (_, found) = digest(of, mark.partition).await.context("read the result once more")?;
                measured = Some(found);
            }
            report.copies.push((mark, measured));
        }
        Ok(())
    }

    async fn serve(&self, place: &Place) -> Result<Served> {
        self.unchanged().await?;
        let address = self.plan.target.to_string();
        let read = &self.source.topology;
        rebuild::serve(&self.source.control, (place, &address), read, &self.audit()).await
    }

    /// What operators have skipped meanwhile is not skipped in what was rebuilt.
    async fn unchanged(&self) -> Result<()> {
        let now = self.source.current().await?;
        let then = &self.source.topology;
        if now.log_id == then.log_id && now.skips == then.skips && now.skip_times == then.skip_times {
            return Ok(());
        }
        let why = "an operator has skipped records meanwhile: run it again, it says whether the target is still right";
        Err(Refused(why.to_owned()).into())
    }

    fn audit(&self) -> Audit {
        Audit {
            who: who(),
            at: Clock::System.now(),
            what: format!("rebuild --serve of {} into {}", self.plan.subject(), self.plan.target),
            why: String::new(),
        }
    }

    async fn await_writers(&self, opened: &Opened) -> Result<Awaited> {
        let first = opened.shards.first().context("a rebuild has a job")?;
        let waiting = Display::waiting();
        let awaited = rebuild::caught_up(
            (first, &self.source.log),
            &self.plan.partitions,
            (self.args.wait, &self.stop),
            |awaited| waiting.show(awaited),
        );
        let awaited = awaited.await;
        waiting.clear();
        awaited
    }

    /// Of a data directory that nobody has open.
    async fn put_in_place(&self, report: &mut Report) -> Result<()> {
        let (Serving::File(path), rebuild::Target::Sqlite(new)) = (&self.plan.serving, &self.plan.target)
        else {
            return Ok(());
        };
        let replaced = rebuild::replace(new, path, Clock::System.now())?;
        let mut topologies = Topologies::open(self.source.writable_control().await?).await?;
        let noted = topologies.amend(&self.audit(), |current| Ok::<_, Refused>(Some(current.clone()))).await;
        let topology = noted.map_err(|error: AmendError<Refused>| {
            anyhow::Error::new(error).context("the file serves; write it down on the control topic")
        })?;
        report.served = Some(Served { epoch: topology.epoch, replicas_dropped: Vec::new() });
        report.replaced = Some((path.clone(), replaced));
        Ok(())
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// As a list for people.
fn listed(partitions: &[PartitionId]) -> String {
    let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}
