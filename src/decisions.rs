//! What an operator decides about a partition that stands still: to skip a record, to skip the times of some, to discard
//! the copy. The same for a deployment, a running server and a data directory that nobody has open.
//!
//! Invariant: it is decided of the serving copy alone, only where that is halted, and never of a record that it has
//! applied; every decision is on the control topic, with who made it and why.

mod described;
mod judged;
mod offline;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use millpond_log::{AmendError, Clock, Log, Topologies};
use millpond_schemas::{
    Audit, DeadReason, Keyring, Offset, PartitionId, Position, SkipTime, Topology, Watermark,
};
use millpond_shard::{Router, Shard};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub use offline::offline;

use self::judged::Judged;

/// How long a partition is watched after a decision, to tell whether it goes on.
const WATCH_MAX: Duration = Duration::from_secs(10);
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The record is passed over by every replay.
    Skip(Position),
    /// The records take the preceding clamped time in every replay.
    SkipTimes(SkipTime),
    /// The copy is thrown away, so that its writer makes it anew from the log.
    Discard(PartitionId),
}

/// A decision, and who answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub decision: Decision,
    /// Who.
    pub who: String,
    /// In the operator's words.
    pub why: String,
    /// Only tell what would be done.
    pub dry_run: bool,
}

/// What the writer of a partition says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It applies what comes.
    Running,
    /// It tries again: why.
    Waiting(String),
    /// It stands still.
    Halted {
        /// The stable name.
        name: String,
        /// Why, in words.
        why: String,
    },
}

/// What decisions are made on.
pub struct Ground {
    /// The mutations log.
    pub log: Log,
    /// The control topic.
    pub control: Log,
    /// By index in the topology.
    pub shards: Vec<Router>,
    /// To read control records.
    pub keyring: Keyring,
    /// When it was decided.
    pub clock: Clock,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum Undecided {
    /// It may not be, as things stand.
    #[error("{0}")]
    Refused(String),
    /// The log or a shard does not answer: try again.
    #[error("{0:#}")]
    Unavailable(anyhow::Error),
}

impl From<anyhow::Error> for Undecided {
    fn from(error: anyhow::Error) -> Self {
        Self::Unavailable(error)
    }
}

impl Decision {
    /// Whose partition it is about.
    pub fn partition(&self) -> PartitionId {
        match self {
            Self::Skip(position) => position.partition,
            Self::SkipTimes(skip) => skip.from.partition,
            Self::Discard(partition) => *partition,
        }
    }

    /// As it is written on the control topic.
    pub fn text(&self) -> String {
        match self {
            Self::Skip(position) => format!("skip {position}"),
            Self::SkipTimes(skip) => format!("skip --time {}..{}", skip.from, last(skip)),
            Self::Discard(partition) => format!("discard-copy {partition}"),
        }
    }

    /// Reads [`Decision::text`].
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(text: &str) -> Result<Self, String> {
        const POSITION: &str = "a position is <generation>-<partition>-<offset>, such as 1-3-42";
        let position = |text: &str| text.parse::<Position>().map_err(|_| POSITION.to_owned());
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["skip", "--time", range] => {
                let (from, to) = range
                    .split_once("..")
                    .ok_or("a range is FROM..TO, two positions of one partition, both included")?;
                let (from, to) = (position(from)?, position(to)?);
                let one = (from.generation, from.partition) == (to.generation, to.partition);
                if !one || from.offset > to.offset {
                    return Err("FROM and TO are positions of one partition, and FROM comes first".to_owned());
                }
                Ok(Self::SkipTimes(SkipTime { from, to: to.offset }))
            }
            ["skip", at] => Ok(Self::Skip(position(at)?)),
            ["discard-copy", partition] => {
                let number = partition.parse().map_err(|_| "a partition is a number".to_owned())?;
                Ok(Self::Discard(PartitionId(number)))
            }
            _ => Err("it is `skip POSITION`, `skip --time FROM..TO` or `discard-copy PARTITION`".to_owned()),
        }
    }

    /// The topology with it; none: it holds already, or needs no document.
    fn made(&self, current: &Topology) -> Option<Topology> {
        let mut next = current.clone();
        match self {
            Self::Skip(position) if current.skips.contains(position) => return None,
            Self::Skip(position) => next.skips.push(*position),
            Self::SkipTimes(skip) if current.skip_times.contains(skip) => return None,
            Self::SkipTimes(skip) => next.skip_times.push(*skip),
            // The document stays; that it changes lets the halted writer look again.
            Self::Discard(_) => {}
        }
        Some(next)
    }
}

fn last(skip: &SkipTime) -> Position {
    Position { offset: skip.to, ..skip.from }
}

/// The serving copy that a decision is about.
struct Serving<'g> {
    ground: &'g Ground,
    topology: Arc<Topology>,
    partition: PartitionId,
    shard: Shard,
    shard_name: String,
    /// None: there is no copy yet.
    watermark: Option<Watermark>,
}

