//! `millpond skip`: gives up a record at which a partition is halted, or a record's own time.
//!
//! Not here: judging it. Invariant: only on the control topic, where every replay honours it.

use anyhow::Result;
use clap::Args;
use millpond::decisions::Decision;

use super::decide::{self, DecideArgs};
use crate::{
    cli::SettingsArgs,
    exit::{Exit, Misuse},
};

const EXAMPLES: &str = "\
Examples:
  millpond skip 1-3-42 --dry-run                 what would be given up
  millpond skip 1-3-42 --reason 'poison, see ticket 7'
  millpond skip --time 1-3-42..1-3-57 --reason 'the broker stood in 2036' --yes
  millpond skip 1-3-42 --config millpond.toml --ops http://writer-1:7431 --ops http://writer-2:7431 --dry-run

Only of the record at which the serving copy is halted; a skipped record becomes a dead letter (`skipped`), its id is not \
remembered, and every replay does the same. With --time the records apply, at the time of the one before them.

Exits 4 when it is refused: it says where the partition stands and why. 3: done, and the partition does not go on yet.";

/// Arguments of `skip`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SkipArgs {
    /// The record, such as 1-3-42
    #[arg(required_unless_present = "time", conflicts_with = "time")]
    position: Option<String>,
    /// Records whose append time is wrong: two positions of one partition, both included
    #[arg(long, value_name = "FROM..TO")]
    time: Option<String>,
    #[command(flatten)]
    decide: DecideArgs,
}

/// Skips.
pub(crate) async fn run(args: SkipArgs, before: SettingsArgs) -> Result<Exit> {
    let text = match (&args.position, &args.time) {
        (_, Some(range)) => format!("skip --time {range}"),
        (Some(position), None) => format!("skip {position}"),
        (None, None) => "skip".to_owned(),
    };
    let decision = Decision::read(&text).map_err(Misuse)?;
    decide::run(decision, args.decide, before).await
}
