//! CPU time of everything that a row makes work: this process, what it starts, and the engines beside it.
//!
//! Not the time of one known process. Invariant: a child that ends is still counted, since whoever waited for it has its
//! time; so the sum never falls.

use std::{collections::BTreeMap, fmt, fs, time::Duration};

use anyhow::{Context, Result, bail};

/// A tick of `/proc/PID/stat`.
const TICK_MS: u64 = 10;
/// What starts the engines and then the table: everything below it counts.
const STACK: &str = "millpond-stack";
/// What runs one role a process, or all of them.
const MILLPOND: &str = "millpond";
const ROLES: [&str; 3] = ["api", "writer", "sweeper"];

/// How often processes are looked at until none has ended meanwhile.
const LOOKS_MAX: usize = 50;

/// CPU time by what it was used for: the processes' names, those of Millpond with their role, and `tools` for what this
/// process started and waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu(BTreeMap<String, Duration>);

/// CPU-µs per operation of each process, the largest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shares(pub(crate) Vec<(String, f64)>);

impl Shares {
    /// Of one process; 0 when it used nothing.
    pub(crate) fn of(&self, process: &str) -> f64 {
        self.0.iter().filter(|(name, _)| name == process).map(|(_, us)| us).sum()
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |(name, us): &(String, f64)| format!("{name} {us:.2}");
        out.write_str(&self.0.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}

struct Process {
    parent: u32,
    name: String,
    own: Duration,
    waited: Duration,
}

impl Cpu {
    /// So far.
    pub(crate) fn now() -> Result<Self> {
        let here = std::process::id();
        let (all, root) = settled(here)?;
        let mut by = BTreeMap::<String, Duration>::new();
        for (pid, process) in &all {
            if !is_below(&all, *pid, root) {
                continue;
            }
            *by.entry(process.name.clone()).or_default() += process.own;
            let waited = if *pid == here { "tools" } else { &process.name };
            *by.entry(waited.to_owned()).or_default() += process.waited;
        }
        Ok(Self(by))
    }

    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let used = |(name, now): (&String, &Duration)| {
            let before = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), now.saturating_sub(before))
        };
        Self(self.0.iter().map(used).filter(|(_, used)| !used.is_zero()).collect())
    }

    /// Of all.
    pub(crate) fn total(&self) -> Duration {
        self.0.values().sum()
    }

    /// In µs per operation, the largest first.
    pub(crate) fn shares(&self, operations: f64) -> Shares {
        let each = |(name, used): (&String, &Duration)| (name.clone(), used.as_secs_f64() * 1e6 / operations);
        let mut all: Vec<_> = self.0.iter().map(each).collect();
        all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Shares(all)
    }
}

/// The processes, while none of ours ended: the time of one that does is with neither or with both, for a moment.
fn settled(here: u32) -> Result<(BTreeMap<u32, Process>, u32)> {
    let mut all = processes()?;
    for _ in 0..LOOKS_MAX {
        let again = processes()?;
        let root = root(&all, here);
        let ours = |all: &BTreeMap<u32, Process>| -> Vec<u32> {
            all.keys().copied().filter(|pid| is_below(all, *pid, root)).collect()
        };
        if ours(&all) == ours(&again) {
            return Ok((all, root));
        }
        all = again;
    }
    bail!("processes end faster than their CPU time can be read")
}

fn processes() -> Result<BTreeMap<u32, Process>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may be gone by now.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let mut process = parse(&stat).with_context(|| format!("read what {pid} has used"))?;
        if process.name == MILLPOND {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            process.name = with_role(&command);
        }
        all.insert(pid, process);
    }
    Ok(all)
}

fn parse(stat: &str) -> Result<Process> {
    let (before, fields) = stat.rsplit_once(')').context("stat has a name")?;
    let name = before.split_once('(').context("stat has a name")?.1.to_owned();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |at: usize| fields.get(at).context("stat has fields");
    let ticks = |at: usize| -> Result<Duration> {
        Ok(Duration::from_millis(field(at)?.parse::<u64>().context("a time is a number")? * TICK_MS))
    };
    Ok(Process {
        parent: field(1)?.parse()?,
        name,
        own: ticks(11)? + ticks(12)?,
        waited: ticks(13)? + ticks(14)?,
    })
}

/// Arguments end in NUL.
fn with_role(command: &str) -> String {
    let role = command.split('\0').skip(1).find(|argument| ROLES.contains(argument));
    role.map_or_else(|| MILLPOND.to_owned(), |role| format!("{MILLPOND} {role}"))
}

/// The stack above this process, else this process.
fn root(all: &BTreeMap<u32, Process>, here: u32) -> u32 {
    let mut at = here;
    while let Some(process) = all.get(&at) {
        if process.name == STACK {
            return at;
        }
        at = process.parent;
    }
    here
}

fn is_below(all: &BTreeMap<u32, Process>, pid: u32, root: u32) -> bool {
    let mut at = pid;
    loop {
        if at == root {
            return true;
        }
        match all.get(&at) {
            Some(process) => at = process.parent,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 3 7 7 0 -1 4194560 1 2 0 0 11 4 30 2 20 0 1 0 5";
        let process = parse(stat).unwrap();
        assert_eq!((process.parent, process.name.as_str()), (3, "a ) b"));
        assert_eq!((process.own.as_millis(), process.waited.as_millis()), (150, 320));
    }

    #[test]
    fn a_role_has_a_name_of_its_own() {
        assert_eq!(
            with_role("target/millpond\0--config\0api.toml\0writer\0--ops-listen\0"),
            "millpond writer"
        );
        assert_eq!(with_role("target/millpond\0--listen\0"), "millpond");
    }

    #[test]
    fn what_was_used_is_told_by_name() {
        let cpu = |used: u64| Cpu(BTreeMap::from([("java".to_owned(), Duration::from_millis(used))]));
        let used = cpu(300).since(&cpu(100));
        assert_eq!(used.total(), Duration::from_millis(200));
        assert_eq!(used.shares(100_000.0).to_string(), "java 2.00");
    }
}
