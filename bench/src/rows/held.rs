//! Calls that wait: how many are held at once, what one costs in memory, and how others fare beside them.
//!
//! The load generator's `hold` measures them, and the same of bare hyper, one after the other. Invariant: fewer calls than
//! the target asks for are not extrapolated.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Plan, line::Line, tools::beside};

const HELD: &str = "calls held, of 1,000,000";
const BYTES: &str = "calls held: bytes each";
const PROBES: &str = "calls held: p99 of 1,000 probes/s beside them";
/// What the report calls bare hyper.
const BARE: &str = "bare hyper";
const CALLS: f64 = 1_000_000.0;
/// Memory that a million of them take, with their client, and some to spare; bytes.
const MEMORY: u64 = 12 << 30;
const BYTES_MAX: f64 = 2_500.0;
const P99_US_MAX: f64 = 5_000.0;

/// How many, their memory, and probes beside them.
pub(crate) fn run(plan: &Plan) -> Result<Vec<Line>> {
    let calls = if memory_free()? >= MEMORY { "1000000" } else { plan.pick("10000", "100000") };
    let output = Command::new(beside("millpond-bench")?)
        .args(["hold", "--calls", calls, "--json", "--binary"])
        .arg(beside("millpond")?)
        .output()
        .context("hold calls")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |bare: bool| found.iter().find(|one| (one["server"] == BARE) == bare);
    let Some(ours) = of(false) else {
        let errors = String::from_utf8_lossy(&output.stderr);
        let why = errors.lines().last().unwrap_or("it reports nothing").to_owned();
        return Ok([HELD, BYTES, PROBES].map(|stage| Line::missing(stage, 1.0, why.clone())).to_vec());
    };
    let bare = of(true);
    let number = |of: Option<&Value>, path: &str| of.and_then(|one| one.pointer(path)?.as_f64());
    let line =
        |stage, unit, path: &str, (target, ratio): (f64, fn(f64) -> f64)| match number(Some(ours), path) {
            None => Line::missing(stage, target, format!("the report has no {path}")),
            Some(value) => Line::new(stage, unit, target)
                .measured(number(bare, path).unwrap_or(f64::NAN), value, ratio(value))
                .note(format!("{calls} calls")),
        };
    Ok(vec![
        // Some are always on their way, answered after their longest time and made again.
        line(HELD, "calls", "/held", (0.99, |held| held / CALLS)),
        line(BYTES, "B", "/call_bytes", (1.0, |bytes| BYTES_MAX / bytes))
            .note(format!("at most {BYTES_MAX}")),
        line(PROBES, "µs", "/probes_beside/p99_us", (1.0, |us| P99_US_MAX / us))
            .note(format!("at most {P99_US_MAX}")),
    ])
}

/// Memory that is to be had without swapping, bytes.
fn memory_free() -> Result<u64> {
    let told = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 =
        line.and_then(|line| line.trim().strip_suffix(" kB")).context("find MemAvailable")?.parse()?;
    Ok(kib << 10)
}
