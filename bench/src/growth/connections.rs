//! Cost by the number of connections, each with one put under way: the embedded server, until all is applied.
//!
//! Invariant: each number of connections has a server of its own with an empty folder.

use std::time::Duration;

use anyhow::Result;

use super::{Grown, cost::Costs};
use crate::{
    load::{Answered, Offered, raise_files},
    progress::Steps,
    rows::{
        Plan,
        sample::{Sample, Stretch, float},
        tools::Served,
    },
};

const CONNECTIONS: [u32; 5] = [1, 10, 100, 1_000, 10_000];
/// Files that this process and a server have open besides.
const FILES: u64 = 200;
const P99_MS: &str = "p99_ms";

/// 1 to 10,000.
pub(super) async fn measure(plan: &Plan) -> Result<Grown> {
    let columns: (_, &[_]) = ("connections", &[P99_MS]);
    let mut costs =
        Costs::new("Cost by connections, single puts to the embedded server", "connections", columns);
    costs.comments = vec![
        "closed loop: each connection has one put of 256 B under way, uniform over 100,000 keys; fdatasync before each \
         answer; measured until all is applied to SQLite"
            .to_owned(),
        format!("{P99_MS}: of an answer, 202; millpond: log, api and writer in one process; connecting, and encoding the calls \
             before, is in the cost"),
    ];
    let files = raise_files();
    let bar = Steps::show("connections", CONNECTIONS.len());
    for connections in CONNECTIONS {
        bar.at(format!("{connections}"));
        let found = match files {
            Some(files) if files < u64::from(connections) + FILES => Err(format!(
                "only {files} open files are allowed; ulimit -n {}",
                u64::from(connections) + FILES
            )),
            _ => samples(plan, connections).await?,
        };
        bar.done(&costs.add(f64::from(connections), "", found));
    }
    Ok(costs.grown())
}

/// Or why they are void.
async fn samples(plan: &Plan, connections: u32) -> Result<Result<Vec<Sample>, String>> {
    let folder = tempfile::TempDir::new()?;
    let server = Served::embedded(&folder.path().join("data"))?;
    let mut samples = Vec::new();
    for repeat in 0..plan.repeats {
        let offered = Offered {
            address: server.address,
            connections: usize::try_from(connections)?,
            rate: None,
            length: Duration::from_secs(plan.pick(3, 10)),
            seed: plan.seed + repeat as u64,
        };
        let stretch = Stretch::start()?;
        match offered.run().await? {
            Answered::Void(reason) => return Ok(Err(reason)),
            Answered::Good { operations, wall, latencies } => {
                offered.settle().await?;
                let mut sample = stretch.end_with(float(operations), wall)?;
                sample.set(P99_MS, latencies.quantile(0.99).as_secs_f64() * 1e3);
                samples.push(sample);
            }
        }
    }
    Ok(Ok(samples))
}
