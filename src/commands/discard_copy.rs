//! `millpond discard-copy`: throws a partition's serving copy away, so that its writer makes it anew from the log.
//!
//! Not here: judging it. Invariant: only where the copy is not what the log says, and the log is whole.

use anyhow::Result;
use clap::Args;
use millpond::decisions::Decision;
use millpond_schemas::PartitionId;

use super::decide::{self, DecideArgs};
use crate::{cli::SettingsArgs, exit::Exit};

const EXAMPLES: &str = "\
Examples:
  millpond discard-copy 3 --dry-run              what would be lost
  millpond export --out before.ndjson && millpond discard-copy 3 --reason 'the log lost its tail'
  millpond discard-copy 3 --config millpond.toml --ops http://writer-1:7431 --dry-run

Only of a partition that is halted log-diverged or row-ahead, and whose log begins with its first record. What only the copy \
had is gone; export it first. Until the copy has caught up, reads of this partition see less than before.

Exits 4 when it is refused: it says where the partition stands and why. 3: done, and the partition does not go on yet.";

/// Arguments of `discard-copy`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DiscardCopyArgs {
    /// Which
    partition: u32,
    #[command(flatten)]
    decide: DecideArgs,
}

/// Throws it away.
pub(crate) async fn run(args: DiscardCopyArgs, before: SettingsArgs) -> Result<Exit> {
    decide::run(Decision::Discard(PartitionId(args.partition)), args.decide, before).await
}
