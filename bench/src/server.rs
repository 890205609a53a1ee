//! A server to load: the released binary on free ports and a temporary folder, or one that runs already.
//!
//! Invariant: a server that was started here is gone when its [`Server`] is.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;
use tempfile::TempDir;

use crate::cpu::Family;

/// Which server.
#[derive(Args, Clone)]
pub(crate) struct Target {
    /// The binary to start on free ports, with data in a temporary folder.
    #[arg(long, default_value = "target/release/millpond")]
    binary: PathBuf,
    /// A server that runs already, instead: `http://127.0.0.1:7420`, or host and port alone.
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// A process whose CPU time is counted, with its descendants; repeat it for every role, broker and database.
    #[arg(long, value_name = "NAME=PID")]
    pid: Vec<Family>,
}

/// A server that answers.
pub(crate) struct Server {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Whose CPU time counts.
    pub(crate) processes: Vec<Family>,
    started: Option<(Child, TempDir)>,
}

impl Target {
    /// Starts the server, or takes the one that runs.
    pub(crate) fn open(&self) -> Result<Server> {
        let Some(address) = &self.address else { return self.start() };
        let address = resolve(address)?;
        Ok(Server { address, processes: self.pid.clone(), started: None })
    }

    /// Whether it is one of our own, and empty.
    pub(crate) fn is_fresh(&self) -> bool {
        self.address.is_none()
    }

    /// The processes that were named.
    pub(crate) fn processes(&self) -> &[Family] {
        &self.pid
    }

    fn start(&self) -> Result<Server> {
        let folder = TempDir::new().context("make a folder")?;
        let (child, said) = self.start_in(&folder.path().join("data"), &[])?;
        let mut processes = vec![Family { name: "server".to_owned(), pid: child.id() }];
        processes.extend_from_slice(&self.pid);
        Ok(Server { address: said.address, processes, started: Some((child, folder)) })
    }

    /// Starts the binary on free ports, with its data in this folder.
    pub(crate) fn start_in(&self, data: &Path, variables: &[(&str, String)]) -> Result<(Child, Said)> {
        let mut command = Command::new(&self.binary);
        without_settings(&mut command)
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .env("RUST_LOG", "warn")
            .envs(variables.iter().cloned());
        listening(&mut command)
            .with_context(|| format!("start {}; cargo build --release makes it", self.binary.display()))
    }
}

/// Where a server says that it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) address: SocketAddr,
    /// The same, where a server says only one.
    pub(crate) ops: SocketAddr,
}

/// Starts a process that says `http://ADDRESS` on its first line.
pub(crate) fn listening(command: &mut Command) -> Result<(Child, Said)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let said = said(&mut child);
    if said.is_err() {
        end(&mut child);
    }
    said.map(|said| (child, said))
}

fn said(child: &mut Child) -> Result<Said> {
    let output = child.stdout.take().context("its output is piped")?;
    let line = BufReader::new(output).lines().next().context("the server says nothing")??;
    let mut addresses = line.split("http://").skip(1).map(|rest| {
        let end = rest.find(|c: char| c.is_whitespace() || c == ')').unwrap_or(rest.len());
        rest[..end].parse::<SocketAddr>()
    });
    let address = addresses.next().context("it says where it listens")?.context("read its address")?;
    let ops = addresses.next().transpose().context("read its address")?.unwrap_or(address);
    Ok(Said { address, ops })
}

/// Settings of whoever started this, such as where a test's engines are, are not those of a server that it starts.
pub(crate) fn without_settings(command: &mut Command) -> &mut Command {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("MILLPOND_")) {
        command.env_remove(name);
    }
    command
}

/// Ends a process that was started here.
pub(crate) fn end(child: &mut Child) {
    let _gone = child.kill();
    let _reaped = child.wait();
}

fn resolve(url: &str) -> Result<SocketAddr> {
    let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let found = rest.to_socket_addrs().with_context(|| format!("{url} is no http://HOST:PORT"))?.next();
    found.with_context(|| format!("{url} has no address"))
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.started {
            end(child);
        }
    }
}
