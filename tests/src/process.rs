//! Plain processes: engines and roles, each in a process group of its own, with its output in a file.
//!
//! Not for what a test talks to through pipes. Invariant: an owned process ends with this one, even when this one is
//! killed; a detached one is known by its number and its birth, so that another process with its number is left alone.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a killed process may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(30);
/// How much of a log a failure tells, lines.
const TAIL_LINES: usize = 30;
/// How many processes may wait to be started.
const SPAWNING_MAX: usize = 16;

/// How long a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// As long as the value that started it, and no longer than this process.
    Owned,
    /// Once it is kept, until somebody ends it: it has a session of its own.
    Detached,
}

/// A process that was started. Dropping it kills it, unless it is detached and kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Process {
    pid: u32,
    /// When it was started, in clock ticks since the system was.
    born: u64,
    life: Life,
    log: PathBuf,
    /// Where its own part of the log begins, bytes.
    log_from: u64,
    #[serde(skip, default = "kept")]
    kept: bool,
    #[serde(skip)]
    child: Option<Child>,
    /// How it ended, once that was seen.
    #[serde(skip)]
    status: Option<ExitStatus>,
}

/// What was written down is kept.
fn kept() -> bool {
    true
}

impl Process {
    /// Starts a command, under `user` where there is one (see [`wrap`]), with its output at the end of the file `log`.
    pub fn spawn(command: &Command, user: &[String], log: &Path, life: Life) -> Result<Self> {
        let hold: &[&str] = match life {
            Life::Owned => &["setpriv", "--pdeathsig", "KILL", "--"],
            Life::Detached => &["setsid"],
        };
        // The signal is forgotten where the user changes, so it is asked for after that.
        let mut command = wrap(user, &wrap(hold, command));
        let output = append_to(log)?;
        let log_from = output.metadata()?.len();
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        if life == Life::Owned {
            // Ctrl-C in a terminal is for the command that uses the engines, not for them.
            command.process_group(0);
        }
        let name = command.get_program().to_owned();
        let child = spawn_for_life(command).with_context(|| format!("start {}", name.display()))?;
        let pid = child.id();
        let (_, born) =
            stat(pid).with_context(|| format!("{} ended at once{}", name.display(), tail(log, log_from)))?;
        Ok(Self {
            pid,
            born,
            life,
            log: log.to_owned(),
            log_from,
            kept: false,
            child: Some(child),
            status: None,
        })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How long it lives.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Its exit code, once it was seen to have ended by itself.
    pub fn exit_code(&self) -> Option<i32> {
        self.status?.code()
    }

    /// It outlives the value from now on, when its life is detached.
    pub fn keep(&mut self) {
        self.kept = self.life == Life::Detached;
    }

    /// It runs.
    pub fn is_alive(&mut self) -> bool {
        let alive = is_running(self.pid, self.born);
        if !alive && let Some(mut child) = self.child.take() {
            // It is dead: this only buries it.
            self.status = child.wait().ok();
        }
        alive
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.is_alive() {
            send(self.pid, signal).with_context(|| format!("signal process {}", self.pid))?;
        }
        Ok(())
    }

    /// kill -9, of its children too, as a crash of the machine would; all are gone afterwards.
    pub fn kill(&mut self) -> Result<()> {
        // Stopped first: no child is born meanwhile.
        self.signal(Signal::STOP)?;
        let children: Vec<(u32, u64)> = children(self.pid)
            .into_iter()
            .filter_map(|child| stat(child).map(|(_, born)| (child, born)))
            .collect();
        self.signal(Signal::KILL)?;
        for (child, _) in &children {
            // It may have ended by itself.
            let _ = send(*child, Signal::KILL);
        }
        let gone = until(KILLED_WITHIN, || {
            Ok(!self.is_alive() && !children.iter().any(|(child, born)| is_running(*child, *born)))
        })?;
        if !gone {
            bail!("process {} survives being killed", self.pid);
        }
        Ok(())
    }

    /// Sends a signal that asks it to end, and kills it when it does not within `patience`.
    pub fn end(&mut self, signal: Signal, patience: Duration) -> Result<()> {
        self.signal(signal)?;
        self.await_end(patience)
    }

    /// Waits until it has ended, and kills it when it does not within `patience`.
    pub fn await_end(&mut self, patience: Duration) -> Result<()> {
        if !until(patience, || Ok(!self.is_alive()))? {
            self.kill()?;
        }
        Ok(())
    }

    /// Waits until `ready` is true. Fails with the end of its log when it ends before, or after `patience`.
    pub fn until_ready(
        &mut self,
        patience: Duration,
        mut ready: impl FnMut(&str) -> Result<bool>,
    ) -> Result<()> {
        let mut alive = true;
        let is_ready = until(patience, || {
            alive = self.is_alive();
            Ok(!alive || ready(&self.said())?)
        })?;
        if !alive {
            bail!("it ended early{}", tail(&self.log, self.log_from));
        }
        if !is_ready {
            bail!("it is not ready after {patience:?}{}", tail(&self.log, self.log_from));
        }
        Ok(())
    }

    /// What it wrote.
    pub fn said(&self) -> String {
        said(&self.log, self.log_from)
    }

    /// The end of what it wrote, for a message.
    pub fn tail(&self) -> String {
        tail(&self.log, self.log_from)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.kept && self.is_alive() {
            // A failure leaves an owned one to the kernel, which ends it with this process.
            let _ = self.kill();
        }
    }
}

/// A command behind another one, such as `setpriv … --`; with the environment that was set for it.
pub fn wrap(prefix: &[impl AsRef<str>], command: &Command) -> Command {
    let Some((first, rest)) = prefix.split_first() else {
        let mut same = Command::new(command.get_program());
        copy(command, &mut same);
        return same;
    };
    let mut wrapped = Command::new(first.as_ref());
    wrapped.args(rest.iter().map(AsRef::as_ref)).arg(command.get_program());
    copy(command, &mut wrapped);
    wrapped
}

fn copy(from: &Command, to: &mut Command) {
    to.args(from.get_args());
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
}

/// Runs a command to its end and gives its output. Fails with what it wrote when it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {}", name.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {text}{error}", name.display(), output.status);
    }
    Ok(text)
}

