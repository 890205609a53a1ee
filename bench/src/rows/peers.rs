//! Figures of other stores on this machine, from `bench/peers/run`.
//!
//! Not interleaved with ours: they run right before, each once in a run of the table. Invariant: a peer that cannot be had
//! is missing, with the reason.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

/// What peers have shown in this run, with the last words of each.
pub(crate) struct Peers {
    quick: bool,
    seen: Mutex<BTreeMap<String, (Vec<Value>, String)>>,
}

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

impl Peers {
    /// None has run yet.
    pub(crate) fn new(quick: bool) -> Self {
        Self { quick, seen: Mutex::default() }
    }

    /// Runs a peer unless it has run, and finds the loads whose names or durability hold all of these words, in small
    /// letters.
    pub(crate) fn run(&self, name: &str, words: &[&str]) -> Result<Vec<Peer>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, last_words) = match seen.remove(name) {
            Some(before) => before,
            None => self.fresh(name)?,
        };
        let has = |row: &&Value| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_lowercase();
            let told = format!("{} {}", text("load"), text("durability"));
            words.iter().all(|word| told.contains(word))
        };
        let found: Vec<Peer> = rows.iter().filter(has).filter_map(of).collect();
        let why = format!("bench/peers/run {name} has no load with {words:?}: {last_words}");
        seen.insert(name.to_owned(), (rows, last_words));
        if found.is_empty() { Err(anyhow!(why)) } else { Ok(found) }
    }

    fn fresh(&self, name: &str) -> Result<(Vec<Value>, String)> {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers/run");
        ensure!(program.exists(), "bench/peers/run is not there");
        let mut command = Command::new(program);
        if self.quick {
            command.arg("--quick");
        }
        let output = command.args(["--json", name]).output().context("run bench/peers/run")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let rows = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let last_words = errors.lines().chain(said.lines()).last().unwrap_or("it says nothing");
        Ok((rows, last_words.to_owned()))
    }
}

fn of(row: &Value) -> Option<Peer> {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    Some(Peer {
        cpu_us: row["cpu_us_per_op"].as_f64()?,
        rate: row["ops_per_s"].as_f64()?,
        told: format!("{} {}, {}, {}", text("peer"), text("version"), text("load"), text("durability")),
    })
}
