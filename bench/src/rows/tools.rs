//! What `bench/table` prepares beside this program, and servers of ours to start.
//!
//! Invariant: a server ends with the value.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::server::without_settings;

/// A file beside this program, in the folder of the release build.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().context("find this program")?;
    let path = here.parent().context("this program is in a folder")?.join(name);
    ensure!(path.exists(), "{} is not built; bench/table builds it", path.display());
    Ok(path)
}

/// A program that serves until its input ends.
pub(crate) struct Served {
    child: Child,
    /// Where.
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Starts an example of this package, which says `listening ADDRESS` first.
    pub(crate) fn example(name: &str, arguments: &[&Path]) -> Result<Self> {
        let mut command = Command::new(beside(&format!("examples/{name}"))?);
        command.args(arguments);
        Self::start(command, |line| Some(line.strip_prefix("listening ")?.to_owned()))
    }

    /// Starts bare hyper.
    pub(crate) fn bare() -> Result<Self> {
        let mut command = Command::new(beside("millpond-bench")?);
        command.arg("echo");
        Self::start(command, address_in)
    }

    /// Starts the embedded default.
    pub(crate) fn embedded(data: &Path) -> Result<Self> {
        let mut command = Command::new(beside("millpond")?);
        command.args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir"]).arg(data);
        Self::start(command, address_in)
    }

    fn start(mut command: Command, address: impl Fn(&str) -> Option<String>) -> Result<Self> {
        without_settings(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).env("RUST_LOG", "warn");
        let mut child = command.spawn().context("start a server")?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let said = lines.next().context("the server says nothing")??;
        // It may go on talking.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address(&said).and_then(|text| text.parse().ok());
        Ok(Self { child, address: address.with_context(|| format!("find an address in {said}"))? })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The first `http://` address of a line.
pub(crate) fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    Some(rest.split_whitespace().next()?.trim_end_matches(['/', ',', '.']).to_owned())
}
