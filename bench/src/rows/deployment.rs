//! A deployment on the engines: `millpond init`, then roles of the release build as processes.
//!
//! Not here: Kafka and Postgres. Invariant: the roles, and the databases, go with the value.

use std::{
    fmt::Write,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;

use super::{
    calls::{Draw, marks, puts},
    drive::{Call, Drive},
    engines::{Database, Engines},
    tools::beside,
};
use crate::server::without_settings;

/// How long a role may take until it works.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How long applying what was accepted may take.
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(3);
/// A deployment that runs.
pub(crate) struct Deployment {
    api: Role,
    writers: Vec<Role>,
    /// Of every shard.
    pub(crate) databases: Vec<Database>,
    config: PathBuf,
    partitions: u32,
    _folder: tempfile::TempDir,
}

struct Role {
    child: Child,
    address: SocketAddr,
}

impl Drop for Role {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Deployment {
    /// So many partitions on so many shards, an api and a writer, and a first write that is applied.
    pub(crate) async fn start(engines: &Engines, partitions: u32, shards: usize) -> Result<Self> {
        let folder = tempfile::TempDir::new().context("make a folder")?;
        let databases = (0..shards).map(|_| engines.database()).collect::<Result<Vec<_>>>()?;
        let config = folder.path().join("millpond.toml");
        let password = folder.path().join("password");
        std::fs::write(&password, databases[0].password())?;
        let mut text = format!(
            "mac_key_file = \"{}\"\n[kafka]\nbrokers = \"{}\"\nprefix = \"row-{:08x}\"\ndev = true\n\
             [log]\npartitions = {partitions}\n[shards]\ncount = {shards}\npassword_file = \"{}\"\n",
            folder.path().join("mac.key").display(),
            engines.kafka,
            rand::random::<u32>(),
            password.display()
        );
        for (number, database) in databases.iter().enumerate() {
            let (primary, replica) = (database.address(), database.replica_address());
            let _ = write!(
                text,
                "[[shard]]\nname = \"shard-{number}\"\nprimary = \"{primary}\"\nreplicas = [\"{replica}\"]\n"
            );
        }
        std::fs::write(&config, text)?;
        private(&password)?;
        let output = millpond(&config)?.arg("init").output().context("run millpond init")?;
        ensure!(output.status.success(), "millpond init: {}", String::from_utf8_lossy(&output.stderr));
        let writers = vec![role(&config, "writer")?];
        let deployment =
            Self { api: role(&config, "api")?, writers, databases, config, partitions, _folder: folder };
        deployment.until_applied().await?;
        Ok(deployment)
    }

    /// Where its api listens.
    pub(crate) fn api(&self) -> SocketAddr {
        self.api.address
    }

    /// From here on nothing is applied.
    pub(crate) fn stop_writers(&mut self) {
        self.writers.clear();
    }

    /// From here on everything is.
    pub(crate) fn start_writer(&mut self) -> Result<()> {
        self.writers.push(role(&self.config, "writer")?);
        Ok(())
    }

    /// Waits until everything that was accepted is applied: a later write in every partition is.
    pub(crate) async fn until_caught_up(&self) -> Result<()> {
        let (began, marks) = (Instant::now(), Arc::new(marks(self.partitions)?));
        let connections = marks.len();
        let drive =
            Drive { address: self.api(), connections, length: Duration::MAX, expected: StatusCode::OK };
        loop {
            match drive.each(&marks).await {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > CAUGHT_UP_WITHIN => {
                    return Err(error.context("wait until all is applied"));
                }
                Err(_) => {}
            }
        }
    }

    /// Makes each of these batches once, a few at a time.
    pub(crate) async fn each(&self, calls: &Arc<Vec<Call>>) -> Result<()> {
        Drive { address: self.api(), connections: 4, length: Duration::MAX, expected: StatusCode::ACCEPTED }
            .each(calls)
            .await
    }

    /// A write through the api is applied: every role works.
    async fn until_applied(&self) -> Result<()> {
        let began = Instant::now();
        let calls = puts(&mut Draw::uniform(1_000, 0), 64, Some("wait=10"))?;
        loop {
            let drive = Drive {
                address: self.api(),
                connections: 1,
                length: Duration::from_millis(200),
                expected: StatusCode::OK,
            };
            match drive.run(&calls).await {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > READY_WITHIN => {
                    return Err(error.context("wait for the roles"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

fn private(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).context("keep the password private")
}

fn millpond(config: &std::path::Path) -> Result<Command> {
    let mut command = Command::new(beside("millpond")?);
    command
        .arg("--config")
        .arg(config)
        .env("RUST_LOG", "warn")
        .env_remove("PGPASSWORD")
        .env_remove("PGPASSFILE");
    without_settings(&mut command);
    Ok(command)
}

fn role(config: &std::path::Path, kind: &str) -> Result<Role> {
    let mut command = millpond(config)?;
    let [address, ops] = free_addresses()?;
    command.arg(kind).args(["--ops-listen", &ops.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
    if kind == "api" {
        command.args(["--listen", &address.to_string()]);
    }
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("start the {kind}"))?;
    let said = BufReader::new(child.stderr.take().context("its errors are piped")?);
    // Whatever it complains of is to be seen beside the table.
    std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}")));
    if let Some(status) = child.try_wait()? {
        bail!("the {kind} ended with {status}");
    }
    Ok(Role { child, address })
}

/// Two that nobody listens on just now.
fn free_addresses() -> Result<[SocketAddr; 2]> {
    let any = || TcpListener::bind("127.0.0.1:0").context("find a free port");
    let (one, other) = (any()?, any()?);
    Ok([one.local_addr()?, other.local_addr()?])
}
