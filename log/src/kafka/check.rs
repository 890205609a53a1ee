//! The start check: are the topics what Millpond relies on?
//!
//! Invariant: a log with a setting that could lose or reorder records is not used, unless the operator accepts it.

use std::fmt;

use rdkafka::admin::ConfigResource;

use super::{
    admin,
    admin::Metadata,
    config::Config,
    topics::{Purpose, Topics, replication},
};
use crate::Error;

/// A group's member that died is noticed after this long at most, or there is a warning.
const SESSION_TIMEOUT_MS_MAX: i64 = 10_000;

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Do not start with any of these.
    pub mismatches: Vec<Mismatch>,
    /// For the operator to read.
    pub warnings: Vec<String>,
}

/// What a missing topic's mismatch names.
const MISSING: &str = "topic";

impl Report {
    /// Whether no topic is missing.
    pub(super) fn all_there(&self) -> bool {
        self.mismatches.iter().all(|mismatch| mismatch.setting != MISSING)
    }
}

/// Something that is not as Millpond relies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which topic.
    pub topic: String,
    /// Which setting of it; `accept` waives it by this name, or by the topic's.
    pub setting: String,
    /// What it is.
    pub value: String,
    /// What it must be.
    pub wanted: String,
    /// What puts it right.
    pub run: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, value, wanted, run } = self;
        write!(f, "topic {topic}: {setting} is {value}, and must be {wanted}: {run}")
    }
}

/// Compares the cluster with what is wanted of it.
pub(super) async fn check(config: &Config, topics: &Topics) -> Result<Report, Error> {
    let name = |purpose: Purpose| purpose.topic(&config.prefix, topics.generation);
    let metadata = admin::metadata(config, Purpose::ALL.map(name).to_vec()).await?;
    let there: Vec<Purpose> =
        Purpose::ALL.into_iter().filter(|purpose| metadata.topics.contains_key(&name(*purpose))).collect();
    let names = there.iter().map(|purpose| name(*purpose)).collect();
    let settings = admin::settings(config, names, metadata.broker).await?;
    let mut checker = Checker { config, topics, report: Report::default() };
    for purpose in Purpose::ALL {
        let resource = there.iter().position(|one| *one == purpose).and_then(|at| settings.get(at));
        checker.check(purpose, &metadata, resource);
    }
    if let Some(broker) = settings.get(there.len()) {
        checker.check_broker(broker);
    }
    Ok(checker.report)
}

struct Checker<'a> {
    config: &'a Config,
    topics: &'a Topics,
    report: Report,
}

impl Checker<'_> {
    fn check(&mut self, purpose: Purpose, metadata: &Metadata, resource: Option<&ConfigResource>) {
        let topic = purpose.topic(&self.config.prefix, self.topics.generation);
        let Some(described) = metadata.topics.get(&topic) else {
            return self.mismatch(&topic, MISSING, ["missing", "there"], "run `millpond init`".to_owned());
        };
        let partitions = purpose.partitions(self.topics);
        if purpose.pins_partitions() && described.partitions != partitions {
            let run =
                "the number of partitions is fixed for a generation: make the topic anew if it is empty";
            let (is, wanted) = (described.partitions.to_string(), partitions.to_string());
            self.mismatch(&topic, "partitions", [&is, &wanted], run.to_owned());
        }
        let replicas = usize::try_from(replication(self.config)).unwrap_or(1);
        if !self.config.dev && described.replicas < replicas {
            let run = format!("run kafka-reassign-partitions.sh --bootstrap-server {}", self.config.brokers);
            let (is, wanted) = (described.replicas.to_string(), format!("at least {replicas}"));
            self.mismatch(&topic, "replication factor", [&is, &wanted], run);
        }
        for setting in purpose.settings(self.config, self.topics) {
            let entry = resource.and_then(|resource| resource.get(setting.name));
            let value = entry.and_then(|entry| entry.value.as_deref()).unwrap_or("hidden");
            if !setting.passes(value) {
                let run = format!(
                    "run kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name \
                     {topic} --add-config {}={}",
                    self.config.brokers, setting.name, setting.value,
                );
                self.mismatch(&topic, setting.name, [value, &setting.value], run);
            }
        }
    }

    fn mismatch(&mut self, topic: &str, setting: &str, [value, wanted]: [&str; 2], run: String) {
        if self.config.accept.iter().any(|accepted| accepted == topic || accepted == setting) {
            return;
        }
        self.report.mismatches.push(Mismatch {
            topic: topic.to_owned(),
            setting: setting.to_owned(),
            value: value.to_owned(),
            wanted: wanted.to_owned(),
            run,
        });
    }

    /// Sessions of consumer groups are the brokers' to set.
    fn check_broker(&mut self, broker: &ConfigResource) {
        for name in ["group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms"] {
            let value =
                broker.get(name).and_then(|entry| entry.value.as_deref()).and_then(|v| v.parse().ok());
            if let Some(value) = value.filter(|value: &i64| *value > SESSION_TIMEOUT_MS_MAX)
                && !self.config.accept.iter().any(|accepted| accepted == name)
            {
                self.report.warnings.push(format!(
                    "brokers: {name} is {value}: a killed writer's partitions rest for that long; run \
                     kafka-configs.sh --bootstrap-server {} --alter --entity-type brokers --entity-default \
                     --add-config {name}=3000",
                    self.config.brokers,
                ));
            }
        }
    }
}
