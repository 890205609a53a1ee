//! A Postgres primary and its streaming replicas as processes.
//!
//! Not a client of it beyond psql. Invariant: ports and data stay the same however often a node is killed and started
//! again. Node 0 is the primary until a replica is promoted.

mod secrets;
mod user;

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

pub use self::secrets::Secrets;
use self::user::{User, program};
use crate::{
    folder::Folder,
    ports,
    process::{Life, Process, run, until},
};

/// How long a start may take, and a replica until it streams.
const START_WITHIN: Duration = Duration::from_mins(1);
/// How long an orderly end may take.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// What a node logs when it serves, a primary and a replica alike.
const STARTED: &str = "database system is ready to accept";
const SETTINGS: &str = include_str!("../config/postgresql.conf");
const ACCESS: &str = include_str!("../config/pg_hba.conf");
const ROLES: &str = include_str!("../config/roles.sql");

/// A primary and its replicas. They end with the value unless they are kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cluster {
    nodes: Vec<Node>,
    dir: PathBuf,
    life: Life,
    secrets: Secrets,
    #[serde(skip)]
    folder: Option<Folder>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Node {
    process: Process,
    port: u16,
}

impl Cluster {
    /// Starts one with data of its own, in a temporary folder that goes with it.
    pub fn fresh(replicas: usize) -> Result<Self> {
        let folder = Folder::create()?;
        let secrets = Secrets::create(folder.path())?;
        Self::in_folder(folder, &secrets, replicas)
    }

    /// As [`Cluster::fresh`], alone, for a role `millpond` that has this password elsewhere, too.
    pub fn fresh_beside(password: &str) -> Result<Self> {
        let folder = Folder::create()?;
        let secrets = Secrets::create_with(folder.path(), password.to_owned())?;
        Self::in_folder(folder, &secrets, 0)
    }

    fn in_folder(folder: Folder, secrets: &Secrets, replicas: usize) -> Result<Self> {
        let mut cluster = Self::start(&folder.path().join("cluster"), secrets, replicas, Life::Owned)?;
        cluster.folder = Some(folder);
        Ok(cluster)
    }

    /// Makes a folder, and in it a primary with the roles and with `replicas` replicas that stream.
    pub fn start(dir: &Path, secrets: &Secrets, replicas: usize, life: Life) -> Result<Self> {
        let user = User::find()?;
        make_folder(dir, &user)?;
        initdb(dir, secrets, &user)?;
        let mut cluster =
            Self { nodes: Vec::new(), dir: dir.to_owned(), life, secrets: secrets.clone(), folder: None };
        cluster.add_node()?;
        cluster.make_roles()?;
        for replica in 1..=replicas {
            cluster.base_backup(replica, &user)?;
            cluster.add_node()?;
        }
        cluster.until_streaming(replicas)?;
        Ok(cluster)
    }

    /// How many nodes it has; the primary is one.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The address of a node's database for the role `millpond`, with its password.
    pub fn url(&self, node: usize, database: &str) -> String {
        let (password, port) = (&self.secrets.millpond, self.nodes[node].port);
        format!("postgres://millpond:{password}@127.0.0.1:{port}/{database}")
    }

    /// The same without the password, for who has [`Cluster::secrets`].
    pub fn url_without_password(&self, node: usize, database: &str) -> String {
        format!("postgres://millpond@127.0.0.1:{}/{database}", self.nodes[node].port)
    }

    /// Its passwords, and the file for `PGPASSFILE`.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A node's port.
    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    /// The number of a node's process, the last one when it does not run.
    pub fn pid(&self, node: usize) -> u32 {
        self.nodes[node].process.pid()
    }

    /// A node runs.
    pub fn is_alive(&mut self, node: usize) -> bool {
        self.nodes[node].process.is_alive()
    }

