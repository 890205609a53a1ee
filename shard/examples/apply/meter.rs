//! Rates, and the CPU that they cost.

use std::{fs, time::Instant};

pub(crate) struct Meter {
    started: Instant,
    own_ms: f64,
    server_ms: f64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), own_ms: own_ms(), server_ms: server_ms() }
    }

    /// Says how many there were a second, answers it.
    pub(crate) fn say(&self, what: &str, one: &str, count: f64) -> f64 {
        let rate = count / self.started.elapsed().as_secs_f64();
        let own = (own_ms() - self.own_ms) * 1000.0 / count;
        let server = (server_ms() - self.server_ms) * 1000.0 / count;
        let server = if server > 0.0 { format!(" here, {server:.1} in the server") } else { String::new() };
        println!("{what}: {rate:.0} {one}s/s, {own:.2} CPU-µs a {one}{server}");
        rate
    }
}

/// What this process has used.
fn own_ms() -> f64 {
    stat("self").1
}

/// What all processes named postgres have used, and those that they have waited for.
fn server_ms() -> f64 {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let numbers = processes.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.map(|pid| stat(&pid)).filter(|(name, _)| name == "postgres").map(|(_, ms)| ms).sum()
}

/// Name and time of a process, from Linux: fields 14 and 15 of its stat, in ticks of 10 ms.
fn stat(pid: &str) -> (String, f64) {
    // It may be gone by now.
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return (String::new(), 0.0) };
    let (before, after_name) = stat.rsplit_once(')').unwrap();
    let name = before.split_once('(').unwrap().1.to_owned();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u32>().unwrap();
    (name, f64::from(ticks(11) + ticks(12)) * 10.0)
}
