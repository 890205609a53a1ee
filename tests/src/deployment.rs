//! A deployment of a test's own: its topics, two databases as two shards, and any number of api, writer and sweeper
//! processes of the released binary.
//!
//! Not the engines: those are the suite's shared ones, or the test's own. Invariant: everything that it made is gone
//! with the value, whatever became of the test. With the variable `MILLPOND_TEST_KEEP` its folder stays.

mod engines;
mod inside;
mod topics;

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, path::Path, process::Output, time::Duration};

use anyhow::{Context, Result, ensure};
use rand::distr::{Alphanumeric, SampleString};
use rustix::process::Signal;
use tempfile::TempDir;

pub use self::{engines::Engines, topics::Topics};
use crate::{
    http::Http,
    postgres::psql,
    process::{Life, until},
    roles::{self, Config, Kind, Role, Settings},
    server::binary,
};

/// How many shards it has.
const SHARDS: usize = 2;
/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// P. Few start sooner.
    pub partitions: u32,
    /// How many processes of each role.
    pub apis: usize,
    /// As above.
    pub writers: usize,
    /// As above.
    pub sweepers: usize,
    /// Further sections of the TOML file, such as `[sweeper]` or `[kafka.properties]`.
    pub more: String,
    /// Further variables of its processes.
    pub environment: BTreeMap<String, String>,
}

impl Default for Options {
    /// One of everything, no sweeper.
    fn default() -> Self {
        Self {
            partitions: 4,
            apis: 1,
            writers: 1,
            sweepers: 0,
            more: String::new(),
            environment: BTreeMap::new(),
        }
    }
}

/// A process and its clients.
struct Member {
    role: Role,
    http: Http,
    ops: Http,
}

/// A running deployment.
pub struct Deployment {
    // In the order in which it ends.
    members: Vec<Member>,
    databases: Vec<String>,
    engines: Engines,
    prefix: String,
    partitions: u32,
    /// The node that is every shard's primary.
    primary: usize,
    settings: Settings,
    folder: Option<TempDir>,
}

impl Deployment {
    /// On the suite's shared engines, ready: every api has had a write applied.
    pub async fn start(options: &Options) -> Result<Self> {
        Self::start_on(Engines::shared()?, options).await
    }

    /// As [`Deployment::start`], on these engines.
    pub async fn start_on(engines: Engines, options: &Options) -> Result<Self> {
        let mut deployment = Self::bare(engines, options).await?;
        roles::init(&deployment.settings).await?;
        for (kind, count) in
            [(Kind::Api, options.apis), (Kind::Writer, options.writers), (Kind::Sweeper, options.sweepers)]
        {
            for _ in 0..count {
                deployment.spawn(kind)?;
            }
        }
        deployment.until_ready().await?;
        Ok(deployment)
    }

    /// Databases and a configuration, without `millpond init` and without any role.
    pub async fn bare(engines: Engines, options: &Options) -> Result<Self> {
        tokio::task::spawn_blocking(binary).await?;
        let folder = tempfile::Builder::new().prefix("millpond-deployment-").tempdir()?;
        let id = Alphanumeric.sample_string(&mut rand::rng(), 12).to_lowercase();
        let dir = folder.path().to_owned();
        let settings = Settings {
            config: dir.join("millpond.toml"),
            password: dir.join("password"),
            dir,
            environment: options.environment.clone(),
        };
        let mut deployment = Self {
            members: Vec::new(),
            databases: Vec::new(),
            engines,
            prefix: format!("test-{id}"),
            partitions: options.partitions,
            primary: 0,
            settings,
            folder: Some(folder),
        };
        println!("deployment test-{id} in {}", deployment.dir().display());
        std::fs::write(&deployment.settings.password, deployment.engines.password())?;
        deployment.make_databases(&id)?;
        deployment.configure(&options.more)?;
        Ok(deployment)
    }

    /// Writes the configuration anew, with these further sections.
    pub fn configure(&self, more: &str) -> Result<()> {
        let nodes =
            |shard| (0..self.engines.of(shard).nodes()).map(move |node| self.address(shard, node)).collect();
        let config = Config {
            kafka: self.engines.kafka().to_owned(),
            dev: self.engines.dev(),
            prefix: &self.prefix,
            partitions: self.partitions,
            shards: (0..SHARDS).map(nodes).collect(),
            more,
        };
        config.write(&self.settings)
    }

