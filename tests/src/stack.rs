//! A stack that stays: Kafka, two Postgres shards with a replica each, two apis, two writers, a sweeper, as detached
//! processes on free ports of the loopback.
//!
//! Not for a test's own engines. Invariant: what runs is written down in the stack's folder; what could not be brought
//! up whole is ended.

mod describe;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    kafka::Broker,
    postgres::{Cluster, Secrets},
    process::Life,
    roles::{self, Config, Kind, Role, Settings},
    signals::Asked,
};

/// The first generation of the log.
const TOPIC: &str = "millpond.mutations.1";
const PARTITIONS: u32 = 8;
const SHARDS: usize = 2;
const ROLES: [(Kind, usize); 3] = [(Kind::Api, 2), (Kind::Writer, 2), (Kind::Sweeper, 1)];
/// Where it is written down, in its folder.
const STATE: &str = "stack.json";

/// A stack, running or not.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stack {
    // In the order in which they end when a start fails.
    roles: Vec<Role>,
    shards: Vec<Cluster>,
    broker: Broker,
    settings: Settings,
}

/// The stack that runs in a folder, brought up when there is none.
///
/// # Errors
/// It is up in part; or it cannot be brought up, and nothing of it is left.
pub async fn up(dir: &Path) -> Result<Stack> {
    if let Some(mut stack) = Stack::load(dir)? {
        let dead = stack.dead();
        ensure!(
            dead.is_empty(),
            "of the stack in {} these have died: {}. Run tests/stack start",
            dir.display(),
            dead.join(", ")
        );
        return Ok(stack);
    }
    let dir = make_folder(dir)?;
    let made = make(&dir).await;
    if made.is_err() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    made
}

/// Starts again what has died, on the same ports, and waits as [`up`] does.
pub async fn start(dir: &Path) -> Result<Stack> {
    let mut stack = Stack::load(dir)?.with_context(|| format!("there is no stack in {}", dir.display()))?;
    if !stack.broker.is_alive() {
        say("starting kafka");
        stack.broker.start_again()?;
        stack.save()?;
    }
    for number in 0..stack.shards.len() {
        for node in 0..stack.shards[number].nodes() {
            if !stack.shards[number].is_alive(node) {
                say(&format!("starting {}", node_name(number, node)));
                stack.shards[number].start_again(node)?;
                stack.save()?;
            }
        }
    }
    for number in 0..stack.roles.len() {
        if stack.roles[number].start_again(&stack.settings)? {
            say(&format!("starting {}", stack.roles[number].name()));
            stack.save()?;
        }
    }
    stack.until_ready().await?;
    Ok(stack)
}

/// Ends everything and removes the folder. Whether there was a stack.
pub fn down(dir: &Path) -> Result<bool> {
    let Some(mut stack) = Stack::load(dir)? else { return Ok(false) };
    stack.roles.iter_mut().try_for_each(Role::ask_to_end)?;
    stack.roles.iter_mut().try_for_each(Role::end)?;
    for shard in &mut stack.shards {
        // A replica after its primary has nothing left to wait for.
        (0..shard.nodes()).try_for_each(|node| shard.stop(node))?;
    }
    stack.broker.stop()?;
    std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    Ok(true)
}

async fn make(dir: &Path) -> Result<Stack> {
    let mut asked = Asked::listen()?;
    let own = dir.to_owned();
    say("starting kafka and postgres");
    // Not given up half way: what has started is known only when it is done.
    let mut stack = tokio::task::spawn_blocking(move || Stack::with_engines(&own)).await??;
    say("starting the roles");
    tokio::select! {
        ready = stack.add_roles() => ready?,
        signal = asked.next() => bail!("interrupted by signal {}", signal.as_raw()),
    }
    stack.save()?;
    Ok(stack)
}

impl Stack {
    async fn add_roles(&mut self) -> Result<()> {
        roles::init(&self.settings).await?;
        for (kind, count) in ROLES {
            for number in 0..count {
                self.roles.push(Role::start(kind, number, &self.settings, Life::Detached)?);
            }
        }
        self.until_ready().await
    }

    fn with_engines(dir: &Path) -> Result<Self> {
        let secrets = Secrets::create(dir)?;
        let (broker, shards) = thread::scope(|scope| {
            let broker = scope.spawn(|| Broker::start(&dir.join("kafka"), Life::Detached));
            let secrets = &secrets;
            let shards: Vec<_> = (0..SHARDS)
                .map(|number| {
                    let dir = dir.join(format!("shard-{number}"));
                    scope.spawn(move || Cluster::start(&dir, secrets, 1, Life::Detached))
                })
                .collect();
            let shards: Vec<_> = shards.into_iter().map(thread::ScopedJoinHandle::join).collect();
            (broker.join(), shards)
        });
        let panicked = |_| anyhow!("the start of an engine panicked");
        let broker = broker.map_err(panicked)?;
        let shards: Result<Vec<_>> = shards.into_iter().map(|shard| shard.map_err(panicked)?).collect();
        let settings = Settings {
            config: dir.join("millpond.toml"),
            password: secrets.millpond_file,
            dir: dir.to_owned(),
            environment: BTreeMap::new(),
        };
        let stack = Self { roles: Vec::new(), shards: shards?, broker: broker?, settings };
        stack.config().write(&stack.settings)?;
        Ok(stack)
    }

    /// The TOML file for the command line.
    fn config(&self) -> Config<'_> {
        let nodes = |shard: &Cluster| {
            (0..shard.nodes()).map(|node| shard.url_without_password(node, "millpond")).collect()
        };
        Config {
            kafka: self.broker.address(),
            dev: true,
            prefix: "millpond",
            partitions: PARTITIONS,
            shards: self.shards.iter().map(nodes).collect(),
            more: "",
        }
    }

    async fn until_ready(&mut self) -> Result<()> {
        for role in &mut self.roles {
            role.until_works().await?;
        }
        Ok(())
    }

    /// The names of what does not run.
    fn dead(&mut self) -> Vec<String> {
        let mut dead = Vec::new();
        if !self.broker.is_alive() {
            dead.push("kafka".to_owned());
        }
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let nodes = (0..shard.nodes()).filter(|node| !shard.is_alive(*node)).collect::<Vec<_>>();
            dead.extend(nodes.into_iter().map(|node| node_name(number, node)));
        }
        let roles = self
            .roles
            .iter_mut()
            .filter_map(|role| (!role.process.is_alive()).then(|| role.name().to_owned()));
        dead.extend(roles);
        dead
    }

    fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(STATE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Writes it down, whole or not at all; from then on what runs outlives this process.
    fn save(&mut self) -> Result<()> {
        let dir = &self.settings.dir;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&mut file, &self)?;
        file.persist(dir.join(STATE)).context("write the stack down")?;
        self.broker.keep();
        self.shards.iter_mut().for_each(Cluster::keep);
        self.roles.iter_mut().for_each(|role| role.process.keep());
        Ok(())
    }
}

fn node_name(shard: usize, node: usize) -> String {
    if node == 0 { format!("shard-{shard}'s primary") } else { format!("shard-{shard}'s replica {node}") }
}

/// The folder as an absolute path; it was missing or empty.
fn make_folder(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    if std::fs::read_dir(&dir)?.next().is_some() {
        bail!("{} is not empty and holds no stack that is up", dir.display());
    }
    Ok(dir)
}

/// Progress, for people.
fn say(what: &str) {
    eprintln!("== {what}");
}
