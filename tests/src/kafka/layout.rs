//! What lies in a broker's folder before it starts: its properties, and data that are formatted for its quorum.
//!
//! Not its process. Invariant: the properties of a broker are the common ones; what is its own is added at their end.

use std::{collections::BTreeMap, fmt::Write, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

use crate::process::{Life, run};

const PROPERTIES: &str = include_str!("../../config/kafka.properties");
const LOGGING: &str = include_str!("../../config/log4j2.properties");
/// The heap of the program that formats, MiB.
const FORMAT_HEAP_MIB: u32 = 128;

/// What is special about a broker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Special {
    /// Further variables of its process.
    pub environment: BTreeMap<String, String>,
    /// A second way to it, through something that can be cut.
    pub behind: Option<Behind>,
}

/// A second listener, for clients that come through a proxy: they are told to come back to it, never around it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Behind {
    /// Where the broker listens; the proxy's target.
    pub port: u16,
    /// Where the proxy listens.
    pub advertised: u16,
}

/// The controllers of a cluster: every broker is one.
pub(super) struct Quorum {
    /// The cluster's id.
    pub(super) cluster: String,
    /// Port and directory id of each; the node's id is its place, counted from 1.
    pub(super) controllers: Vec<(u16, String)>,
}

impl Quorum {
    /// Makes the folder of a node and formats the data in it.
    pub(super) fn format(&self, dir: &Path, node: usize, port: u16, special: &Special) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        let properties = dir.join("kafka.properties");
        std::fs::write(&properties, self.properties(dir, node, port, special))?;
        std::fs::write(dir.join("log4j2.properties"), LOGGING)?;
        let voters = (1..).zip(&self.controllers);
        let voters = voters.map(|(id, (port, directory))| format!("{id}@127.0.0.1:{port}:{directory}"));
        let mut format = java(dir, Life::Owned, FORMAT_HEAP_MIB)?;
        format.args(["kafka.tools.StorageTool", "format", "-t", &self.cluster, "--initial-controllers"]);
        format.arg(voters.collect::<Vec<_>>().join(",")).arg("-c").arg(&properties);
        run(&mut format).context("format the Kafka broker's data")?;
        Ok(())
    }

    fn properties(&self, dir: &Path, node: usize, port: u16, special: &Special) -> String {
        let at = |port| format!("127.0.0.1:{port}");
        let [own, controller] = [port, self.controllers[node].0].map(at);
        let controllers: Vec<_> = self.controllers.iter().map(|(port, _)| at(*port)).collect();
        let mut listeners = format!("PLAINTEXT://{own},CONTROLLER://{controller}");
        let mut advertised = listeners.clone();
        let mut security = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
        if let Some(behind) = special.behind {
            let _ = write!(listeners, ",PROXIED://{}", at(behind.port));
            let _ = write!(advertised, ",PROXIED://{}", at(behind.advertised));
            security += ",PROXIED:PLAINTEXT";
        }
        let mut text = format!(
            "{PROPERTIES}\nnode.id={}\nlisteners={listeners}\nadvertised.listeners={advertised}\n\
             listener.security.protocol.map={security}\ncontroller.quorum.bootstrap.servers={}\nlog.dirs={}\n",
            node + 1,
            controllers.join(","),
            dir.join("data").display()
        );
        if self.controllers.len() > 1 {
            text += REPLICATED;
        }
        text
    }
}

/// What the properties of a lone broker say otherwise.
const REPLICATED: &str = "\
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
replica.lag.time.max.ms=4000
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
broker.session.timeout.ms=4000
";

/// A new id in Kafka's form: 16 bytes in 22 characters.
pub(super) fn random_id() -> String {
    // Some first characters make it look like an option, and the last one has but two bits.
    format!("{}A", Alphanumeric.sample_string(&mut rand::rng(), 21))
}

/// `java` with the broker's jars. Only one that lives long is worth being compiled well.
pub(super) fn java(dir: &Path, life: Life, heap_mib: u32) -> Result<Command> {
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka");
    ensure!(
        jars.join("pom.xml").exists(),
        "the Kafka broker's jars are missing: run tests/run.sh or tests/stack"
    );
    let logging = dir.join("log4j2.properties");
    let mut command = Command::new("java");
    command.arg(format!("-Xmx{heap_mib}m")).arg("-XX:+UseSerialGC");
    if life == Life::Owned {
        command.arg("-XX:TieredStopAtLevel=1");
    }
    command.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    command.arg("-cp").arg(jars.join("*"));
    Ok(command)
}
