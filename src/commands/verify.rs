//! `millpond verify`: is what the shards hold what the log says?

mod progress;
mod tell;

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use clap::Args;
use millpond::verify::{self, Nodes, Request, Told, Verified};
use millpond_schemas::PartitionId;
use millpond_writer::{CannotTell, Verdict};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{cli::SettingsArgs, exit, exit::Exit, telemetry};

const EXAMPLES: &str = "\
Examples:
  millpond verify                                every partition of ./millpond-data, while the server runs or without it
  millpond verify --data-dir /var/lib/millpond --partition 3 --partition 4
  millpond verify --config millpond.toml         every partition of a deployment, on the primaries
  millpond verify --config millpond.toml --shard shard-0 --all-nodes
  millpond verify --config millpond.toml --node postgres://millpond@db-9/millpond --shard shard-0
  millpond verify --json | jq '.copies[] | select(.result != \"equal\")'

Each partition's log is replayed from its first record into a scratch file, up to where the copy stands; then everything \
is compared: rows, outcomes, ids, durable ids, dead letters and the watermark. What differs is named. What is older than \
24 h of log time, or beyond the duplicate window, may have been deleted as housekeeping; then its absence is no difference.

The log and the copy are read once, whole: that is disk and network that the server shares, so take fewer --jobs beside a \
busy one. The copy is held at one moment while it is compared: until then Postgres keeps dead rows, and SQLite its \
write-ahead log. The scratch files need as much room as the partitions that are verified at a time.

Exits 0 when every copy is equal, 1 when one is not, 2 when something cannot be told: log-trimmed (the log's beginning is \
gone), log-diverged (a copy of another log), copy-missing, unavailable, or a halt's name.";

/// Most differences of a copy that are named, unless told otherwise.
const DIFFERENCES_MAX: usize = 100;

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Only this partition; may be repeated
    #[arg(long, value_name = "N")]
    partition: Vec<u32>,
    /// Only the partitions of this shard; may be repeated
    #[arg(long, value_name = "NAME")]
    shard: Vec<String>,
    /// The replica of this number, from 0, of each shard, in place of its primary
    #[arg(long, value_name = "N", conflicts_with_all = ["node", "all_nodes"])]
    replica: Option<usize>,
    /// The node at this address, without a password, in place of each shard's primary
    #[arg(long, value_name = "ADDRESS", conflicts_with = "all_nodes")]
    node: Option<String>,
    /// Primaries and replicas
    #[arg(long)]
    all_nodes: bool,
    /// Where to make scratch files [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// How many copies at a time [default: as many as processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Name at most so many differences of a copy; all are counted
    #[arg(long, value_name = "N", default_value_t = DIFFERENCES_MAX)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Verifies. Whatever goes wrong on the way: then nothing can be told.
pub(crate) async fn run(args: VerifyArgs, before: SettingsArgs) -> Result<Exit> {
    match verified(args, before).await {
        Ok(exit) => Ok(exit),
        Err(error) => match exit::report(&error) {
            Exit::Done => Ok(Exit::Done),
            _ => Ok(Exit::CANNOT_TELL),
        },
    }
}

async fn verified(args: VerifyArgs, before: SettingsArgs) -> Result<Exit> {
    let settings = args.settings.clone().over(before).load()?.settings;
    telemetry::init(settings.telemetry.log_format, "verify")?;
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let display = Arc::new(progress::Display::new());
    let told: Told = {
        let display = Arc::clone(&display);
        Arc::new(move |event| display.show(event))
    };
    let run = verify::run(settings, args.request(), told, stop.clone());
    tokio::pin!(run);
    let ended = tokio::select! {
        ended = &mut run => ended,
        () = async { tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} } } => {
            stop.cancel();
            run.await
        }
    };
    display.finish();
    if stop.is_cancelled() {
        return Ok(Exit::Interrupted);
    }
    let copies = ended.context("verify")?;
    audit(&copies);
    if args.json {
        tell::json(&copies)?;
    } else {
        tell::lines(&copies)?;
    }
    Ok(exit_of(&copies))
}

impl VerifyArgs {
    fn request(&self) -> Request {
        let nodes = match (self.replica, &self.node) {
            (Some(number), _) => Nodes::Replica(number),
            (None, Some(address)) => Nodes::At(address.clone()),
            (None, None) if self.all_nodes => Nodes::All,
            (None, None) => Nodes::Primaries,
        };
        let jobs = self.jobs.or_else(|| std::thread::available_parallelism().ok());
        Request {
            partitions: self.partition.iter().copied().map(PartitionId).collect(),
            shards: self.shard.clone(),
            nodes,
            scratch: self.scratch.clone().unwrap_or_else(std::env::temp_dir),
            jobs: jobs.map_or(1, NonZeroUsize::get),
            differences_max: self.limit,
        }
    }
}

/// One line for whoever reads the logs later.
fn audit(copies: &[Verified]) {
    let count = |wanted: fn(&Verified) -> bool| copies.iter().filter(|copy| wanted(copy)).count();
    let equal = count(|copy| copy.ended.as_ref().is_ok_and(Verdict::is_equal));
    let untold = count(|copy| copy.ended.is_err());
    let different = copies.len() - equal - untold;
    tracing::info!(target: "audit", equal, different, untold, "copies were verified");
}

fn exit_of(copies: &[Verified]) -> Exit {
    let differs = |copy: &Verified| copy.ended.as_ref().is_ok_and(|verdict| !verdict.is_equal());
    if copies.iter().any(differs) {
        Exit::Negative
    } else if copies.iter().any(|copy| matches!(&copy.ended, Err(CannotTell::Stopped))) {
        Exit::Interrupted
    } else if copies.iter().any(|copy| copy.ended.is_err()) {
        Exit::CANNOT_TELL
    } else {
        Exit::Done
    }
}