    /// Runs `millpond --config FILE` with these arguments to its end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        roles::run(&self.settings, arguments).await
    }

    /// `millpond --config FILE` with these arguments, to be started.
    pub fn command(&self, arguments: &[&str]) -> Result<tokio::process::Command> {
        let mut command = tokio::process::Command::from(roles::millpond(&self.settings)?);
        command.args(arguments);
        Ok(command)
    }

    /// Makes a shard's database again, on an empty server in the place of the one that had it.
    pub fn make_again(&self, shard: usize) -> Result<()> {
        let create = format!("CREATE DATABASE {}", self.databases[shard]);
        psql(&self.engines.of(shard).url(0, "postgres"), &create)?;
        Ok(())
    }

    /// Makes one more database, which no shard has yet; its name.
    pub fn make_database(&mut self) -> Result<String> {
        let id = Alphanumeric.sample_string(&mut rand::rng(), 12).to_lowercase();
        let name = format!("test_{id}");
        psql(&self.engines.url(0, "postgres"), &format!("CREATE DATABASE {name}"))?;
        self.databases.push(name.clone());
        Ok(name)
    }

    /// A database of its primary, without the password.
    pub fn address_of(&self, database: &str) -> String {
        self.engines.address(self.primary, database)
    }

    /// The name of a shard's database.
    pub fn database(&self, shard: usize) -> &str {
        &self.databases[shard]
    }

    /// A shard is served from this database now.
    pub fn serves(&mut self, shard: usize, database: &str) {
        if let Some(at) = self.databases.iter().position(|name| name == database) {
            self.databases.swap(shard, at);
        }
    }

    /// Starts one more process; its number among those of its kind. It is not ready yet.
    pub fn spawn(&mut self, kind: Kind) -> Result<usize> {
        self.spawn_with(kind, BTreeMap::new())
    }

    /// As [`Deployment::spawn`], with further variables, which it keeps when it is started again.
    pub fn spawn_with(&mut self, kind: Kind, environment: BTreeMap<String, String>) -> Result<usize> {
        let number = self.count(kind);
        let role = Role::start_with(kind, number, (&self.settings, environment), Life::Owned)?;
        let (http, ops) = (Http::new(role.socket()), Http::new(role.ops_socket()));
        self.members.push(Member { role, http, ops });
        Ok(number)
    }

    /// Waits until all that run are ready, and a write through every api was applied.
    pub async fn until_ready(&mut self) -> Result<()> {
        for member in &mut self.members {
            if member.role.is_alive() {
                member.role.until_works().await?;
            }
        }
        Ok(())
    }

    /// How many processes of a kind there are, dead ones included.
    pub fn count(&self, kind: Kind) -> usize {
        self.members.iter().filter(|member| member.role.kind == kind).count()
    }

    /// Calls an api.
    pub fn api(&self, number: usize) -> &Http {
        &self.member(Kind::Api, number).http
    }

    /// Where an api listens.
    pub fn address_of_api(&self, number: usize) -> SocketAddr {
        self.member(Kind::Api, number).role.socket()
    }

    /// Where a role's ops listener listens.
    pub fn ops_address(&self, kind: Kind, number: usize) -> SocketAddr {
        self.member(kind, number).role.ops_socket()
    }

    /// Calls a role's ops listener.
    pub fn ops(&self, kind: Kind, number: usize) -> &Http {
        &self.member(kind, number).ops
    }

    /// A role's process, to be killed, ended or started again.
    pub fn role(&mut self, kind: Kind, number: usize) -> &mut Role {
        let mut found = self.members.iter_mut().filter(|member| member.role.kind == kind);
        &mut found.nth(number).expect("the test has started it").role
    }

    /// kill -9.
    pub fn kill(&mut self, kind: Kind, number: usize) -> Result<()> {
        self.role(kind, number).kill()
    }

    /// SIGTERM, and its exit code.
    pub async fn terminate(&mut self, kind: Kind, number: usize) -> Result<Option<i32>> {
        let role = self.role(kind, number);
        role.ask_to_end()?;
        role.ended().await
    }

    /// Starts a role that has ended again, on its ports, and waits until it is ready.
    pub async fn start_again(&mut self, kind: Kind, number: usize) -> Result<()> {
        let settings = self.settings.clone();
        let role = self.role(kind, number);
        ensure!(role.start_again(&settings)?, "{} runs already", role.name());
        role.until_ready().await
    }

    fn member(&self, kind: Kind, number: usize) -> &Member {
        let mut found = self.members.iter().filter(|member| member.role.kind == kind);
        found.nth(number).expect("the test has started it")
    }

    /// Before the names of its topics and groups.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The mutations topic.
    pub fn topic(&self) -> String {
        format!("{}.mutations.1", self.prefix)
    }

    /// P.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// `host:port` of the broker.
    pub fn kafka(&self) -> &str {
        self.engines.kafka()
    }

    /// The password of its databases.
    pub fn password(&self) -> &str {
        self.engines.password()
    }

    /// Its topics, for an operator.
    pub fn topics(&self) -> Result<Topics> {
        Topics::connect(self.kafka())
    }

    /// Its folder: configuration, MAC key, logs.
    pub fn dir(&self) -> &Path {
        &self.settings.dir
    }

    /// A shard's node, with its password; node 0 is the primary.
    pub fn url(&self, shard: usize, node: usize) -> String {
        self.engines.of(shard).url(node, &self.databases[shard])
    }

    /// As [`Deployment::url`], without the password: as the topology names it.
    pub fn address(&self, shard: usize, node: usize) -> String {
        self.engines.of(shard).address(node, &self.databases[shard])
    }

    /// Runs SQL on a shard's node and gives the rows, unaligned; node 0 is the primary.
    pub fn psql(&self, shard: usize, node: usize, sql: &str) -> Result<String> {
        Ok(psql(&self.url(shard, node), sql)?.trim().to_owned())
    }

    /// As [`Deployment::psql`], on the shard's primary.
    pub fn psql_primary(&self, shard: usize, sql: &str) -> Result<String> {
        self.psql(shard, self.primary, sql)
    }

    /// The test has promoted a node.
    pub fn primary_is(&mut self, node: usize) {
        self.primary = node;
    }

    /// The ends of all processes' logs, for a message.
    pub fn tails(&self) -> String {
        let mut tails = String::new();
        for member in &self.members {
            let _ = writeln!(tails, "{}", member.role.tail());
        }
        tails
    }

    fn make_databases(&mut self, id: &str) -> Result<()> {
        for shard in 0..SHARDS {
            let name = format!("test_{id}_{shard}");
            psql(&self.engines.of(shard).url(0, "postgres"), &format!("CREATE DATABASE {name}"))?;
            self.databases.push(name);
        }
        let replicas = |shard| (1..self.engines.of(shard).nodes()).map(move |node| (shard, node));
        for (shard, node) in (0..SHARDS).flat_map(replicas) {
            let (url, name) = (self.url(shard, node), &self.databases[shard]);
            let there = until(PATIENCE, || Ok(psql(&url, "SELECT 1").is_ok()))?;
            ensure!(there, "the database {name} does not come to node {node}");
        }
        Ok(())
    }

    fn clean_up(&mut self) -> Result<()> {
        // All at once, and for good: nobody waits for an orderly end.
        for member in &mut self.members {
            member.role.process.signal(Signal::KILL)?;
        }
        self.members.clear();
        for (shard, name) in self.databases.iter().enumerate() {
            let engines = self.engines.of(shard);
            if engines.has_shared_postgres() {
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                psql(&engines.url(0, "postgres"), &drop).with_context(|| format!("drop {name}"))?;
            }
        }
        if self.engines.has_shared_kafka() {
            self.topics()?.delete_all(&format!("{}.", self.prefix)).context("delete the topics")?;
        }
        Ok(())
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tails());
        }
        if let Err(error) = self.clean_up() {
            eprintln!("something of {} is left: {error:#}", self.prefix);
        }
        if let Some(folder) = self.folder.take()
            && std::env::var_os("MILLPOND_TEST_KEEP").is_some()
        {
            let _ = folder.keep();
        }
    }
}
