//! The engines that a whole test suite shares: one broker, one Postgres primary with one replica.
//!
//! Invariant: they end with the value, and their data with them.

use std::{process::ExitStatus, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{
    folder::Folder,
    kafka::Broker,
    postgres::{Cluster, Secrets},
    process::Life,
    signals::Asked,
};

/// How long a command may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The engines, running.
pub struct Engines {
    broker: Broker,
    cluster: Cluster,
    // Last: goes when nothing writes there any more.
    _folder: Folder,
}

impl Engines {
    /// Starts them, side by side.
    pub fn start() -> Result<Self> {
        let folder = Folder::create()?;
        let secrets = Secrets::create(folder.path())?;
        let (kafka, postgres) = (folder.path().join("kafka"), folder.path().join("postgres"));
        let (broker, cluster) = thread::scope(|scope| {
            let broker = scope.spawn(|| Broker::start(&kafka, Life::Owned));
            let cluster = Cluster::start(&postgres, &secrets, 1, Life::Owned);
            (broker.join().map_err(|_| anyhow!("the start of the broker panicked")), cluster)
        });
        Ok(Self { broker: broker??, cluster: cluster?, _folder: folder })
    }

    /// The variables that tell tests where they are.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("MILLPOND_TEST_KAFKA", self.broker.address()),
            ("MILLPOND_TEST_POSTGRES", self.cluster.url(0, "postgres")),
            ("MILLPOND_TEST_POSTGRES_REPLICA", self.cluster.url(1, "postgres")),
        ]
    }
}

/// Starts the engines, runs a command with them, and ends them whatever becomes of it. Hands on SIGINT, SIGTERM and
/// SIGHUP. The exit code: the command's, or 128 and the signal's number.
pub async fn with_engines(command: &[String]) -> Result<u8> {
    let mut asked = Asked::listen()?;
    let engines = tokio::task::spawn_blocking(Engines::start).await??;
    let (program, arguments) = command.split_first().context("there is a command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(engines.environment())
        .spawn()
        .with_context(|| format!("run {program}"))?;
    let code = tokio::select! {
        status = child.wait() => code(status?),
        signal = asked.next() => {
            end(&mut child, signal).await?;
            128 + u8::try_from(signal.as_raw())?
        }
    };
    tokio::task::spawn_blocking(move || drop(engines)).await?;
    Ok(code)
}

async fn end(child: &mut Child, signal: Signal) -> Result<()> {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        // It may have had the terminal's signal already, and be gone.
        let _ = kill_process(pid, signal);
    }
    if timeout(END_WITHIN, child.wait()).await.is_err() {
        child.kill().await.context("kill the command")?;
    }
    Ok(())
}

fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