/// Looks until `holds` is true, or `patience` has passed; which of the two.
pub fn until(patience: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + patience;
    while !holds()? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(true)
}

/// As [`until`], for a condition that has to be awaited.
pub async fn until_async(patience: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(patience, looking).await.is_ok()
}

/// A process has this number, and is not a dead one that waits for its parent.
pub fn exists(pid: u32) -> bool {
    stat(pid).is_some()
}

/// The numbers of a process's children.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// An owned process ends with the thread that started it, so one thread starts all and lives as long as this process.
fn spawn_for_life(command: Command) -> io::Result<Child> {
    type Request = (Command, SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<SyncSender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = sync_channel::<Request>(SPAWNING_MAX);
        thread::spawn(move || {
            for (mut command, answer) in requests {
                // Whoever asked waits for it.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, answered) = sync_channel(1);
    spawner.send((command, answer)).map_err(io::Error::other)?;
    answered.recv().map_err(io::Error::other)?
}

fn append_to(log: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("open {}", log.display()))
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid.cast_signed()).context("a process's number is not 0")?;
    Ok(kill_process(pid, signal)?)
}

fn is_running(pid: u32, born: u64) -> bool {
    stat(pid).is_some_and(|(_, found)| found == born)
}

/// State and birth of a process; nothing when it is gone or only waits for its parent to notice.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may contain anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let born = fields.nth(18)?.parse().ok()?;
    (!matches!(state, 'Z' | 'X')).then_some((state, born))
}

fn said(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

fn tail(log: &Path, from: u64) -> String {
    let text = said(log, from);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("; the end of {}:\n{}", log.display(), last.join("\n"))
}