    /// It outlives the value from now on, when its life is detached.
    pub fn keep(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.process.keep());
    }

    /// kill -9 of a node with all its backends.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].process.kill()
    }

    /// kill -9 of a node, and everything in its data directory is gone.
    pub fn lose(&mut self, node: usize) -> Result<()> {
        self.kill(node)?;
        std::fs::remove_dir_all(data(&self.dir, node)).context("delete a node's data")
    }

    /// An empty primary with the roles in the place of one that was lost, on its port.
    pub fn make_anew(&mut self) -> Result<()> {
        ensure!(!self.is_alive(0), "the Postgres node runs");
        initdb(&self.dir, &self.secrets, &User::find()?)?;
        self.nodes[0].process = self.spawn(0, self.nodes[0].port)?;
        self.until_ready(0)?;
        self.make_roles()
    }

    /// Ends a node in order: sessions are cut, and everything is written.
    pub fn stop(&mut self, node: usize) -> Result<()> {
        self.nodes[node].process.end(Signal::INT, STOP_WITHIN)
    }

    /// Starts a node again after an end, with its data on its port, and waits until it serves.
    pub fn start_again(&mut self, node: usize) -> Result<()> {
        ensure!(!self.is_alive(node), "the Postgres node runs already");
        // A backend of its last life may still write. When there is none, what that life locked is free, though a dead
        // process that nobody has buried makes Postgres believe otherwise.
        let (data, user) = (data(&self.dir, node).canonicalize()?, User::find()?);
        ensure!(
            until(STOP_WITHIN, || Ok(!user.works_in(&data)?))?,
            "a process still works in {}",
            data.display()
        );
        match std::fs::remove_file(data.join("postmaster.pid")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.nodes[node].process = self.spawn(node, self.nodes[node].port)?;
        self.until_ready(node)
    }

    /// Runs SQL on a node as a role (`postgres` or `millpond`) and gives the rows, unaligned.
    pub fn psql(&self, node: usize, role: &str, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.psql_command(node, role, database);
        run(psql.args(["-c", sql])).with_context(|| format!("run SQL as {role}"))
    }

    /// Waits until so many replicas stream from node 0.
    pub fn until_streaming(&self, replicas: usize) -> Result<()> {
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        let streaming = until(START_WITHIN, || {
            Ok(self.psql(0, "postgres", "postgres", sql)?.trim() == replicas.to_string())
        })?;
        ensure!(streaming, "the replicas do not stream");
        Ok(())
    }

    fn psql_command(&self, node: usize, role: &str, database: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.env("PGPASSFILE", &self.secrets.file).env_remove("PGPASSWORD").args([
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            &self.nodes[node].port.to_string(),
            "-U",
            role,
            "-d",
            database,
        ]);
        psql
    }

    fn add_node(&mut self) -> Result<()> {
        let [port] = ports::free()?;
        let node = self.nodes.len();
        let process = self.spawn(node, port)?;
        self.nodes.push(Node { process, port });
        self.until_ready(node)
    }

    fn spawn(&self, node: usize, port: u16) -> Result<Process> {
        let mut postgres = Command::new(program("postgres"));
        postgres.arg("-D").arg(data(&self.dir, node)).args(["-c", &format!("port={port}")]);
        for (setting, file) in [("config_file", "postgresql.conf"), ("hba_file", "pg_hba.conf")] {
            postgres.args(["-c", &format!("{setting}={}", self.dir.join(file).display())]);
        }
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        postgres.args(["-c", &format!("cluster_name=node-{node}")]);
        let log = self.dir.join(format!("node-{node}.log"));
        Process::spawn(&postgres, &User::find()?.prefix(), &log, self.life)
    }

    fn until_ready(&mut self, node: usize) -> Result<()> {
        let Node { process, port } = &mut self.nodes[node];
        let mut ask = Command::new(program("pg_isready"));
        ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
        process
            .until_ready(START_WITHIN, |said| Ok(said.contains(STARTED) && ask.status()?.success()))
            .with_context(|| format!("start Postgres node {node}"))
    }

    fn make_roles(&self) -> Result<()> {
        let script = self.dir.join("roles.sql");
        std::fs::write(&script, ROLES)?;
        let mut psql = self.psql_command(0, "postgres", "postgres");
        psql.env("MILLPOND_PASSWORD", &self.secrets.millpond);
        psql.env("REPLICATOR_PASSWORD", &self.secrets.replicator);
        run(psql.arg("-f").arg(script)).context("make the roles")?;
        Ok(())
    }

    fn base_backup(&self, replica: usize, user: &User) -> Result<()> {
        let primary = format!(
            "host=127.0.0.1 port={} user=replicator passfile={}",
            self.nodes[0].port,
            self.secrets.file.display()
        );
        let mut backup = Command::new(program("pg_basebackup"));
        backup.args(["--write-recovery-conf", "--create-slot", "--slot", &format!("replica_{replica}")]);
        backup.args(["--wal-method=stream", "--checkpoint=fast", "--no-sync", "-d", &primary]);
        user.run(backup.arg("-D").arg(data(&self.dir, replica))).context("copy the primary")?;
        Ok(())
    }
}

/// Runs SQL at an address with its password, and gives the rows, unaligned.
pub fn psql(url: &str, sql: &str) -> Result<String> {
    let mut psql = Command::new(program("psql"));
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
    run(&mut psql).context("run SQL")
}

fn data(dir: &Path, node: usize) -> PathBuf {
    dir.join(format!("node-{node}"))
}

fn make_folder(dir: &Path, user: &User) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(dir.join("postgresql.conf"), SETTINGS)?;
    std::fs::write(dir.join("pg_hba.conf"), ACCESS)?;
    user.own(dir)
}

/// Text is ordered by a language's rules, as on many a real server: who needs bytewise order has to say so.
fn initdb(dir: &Path, secrets: &Secrets, user: &User) -> Result<()> {
    let password = dir.join("superuser");
    std::fs::write(&password, &secrets.postgres)?;
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600))?;
    user.own(&password)?;
    let mut initdb = Command::new(program("initdb"));
    initdb.args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--data-checksums"]);
    initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]);
    initdb.arg("--pwfile").arg(&password).arg("-D").arg(data(dir, 0));
    user.run(&initdb).context("make the Postgres cluster")?;
    std::fs::remove_file(&password)?;
    Ok(())
}
