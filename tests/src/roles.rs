//! The roles of a deployment: the released binary, once for each, on free ports.
//!
//! Invariant: a role's ports stay the same however often it is killed and started again.

mod config;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

pub use self::config::Config;
use crate::{
    faults::netns,
    http::Http,
    ports,
    process::{Life, Process, until_async},
    server::{BINARY, binary_path},
};

/// How long a role may take until it is ready.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How long an orderly end may take: an api drains for 20 s and flushes for 30 s.
const STOP_WITHIN: Duration = Duration::from_mins(1);
/// Where the check of an api writes, out of the way of the tenant `default`.
const CHECK_TENANT: &str = "stack";

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `millpond api`.
    Api,
    /// `millpond writer`.
    Writer,
    /// `millpond sweeper`.
    Sweeper,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Writer => "writer",
            Self::Sweeper => "sweeper",
        })
    }
}

/// What a role needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The TOML file.
    pub config: PathBuf,
    /// The file with the shards' password.
    pub password: PathBuf,
    /// Where logs are written.
    pub dir: PathBuf,
    /// Further variables of its processes.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// One process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Role {
    pub(crate) kind: Kind,
    name: String,
    pub(crate) process: Process,
    port: u16,
    ops_port: u16,
    /// Further variables, of this process alone.
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

/// The released binary with these settings; a command follows.
pub fn millpond(settings: &Settings) -> Result<Command> {
    millpond_at(&binary_path(), settings)
}

fn millpond_at(binary: &Path, settings: &Settings) -> Result<Command> {
    ensure!(binary.exists(), "the binary is not built: run tests/stack");
    let mut command = Command::new(binary);
    command.arg("--config").arg(&settings.config).current_dir(&settings.dir);
    command.env_remove("PGPASSFILE").env_remove("PGPASSWORD");
    // The tests' own variables are no settings.
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("MILLPOND_")) {
        command.env_remove(name);
    }
    command.envs(&settings.environment);
    Ok(command)
}

/// Runs the released binary to its end.
pub async fn run(settings: &Settings, arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::from(millpond(settings)?);
    let output = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
    output.with_context(|| format!("run millpond {}", arguments.join(" ")))
}

/// Makes topics, tables and the first topology.
pub async fn init(settings: &Settings) -> Result<()> {
    let output = run(settings, &["init"]).await?;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "millpond init ended with {}: {said}{error}", output.status);
    Ok(())
}

impl Role {
    /// Starts the `number`th of its kind. It is not ready yet.
    pub fn start(kind: Kind, number: usize, settings: &Settings, life: Life) -> Result<Self> {
        Self::start_with(kind, number, (settings, BTreeMap::new()), life)
    }

    /// As [`Role::start`], with further variables of this process alone.
    pub fn start_with(
        kind: Kind,
        number: usize,
        (settings, environment): (&Settings, BTreeMap<String, String>),
        life: Life,
    ) -> Result<Self> {
        let [port, ops_port] = ports::free()?;
        let name = format!("{kind}-{number}");
        let process = spawn((kind, life), &name, [port, ops_port], (settings, &environment))?;
        Ok(Self { kind, name, process, port, ops_port, environment })
    }

    /// Starts it again on its ports when it has ended; whether it had.
    pub fn start_again(&mut self, settings: &Settings) -> Result<bool> {
        let dead = !self.process.is_alive();
        if dead {
            let life = self.process.life();
            let ports = [self.port, self.ops_port];
            self.process = spawn((self.kind, life), &self.name, ports, (settings, &self.environment))?;
        }
        Ok(dead)
    }

    /// The number of its process, the last one when it does not run.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// It runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// It stands still, with its connections open, until [`Role::resume`].
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// It goes on after [`Role::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// The end of its log, for a message.
    pub fn tail(&self) -> String {
        self.process.tail()
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&mut self) -> Result<()> {
        let ops = Http::new(self.ops_socket());
        let ready = until_async(READY_WITHIN, async || {
            let alive = self.process.is_alive();
            !alive || ops.get("/readyz").send().await.is_ok_and(|answer| answer.status == 200)
        });
        let ready = ready.await && self.process.is_alive();
        ensure!(ready, "{} is not ready{}", self.name, self.process.tail());
        Ok(())
    }

    /// As [`Role::until_ready`]; an api until a write through it is applied, too.
    pub async fn until_works(&mut self) -> Result<()> {
        self.until_ready().await?;
        if self.kind != Kind::Api {
            return Ok(());
        }
        let put = Http::new(self.socket());
        let put = put.put(&format!("/kv/{}", self.name), "ready").header("KV-Tenant", CHECK_TENANT);
        let answer = put.header("Prefer", "wait=30").send().await?;
        ensure!(
            answer.status == 200,
            "{} does not apply a write: {answer:?}{}",
            self.name,
            self.process.tail()
        );
        Ok(())
    }

    /// Asks it to end.
    pub fn ask_to_end(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// After [`Role::ask_to_end`]: waits until it has ended, and kills it when it does not. A second signal would hurry it.
    pub fn end(&mut self) -> Result<()> {
        self.process.await_end(STOP_WITHIN)
    }

    /// Waits until it has ended by itself; its exit code, none when a signal has ended it.
    pub async fn ended(&mut self) -> Result<Option<i32>> {
        let ended = until_async(STOP_WITHIN, async || !self.process.is_alive()).await;
        ensure!(ended, "{} does not end{}", self.name, self.process.tail());
        Ok(self.process.exit_code())
    }

    /// Such as `api-0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `http://…`, of an api.
    pub fn address(&self) -> String {
        format!("http://{}", self.socket())
    }

    /// `http://…` of its ops listener.
    pub fn ops_address(&self) -> String {
        format!("http://{}", self.ops_socket())
    }

    /// Where an api listens.
    pub fn socket(&self) -> SocketAddr {
        (self.host(), self.port).into()
    }

    /// Where its ops listener does.
    pub fn ops_socket(&self) -> SocketAddr {
        (self.host(), self.ops_port).into()
    }

    fn host(&self) -> IpAddr {
        netns::address(&self.environment)
    }
}

fn spawn(
    (kind, life): (Kind, Life),
    name: &str,
    [port, ops_port]: [u16; 2],
    (settings, environment): (&Settings, &BTreeMap<String, String>),
) -> Result<Process> {
    // One role may be of another build than the others.
    let other = environment.get(BINARY).map(PathBuf::from);
    let mut command = millpond_at(&other.unwrap_or_else(binary_path), settings)?;
    command.envs(environment);
    for ours in [BINARY, netns::NAME, netns::ADDRESS] {
        command.env_remove(ours);
    }
    command.arg(kind.to_string());
    let at = |port| SocketAddr::new(netns::address(environment), port).to_string();
    if kind == Kind::Api {
        command.args(["--listen", &at(port)]);
    }
    command.args(["--ops-listen", &at(ops_port)]);
    let within = netns::prefix(environment);
    Process::spawn(&command, &within, &settings.dir.join(format!("{name}.log")), life)
}
