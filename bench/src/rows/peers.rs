//! Figures of other stores on this machine, from `bench/peers/run`.
//!
//! Not interleaved with ours: they run right before. Invariant: a peer that cannot be had is missing, with the reason.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::Plan;

/// The median of one load on a peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Of server and client.
    pub(crate) cpu_us: f64,
    /// Operations per second.
    pub(crate) rate: f64,
    /// In its own words, with its version.
    pub(crate) told: String,
}

/// Runs a peer, and finds the loads whose names or durability hold all of these words, in small letters.
pub(crate) fn run(plan: &Plan, name: &str, words: &[&str]) -> Result<Vec<Peer>> {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers/run");
    ensure!(program.exists(), "bench/peers/run is not there");
    let mut command = Command::new(program);
    if plan.pick(true, false) {
        command.arg("--quick");
    }
    let output = command.args(["--json", name]).output().context("run bench/peers/run")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let has = |row: &&Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_lowercase();
        let told = format!("{} {}", text("load"), text("durability"));
        words.iter().all(|word| told.contains(word))
    };
    let found: Vec<Peer> = rows.iter().filter(has).filter_map(of).collect();
    if found.is_empty() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let why = errors.lines().chain(said.lines()).last().unwrap_or("it says nothing").to_owned();
        return Err(anyhow!("bench/peers/run {name} has no load with {words:?}: {why}"));
    }
    Ok(found)
}

fn of(row: &Value) -> Option<Peer> {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    Some(Peer {
        cpu_us: row["cpu_us_per_op"].as_f64()?,
        rate: row["ops_per_s"].as_f64()?,
        told: format!("{} {}, {}, {}", text("peer"), text("version"), text("load"), text("durability")),
    })
}
