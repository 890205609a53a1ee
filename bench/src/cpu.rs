//! CPU time of processes, from /proc.
//!
//! Invariant: a family's time never falls: what a child took that ended counts for its parent.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Length of a tick of `/proc/PID/stat`: 10 ms on every Linux that we know.
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system, of all threads of a process so far. A tick is 10 ms.
pub(crate) fn of(pid: u32) -> Result<Duration> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("read CPU time of {pid}"))?;
    let (_, rest) = text.rsplit_once(')').context("stat has a command name")?;
    let mut ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let mut next = || ticks.next().context("stat has times")?.context("times are numbers");
    Ok(TICK * (next()? + next()?))
}

/// A process with its descendants, such as Postgres' backends, by the name that a report gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

impl Family {
    /// Of the process and all its descendants, those that ended and were waited for included; not of those that have a
    /// name of their own.
    pub(crate) fn took(&self, named: &[Self]) -> Result<Duration> {
        let all = everybody()?;
        let root = all.get(&self.pid).with_context(|| format!("{}: no process {}", self.name, self.pid))?;
        let mut ticks = root.ticks;
        let mut parents = vec![self.pid];
        while let Some(parent) = parents.pop() {
            let is_named = |child: u32| named.iter().any(|family| family.pid == child);
            for (child, one) in all.iter().filter(|(pid, one)| one.parent == parent && !is_named(**pid)) {
                ticks += one.ticks;
                parents.push(*child);
            }
        }
        Ok(TICK * u32::try_from(ticks).context("a process is that old")?)
    }
}

impl std::str::FromStr for Family {
    type Err = String;

    /// `NAME=PID`, or a process alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').unwrap_or(("server", text));
        let pid = pid.parse().map_err(|_bad| format!("{text} is not NAME=PID"))?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

/// What the process table says of one process.
struct Process {
    parent: u32,
    /// Its own, and that of children that it has waited for.
    ticks: u64,
}

fn everybody() -> Result<HashMap<u32, Process>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc").context("read the process table")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended meanwhile counts for its parent.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        all.extend(process(&text).map(|process| (pid, process)));
    }
    Ok(all)
}

fn process(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let ticks = fields.skip(9).take(4).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some(Process { parent, ticks })
}

/// What a stretch of work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// A stretch of work under way, in some processes.
pub(crate) struct Watch {
    began: Instant,
    before: Duration,
    pids: Vec<u32>,
}

impl Watch {
    /// Starts now.
    pub(crate) fn start(pids: Vec<u32>) -> Result<Self> {
        let before = sum(&pids)?;
        Ok(Self { began: Instant::now(), before, pids })
    }

    /// Of this process alone.
    pub(crate) fn here() -> Result<Self> {
        Self::start(vec![std::process::id()])
    }

    /// What it took until now.
    pub(crate) fn took(&self) -> Result<Took> {
        Ok(Took { wall: self.began.elapsed(), cpu: sum(&self.pids)?.saturating_sub(self.before) })
    }
}

fn sum(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| of(*pid)).sum()
}

/// A line of a table: what, how many, per second, CPU-µs each.
pub(crate) fn line(what: &str, operations: u64, took: Took) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
    let operations_f = operations as f64;
    let per_second = operations_f / took.wall.as_secs_f64();
    let cpu_us = took.cpu.as_secs_f64() * 1e6 / operations_f;
    format!("{what:<34} {operations:>9} {per_second:>12.0}/s {cpu_us:>9.2} CPU-µs each")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 100 20 3000 400 20 0 1 0 9 1 2";
        let process = process(stat).expect("it is whole");
        assert_eq!((process.parent, process.ticks), (3, 3520));
        assert!(super::process("7 (cut").is_none());
    }

    #[test]
    fn a_family_is_named_or_a_process_alone() {
        assert_eq!("kafka=12".parse(), Ok(Family { name: "kafka".to_owned(), pid: 12 }));
        assert_eq!("12".parse(), Ok(Family { name: "server".to_owned(), pid: 12 }));
        assert!("kafka".parse::<Family>().is_err());
    }

    #[test]
    fn a_family_has_its_children_but_those_with_a_name_of_their_own() -> Result<()> {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; read end"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let mut line = [0];
        let said = child.stdout.as_mut().context("it is piped")?;
        std::io::Read::read_exact(said, &mut line)?;
        let family = |pid| Family { name: "one".to_owned(), pid };
        let (here, theirs) = (family(std::process::id()), family(child.id()));
        let childs = theirs.took(&[])?;
        let apart = here.took(std::slice::from_ref(&theirs))?;
        let together = here.took(&[])?;
        child.kill()?;
        child.wait()?;
        assert!(childs > Duration::ZERO, "the child has worked for some ticks");
        assert!(together >= apart + childs, "{together:?} is less than {apart:?} and {childs:?}");
        Ok(())
    }
}
