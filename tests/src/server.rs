//! The released binary as a process: started on free ports, killed at will, always ended.
//!
//! Invariant: the process ends with the value, whatever happened to the test.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::http::Http;

/// How long a start or an end may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// Names a binary to be tested as it is.
pub(crate) const BINARY: &str = "MILLPOND_TEST_BINARY";

/// Where the released binary is, built or not.
pub(crate) fn binary_path() -> PathBuf {
    let released = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/millpond");
    std::env::var_os(BINARY).map_or_else(released, PathBuf::from)
}

/// The released binary, built when it is not up to date.
pub fn binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if std::env::var_os(BINARY).is_some() {
            return binary_path();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace");
        let built = std::process::Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--package", "millpond"])
            .current_dir(root)
            .status();
        assert!(built.is_ok_and(|status| status.success()), "cargo build --release fails");
        binary_path()
    })
}

/// The released binary as a command.
pub fn millpond() -> Command {
    let mut command = Command::new(binary());
    leave_out_own_variables(&mut command);
    command
}

/// The tests' own variables are no settings, and the binary refuses what it does not know.
fn leave_out_own_variables(command: &mut Command) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("MILLPOND_TEST_")) {
        command.env_remove(name);
    }
}

/// A running server.
pub struct Server {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    /// What it printed until it was ready.
    pub greeting: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its ops listener does.
    pub ops_address: SocketAddr,
    /// Calls it.
    pub http: Http,
    /// Calls its ops listener.
    pub ops: Http,
}

impl Server {
    /// Starts the binary on a data directory, on free ports.
    pub async fn start(data_dir: &Path) -> Result<Self> {
        Self::start_with(data_dir, Command::new(binary()), &[]).await
    }

    /// As [`Server::start`], with log segments that are quick to make.
    pub async fn small(data_dir: &Path) -> Result<Self> {
        let mut command = Command::new(binary());
        command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB");
        Self::start_with(data_dir, command, &[]).await
    }

    /// As [`Server::start`], behind another command (such as strace) and with more arguments.
    pub async fn start_with(data_dir: &Path, command: Command, arguments: &[&str]) -> Result<Self> {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_on(free, data_dir, command, arguments).await
    }

    /// As [`Server::start_with`], on an address of one's own, such as that of a server that was killed.
    pub async fn start_on(
        address: SocketAddr,
        data_dir: &Path,
        mut command: Command,
        arguments: &[&str],
    ) -> Result<Self> {
        leave_out_own_variables(&mut command);
        let mut child = command
            .args(["--listen", &address.to_string(), "--ops-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(arguments)
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the server")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut stdout = BufReader::new(stdout).lines();
        let mut greeting = String::new();
        let mut addresses = None;
        while addresses.is_none() || !greeting.contains("sqlite3 ") {
            let line = tokio::time::timeout(PATIENCE, stdout.next_line())
                .await
                .context("the server is not ready")??;
            let Some(line) = line else {
                bail!("the server ended early: {}; it printed: {greeting}", child.wait().await?)
            };
            addresses = addresses.or_else(|| listens(&line));
            greeting.push_str(&line);
            greeting.push('\n');
        }
        let (address, ops_address) = addresses.context("it says where it listens")?;
        let (http, ops) = (Http::new(address), Http::new(ops_address));
        Ok(Self { child, stdout, greeting, address, ops_address, http, ops })
    }

    /// The process's number.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid()?.to_string();
        let sent = std::process::Command::new("kill").args([format!("-{name}"), pid]).status()?;
        ensure!(sent.success(), "the signal {name} cannot be sent");
        Ok(())
    }

    /// kill -9.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill the server")
    }

    /// kill -9 of a server behind another command: its children first.
    pub async fn kill_traced(mut self) -> Result<()> {
        let pid = self.pid()?;
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in children.split_whitespace() {
            std::process::Command::new("kill").args(["-KILL", child]).status().context("kill the server")?;
        }
        self.ended().await?;
        Ok(())
    }

    /// Sends SIGTERM and waits until it has ended well. What it printed since it was ready.
    pub async fn terminate(mut self) -> Result<String> {
        self.signal("TERM")?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        ensure!(status.success(), "it ended with {status}");
        let mut rest = String::new();
        while let Some(line) = self.stdout.next_line().await? {
            rest.push_str(&line);
            rest.push('\n');
        }
        Ok(rest)
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> Result<std::process::ExitStatus> {
        Ok(tokio::time::timeout(PATIENCE, self.child.wait()).await.context("it does not end")??)
    }
}

/// A server on a data directory of its own that goes with it. Its segments are small: opening takes milliseconds.
pub struct Fresh {
    server: Server,
    dir: TempDir,
}

impl Fresh {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let server = Server::small(dir.path()).await?;
        Ok(Self { server, dir })
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The two apart, for a test that ends the server and starts another one.
    pub fn apart(self) -> (Server, TempDir) {
        (self.server, self.dir)
    }
}

impl std::ops::Deref for Fresh {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// The two addresses in `… listens on http://A … ops: http://B …`.
fn listens(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut addresses = line.split("http://").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    line.contains("listens on").then_some(())?;
    Some((addresses.next()??, addresses.next()??))
}
