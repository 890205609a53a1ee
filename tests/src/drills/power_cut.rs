//! The power is cut at any moment of a recorded run of the embedded system: see [`crate::power`].
//!
//! A state that failed is tried again with `MILLPOND_TEST_STATE=N tests/drill power-cut --seed S --keep DIR`, where DIR
//! is the folder that the report names: it holds the recording.

use anyhow::Result;

use super::{Context, Drill, Length, Need};
use crate::power::{
    self,
    states::{Plan, Subject},
};

/// Names one state.
const STATE: &str = "MILLPOND_TEST_STATE";
/// The short form checks one in so many of the states of log and shards, and twice as many of the log alone, of which the
/// log's own tests go through all of a short run.
const SHORT_PART: u64 = 10;

/// States of a run whose log was never synced: one of them is bad.
const SPOILT: u64 = 500;

pub(super) const DRILL: Drill = Drill {
    name: "power-cut",
    number: 15,
    about: "power cut of the embedded system: unsynced data dropped, torn, names lost: nothing answered is lost",
    engines: Need::None,
    long: Length::new(7200, 10_000),
    short: Length::new(600, 10_000),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let (seed, count) = (context.seed(), context.length().count);
    let only = std::env::var(STATE).ok().map(|state| state.parse()).transpose()?;
    let recording = power::record(context.folder(), seed).await?;
    let part = if context.is_long() { 1 } else { SHORT_PART };
    for (subject, states) in [(Subject::Log, count * 2 / part), (Subject::Pond, count / part)] {
        let began = std::time::Instant::now();
        let plan = Plan { subject, seed, states, only };
        let figures = plan.run(&recording, context.folder()).await?;
        let name = if subject == Subject::Log { "log alone" } else { "log and SQLite" };
        context.figure(
            name,
            format!(
                "{} states ({} different) at {} moments in {:.0} s",
                figures.states,
                figures.distinct,
                figures.moments,
                began.elapsed().as_secs_f64()
            ),
        );
        (0..figures.states).for_each(|_| context.fault("power cut", name));
        context.operations(figures.answered, 0, 0);
        power::finds(&recording, &Plan { states: SPOILT, only: None, ..plan }).await?;
    }
    Ok(())
}
