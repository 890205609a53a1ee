//! Cost by the number of partitions: batches over HTTP, Kafka, one writer, one Postgres, until all is applied.
//!
//! Invariant: each number of partitions has a deployment of its own, which has applied as many operations before.

use anyhow::{Context, Result};

use super::{Grown, cost::Costs};
use crate::{
    progress::Steps,
    rows::{
        Plan,
        calls::Draw,
        deployment::Deployment,
        end_to_end::{DURABILITY, through},
        engines::{Engines, NO_ENGINES},
    },
};

const PARTITIONS: [u32; 4] = [1, 4, 16, 64];
const KEYS: u64 = 1_000_000;
/// Seconds of load before what is measured.
const WARM: u64 = 1;

/// 1 to 64.
pub(super) async fn measure(plan: &Plan) -> Result<Grown> {
    let engines = Engines::here().context(NO_ENGINES)?;
    let mut costs = Costs::new(
        "Cost by partitions, from /batch to the row in Postgres",
        "partitions",
        ("partitions", &[]),
    );
    costs.comments.push(format!("batches of 1,000 puts of 256 B, uniform over {KEYS} keys; {DURABILITY}"));
    costs.comments.push("postgres: the primary, and a replica that replays; java: one broker".to_owned());
    let bar = Steps::show("partitions", PARTITIONS.len());
    for partitions in PARTITIONS {
        bar.at(format!("{partitions}"));
        let deployment = Deployment::start(&engines, partitions, 1).await?;
        through(&deployment, Draw::uniform(KEYS, plan.seed + 1_000), WARM).await?;
        let mut samples = Vec::new();
        for repeat in 0..plan.repeats {
            let draw = Draw::uniform(KEYS, plan.seed + repeat as u64);
            samples.push(through(&deployment, draw, plan.pick(4, 15)).await?);
        }
        bar.done(&costs.add(f64::from(partitions), "", Ok(samples)));
    }
    Ok(costs.grown())
}
