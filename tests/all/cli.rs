//! The command line against the released binary: what it prints, how it ends, and what it does to a terminal.
//!
//! Not here: imports through kills (`import.rs`), and tokens. Invariant: a test looks at exit code, output and errors
//! apart.

mod batch;
mod doctor;
mod export;
mod people;
mod scan;

use std::{
    fs::File,
    io::Read,
    process::{Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use millpond_tests::server::{Server, millpond};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use tokio::{io::AsyncWriteExt, process::Command};

/// How a command ended, and what it said.
struct Said {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), out: output.stdout, err }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.out).with_context(|| format!("{}{}", self.text(), self.err))
    }

    /// That it ended so.
    fn ended(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "it ended with {:?}: {}{}", self.code, self.text(), self.err);
        Ok(self)
    }
}

/// A command that talks to this server.
fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = millpond();
    command
        .args(arguments)
        .env("MILLPOND_SERVER", format!("http://{}", server.address))
        .env("MILLPOND_OPS", format!("http://{}", server.ops_address))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn run(server: &Server, arguments: &[&str]) -> Result<Said> {
    Ok(Said::of(command(server, arguments).output().await?))
}

/// As [`run`], with something on standard input.
async fn feed(server: &Server, arguments: &[&str], input: &[u8]) -> Result<Said> {
    let mut command = command(server, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("its input is piped")?;
    // One that has ended reads no more; its end says why.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    Ok(Said::of(child.wait_with_output().await?))
}

/// What a terminal of 80 columns gets of a command; both of its streams.
async fn on_terminal(server: &Server, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    let name = ptsname(&controller, Vec::new())?;
    let terminal = File::from(rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?);
    let mut command = command(server, arguments);
    command.env_remove("NO_COLOR").envs(environment.iter().copied());
    command.stdout(terminal.try_clone()?).stderr(terminal);
    let reading = tokio::task::spawn_blocking(move || {
        let mut said = Vec::new();
        // A terminal ends in an error when the last process has closed it.
        let _ = File::from(controller).read_to_end(&mut said);
        said
    });
    let mut child = command.spawn()?;
    drop(command);
    child.wait().await?;
    Ok(String::from_utf8_lossy(&reading.await?).replace("\r\n", "\n"))
}

/// Puts a value through the command line and waits until it is applied.
async fn put(server: &Server, key: &str, value: &str) -> Result<()> {
    run(server, &["put", key, value, "--wait", "30s"]).await?.ended(0)?;
    Ok(())
}

/// Operations that put this value under so many keys.
fn puts(keys: usize, value: &str) -> String {
    let line = |n| format!("{{\"op\":\"put\",\"key\":\"k{n:06}\",\"value\":\"{value}\"}}\n");
    (0..keys).map(line).collect::<Vec<_>>().concat()
}