impl Serving<'_> {
    fn applied(&self) -> Offset {
        self.watermark.as_ref().map_or(Offset::NONE, |watermark| watermark.applied)
    }

    fn position(&self, offset: Offset) -> Position {
        Position { generation: self.topology.generation, partition: self.partition, offset }
    }
}

/// Judges a decision and, unless it is a dry run, makes it and looks whether the partition goes on.
///
/// # Shape
/// `standing`: what the partition's writer says; none: nobody who was asked has it. Answers an object for people and
/// programs: `decision`, `standing`, `records`, `records_total`, `loses`, `already`, `epoch` (null: nothing was changed),
/// `goes_on` (null: not looked at).
/// # Errors
/// [`Undecided::Refused`]: says where the copy stands and why.
pub async fn decide(ground: &Ground, asked: &Asked, standing: Option<&Standing>) -> Result<Value, Undecided> {
    let decision = asked.decision;
    let mut topologies = Topologies::open(ground.control.clone()).await.context("read the control topic")?;
    let serving = serving(ground, &topologies, decision.partition()).await?;
    let Judged { records, total, loses, already } = judged::judge(&serving, decision, standing).await?;
    let mut told = json!({
        "decision": decision.text(), "standing": standing.map(told_standing), "shard": serving.shard_name,
        "applied": serving.position(serving.applied()).to_string(), "records": records, "records_total": total,
        "loses": loses, "already": already, "epoch": null, "goes_on": null,
    });
    if asked.dry_run || already {
        return Ok(told);
    }
    let audit = Audit {
        who: asked.who.clone(),
        at: ground.clock.now(),
        what: decision.text(),
        why: asked.why.clone(),
    };
    tracing::warn!(target: "audit", who = audit.who, what = audit.what, why = audit.why, "an operator has decided");
    if let (Decision::Discard(_), Some(watermark)) = (decision, &serving.watermark) {
        let discarded = serving.shard.discard_copy(watermark.clone()).await;
        discarded.context("discard the copy; it is as it was")?;
    }
    let amended = topologies.amend(&audit, |current| Ok::<_, Undecided>(decision.made(current))).await;
    let topology = amended.map_err(|error| match error {
        AmendError::Refused(undecided) => undecided,
        error => Undecided::Unavailable(anyhow::Error::new(error).context("write the control topic")),
    })?;
    told["epoch"] = topology.epoch.into();
    told["goes_on"] = goes_on(&serving, decision).await?.into();
    Ok(told)
}

fn told_standing(standing: &Standing) -> String {
    match standing {
        Standing::Running => "running".to_owned(),
        Standing::Waiting(why) => format!("waits: {why}"),
        Standing::Halted { name, why } => format!("halted, {name}: {why}"),
    }
}

async fn serving<'g>(
    ground: &'g Ground,
    topologies: &Topologies,
    partition: PartitionId,
) -> Result<Serving<'g>, Undecided> {
    let topology = Arc::clone(topologies.current().context("there is no topology yet: run `millpond init`")?);
    let index = topology.shard_of(partition).ok_or_else(|| {
        let most = topology.partitions();
        Undecided::Refused(format!("there is no partition {partition}; there are {most}, from 0 on"))
    })?;
    let router = ground.shards.get(index).context("the topology names a shard that is not connected")?;
    let shard = router.primary();
    let watermark = shard.watermark(partition).await;
    let watermark = watermark.with_context(|| format!("read where {} stands", router.name()))?;
    Ok(Serving { ground, topology, partition, shard, shard_name: router.name().to_owned(), watermark })
}

/// Whether the copy goes on within a while.
///
/// # Errors
/// It went on as if nothing had been decided: it applied the record before it heard.
async fn goes_on(serving: &Serving<'_>, decision: Decision) -> Result<bool, Undecided> {
    let beyond = match decision {
        Decision::Skip(position) => position.offset,
        // It goes on with a record that it had not applied: a copy that carries such a time does not.
        Decision::SkipTimes(skip) => skip.from.offset.max(serving.applied().next()),
        Decision::Discard(_) => Offset(0),
    };
    let until = Instant::now() + WATCH_MAX;
    loop {
        let watermark =
            serving.shard.watermark(serving.partition).await.context("look whether it goes on")?;
        if watermark.is_some_and(|watermark| watermark.applied >= beyond) {
            break;
        }
        if Instant::now() > until {
            return Ok(false);
        }
        sleep(WATCH_EVERY).await;
    }
    if let Decision::Skip(position) = decision {
        let letters = serving.shard.dead_letters(serving.partition, position.offset, 1).await;
        let letters = letters.context("look whether the record was skipped")?;
        let skipped = letters.first().is_some_and(|letter| {
            letter.offset == position.offset && letter.refusal.reason == DeadReason::Skipped
        });
        if !skipped {
            return Err(Undecided::Refused(format!(
                "the copy on {} applied {position} before it heard that it is skipped: it is not what the log says \
                 any more. `millpond verify` shows it; rebuild it",
                serving.shard_name
            )));
        }
    }
    Ok(true)
}
