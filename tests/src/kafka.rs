//! A Kafka broker as a process: alone, or one of [`Brokers`].
//!
//! Not a client of it. Invariant: its ports and its data stay the same however often it is killed and started again.

mod brokers;
mod layout;

use std::{
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use self::layout::{Quorum, java, random_id};
pub use self::{
    brokers::Brokers,
    layout::{Behind, Special},
};
use crate::{
    folder::Folder,
    ports,
    process::{Life, Process},
};

/// How long a start may take.
const START_WITHIN: Duration = Duration::from_mins(1);
/// How long an orderly end may take.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// What it logs when it serves.
const STARTED: &str = "Kafka Server started";
/// The most that the heap of a broker that is alone takes, MiB.
const HEAP_MIB: u32 = 512;

/// A broker, running or not. It ends with the value unless it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Broker {
    process: Process,
    dir: PathBuf,
    port: u16,
    life: Life,
    #[serde(default)]
    special: Special,
    #[serde(default = "heap")]
    heap_mib: u32,
    #[serde(skip)]
    folder: Option<Folder>,
}

impl Broker {
    /// Starts one with data of its own, in a temporary folder that goes with it.
    pub fn fresh() -> Result<Self> {
        let folder = Folder::create()?;
        let mut broker = Self::start(folder.path(), Life::Owned)?;
        broker.folder = Some(folder);
        Ok(broker)
    }

    /// As [`Broker::fresh`], with what is special about it.
    pub fn special(special: Special) -> Result<Self> {
        let folder = Folder::create()?;
        let mut broker = Self::start_special(folder.path(), Life::Owned, special)?;
        broker.folder = Some(folder);
        Ok(broker)
    }

    /// Formats an empty or missing folder and starts a broker there.
    pub fn start(dir: &Path, life: Life) -> Result<Self> {
        Self::start_special(dir, life, Special::default())
    }

    fn start_special(dir: &Path, life: Life, special: Special) -> Result<Self> {
        let [port, controller] = ports::free()?;
        let quorum = Quorum { cluster: random_id(), controllers: vec![(controller, random_id())] };
        quorum.format(dir, 0, port, &special)?;
        let mut broker = Self::spawn(dir, port, life, (special, HEAP_MIB))?;
        broker.until_ready()?;
        Ok(broker)
    }

    /// Starts the process of a folder that is formatted.
    fn spawn(dir: &Path, port: u16, life: Life, (special, heap_mib): (Special, u32)) -> Result<Self> {
        let process = spawn(dir, life, &special, heap_mib)?;
        Ok(Self { process, dir: dir.to_owned(), port, life, special, heap_mib, folder: None })
    }

    /// Where clients connect, `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its folder; what it has stored lies in `data` there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of its process, the last one when it does not run.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// It runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// It outlives the value from now on, when its life is detached.
    pub fn keep(&mut self) {
        self.process.keep();
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// It stands still, with its connections open, until [`Broker::resume`].
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// It goes on after [`Broker::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        self.process.end(Signal::TERM, STOP_WITHIN)
    }

    /// Starts it again after an end, with its data on its port, and waits until it serves.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(!self.is_alive(), "the Kafka broker runs already");
        self.process = spawn(&self.dir, self.life, &self.special, self.heap_mib)?;
        self.until_ready()
    }

    fn until_ready(&mut self) -> Result<()> {
        let port = self.port;
        let serves = |said: &str| Ok(said.contains(STARTED) && connects(port));
        self.process.until_ready(START_WITHIN, serves).context("start the Kafka broker")
    }
}

fn connects(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn heap() -> u32 {
    HEAP_MIB
}

fn spawn(dir: &Path, life: Life, special: &Special, heap_mib: u32) -> Result<Process> {
    let mut command = java(dir, life, heap_mib)?;
    command.arg("kafka.Kafka").arg(dir.join("kafka.properties")).envs(&special.environment);
    Process::spawn(&command, &[], &dir.join("kafka.log"), life)
}
