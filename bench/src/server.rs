//! A server to load: the released binary on free ports and a temporary folder, or one that runs already.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;
use tempfile::TempDir;

/// Which server.
#[derive(Args)]
pub(crate) struct Target {
    /// The binary to start on free ports, with data in a temporary folder.
    #[arg(long, default_value = "target/release/millpond")]
    binary: PathBuf,
    /// A server that runs already, instead.
    #[arg(long, requires = "pid", value_name = "ADDRESS")]
    server: Option<SocketAddr>,
    /// Its process, whose CPU time is counted.
    #[arg(long)]
    pid: Option<u32>,
}

/// A server that answers.
pub(crate) struct Server {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Whose CPU time counts.
    pub(crate) pid: u32,
    started: Option<(Child, TempDir)>,
}

impl Target {
    /// Starts the server, or takes the one that runs.
    pub(crate) fn open(&self) -> Result<Server> {
        if let (Some(address), Some(pid)) = (self.server, self.pid) {
            return Ok(Server { address, pid, started: None });
        }
        let folder = TempDir::new().context("make a folder")?;
        let mut child = Command::new(&self.binary)
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}; cargo build --release makes it", self.binary.display()))?;
        let output = child.stdout.take().context("its output is piped")?;
        let line = BufReader::new(output).lines().next().context("the server says nothing")??;
        let (_, rest) = line.split_once("http://").context("it says where it listens")?;
        let address =
            rest.split_whitespace().next().unwrap_or_default().parse().context("read its address")?;
        Ok(Server { address, pid: child.id(), started: Some((child, folder)) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.started {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}
