//! Drills: faults on real processes under load, and a verdict on what came of it. `tests/drill` runs them long, the test
//! suite runs the same functions short.
//!
//! Not the checker, which knows nothing of drills. Invariant: a drill that injected no fault, or of whose operations fewer
//! than half succeeded, proves nothing and says so (void).

mod api_kill;
mod bit_flip;
mod broker_loss;
mod calls;
mod clocks;
mod commit_cut;
mod context;
mod disk_full;
mod dropped_calls;
mod flights;
mod kafka_cut;
mod log_lost;
mod old_timeline;
mod one_way;
mod poison;
mod power_cut;
mod primary_kill;
mod producer_death;
mod promotion;
mod read_race;
mod replica_lag;
mod report;
mod retention;
mod same_log;
mod settle;
mod shard_lost;
mod stage;
mod steady;
mod sweepers;
mod versions;
mod witness;
mod writer_kill;
mod writer_stop;

use std::{path::PathBuf, pin::Pin, time::Duration};

use anyhow::{Result, bail, ensure};

pub use self::{
    context::Context,
    report::{Report, Verdict},
    stage::{COMMIT, COMMITTED, Owners, owned, until_shared_out},
};

/// A drill at work. It may stay on the thread that polls it.
pub type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

/// One fault of the table in docs/reliability.md, as something that can be run.
#[derive(Clone, Copy)]
pub struct Drill {
    /// Its name on the command line: words with hyphens.
    pub name: &'static str,
    /// Its number in the table of faults.
    pub number: u32,
    /// One line: the fault, and what has to hold.
    pub about: &'static str,
    /// What it stands on.
    pub engines: Need,
    /// How long `tests/drill` runs it unless it is told.
    pub long: Length,
    /// How long the test suite does.
    pub short: Length,
    /// Runs it. An error is a failure of the drill itself or of a promise; what is wrong and does not end it is told with
    /// [`Context::violation`].
    pub run: fn(Context) -> Running,
}

/// Which engines a drill needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The suite's: `deployment::Engines::shared()` has them.
    Shared,
    /// It starts what it breaks by itself.
    Own,
    /// None: the embedded system.
    None,
}

/// When a drill ends: whatever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Time for faults under load; start, healing and checking come on top.
    pub time: Duration,
    /// How many faults, or rounds.
    pub count: u64,
}

impl Length {
    /// So many seconds, or so many faults.
    pub const fn new(seconds: u64, count: u64) -> Self {
        Self { time: Duration::from_secs(seconds), count }
    }
}

/// How to run a drill.
#[derive(Clone, Debug)]
pub struct Request {
    /// All that is random comes of it.
    pub seed: u64,
    /// When it ends.
    pub length: Length,
    /// Whether times are judged. The short form only waits for states: it shares its machine with a test suite.
    pub is_long: bool,
    /// Where the history stays. None: it goes with the drill, unless a promise was broken.
    pub keep: Option<PathBuf>,
}

/// Every drill, by its number.
pub const ALL: &[Drill] = &[
    api_kill::DRILL,
    writer_kill::DRILL,
    writer_stop::DRILL,
    commit_cut::DRILL,
    primary_kill::DRILL,
    promotion::DRILL,
    old_timeline::DRILL,
    one_way::DRILL,
    kafka_cut::DRILL,
    broker_loss::DRILL,
    producer_death::DRILL,
    log_lost::DRILL,
    clocks::DRILL,
    retention::DRILL,
    disk_full::DRILL,
    power_cut::DRILL,
    bit_flip::DRILL,
    sweepers::DRILL,
    replica_lag::DRILL,
    poison::DRILL,
    dropped_calls::DRILL,
    versions::DRILL,
    same_log::DRILL,
    flights::DRILL,
    read_race::DRILL,
    shard_lost::DRILL,
];

/// The drill of this name, or number.
pub fn find(name: &str) -> Result<&'static Drill> {
    let found = ALL.iter().find(|drill| drill.name == name || drill.number.to_string() == name);
    let Some(drill) = found else {
        let names: Vec<_> = ALL.iter().map(|drill| drill.name).collect();
        bail!("there is no drill {name}; there are {}", names.join(", "));
    };
    Ok(drill)
}

/// Runs a drill to its end.
///
/// # Errors
/// No report could be made: its folder cannot be written. A drill that fails is a report whose verdict says so.
pub async fn run(drill: &Drill, request: Request) -> Result<Report> {
    let context = Context::new(drill, request)?;
    let ended = (drill.run)(context.clone()).await;
    if let Err(error) = ended {
        context.violation(format!("{error:#}"));
    }
    Ok(context.report())
}

/// Runs a drill as the test suite does: short, with a seed of its own unless `MILLPOND_TEST_SEED` names one.
///
/// # Errors
/// Its verdict is not that it passed; the report is in the message.
pub async fn short(name: &str) -> Result<()> {
    let drill = find(name)?;
    let seed = match std::env::var("MILLPOND_TEST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::from(rand::random::<u32>()),
    };
    println!("{name}: seed {seed}");
    let request = Request { seed, length: drill.short, is_long: false, keep: None };
    let report = run(drill, request).await?;
    println!("{report}");
    ensure!(report.verdict() == Verdict::Passed, "the drill {name} failed:\n{report}");
    Ok(())
}
