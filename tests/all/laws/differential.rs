//! The differential law: one log that Kafka holds, with its offsets, times and holes, leaves the same in SQLite and in
//! Postgres, in flushes of any size, and that is what the naive model says.
//!
//! The topic takes the times that are sent, so that days pass between records; every other record and hole is Kafka's.

use anyhow::{Context, Result, ensure};
use millpond_fold::Entry;
use millpond_log::{
    Log,
    kafka::{Cluster, Config as KafkaConfig, Topics as Wanted},
};
use millpond_schemas::{
    Decoder, Generation, Keyring, Offset, Position, Received, Shard as Place, SkipTime, Topology,
};
use millpond_shard::{Dump, Kind, Password, PostgresConfig, Shard, SqliteConfig};
use millpond_tests::{
    deployment::{Engines, PATIENCE, Topics},
    postgres::psql,
    process::until,
};
use millpond_writer::{Replay, ReplayError};
use proptest::{prelude::*, test_runner::Config};
use rand::distr::{Alphanumeric, SampleString};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tempfile::TempDir;

use super::{
    assert_agrees_with_model,
    history::{self, History, build},
    strategy::{self, Step},
};

/// Each case makes topics and databases.
const CASES: u32 = 3;
/// A failing case is made smaller for so many rounds.
const SHRINKS_MAX: u32 = 40;
const SIZES: [usize; 3] = [1, 7, 500];

/// Gaps that a foreign producer can make: one marker stands behind a record of its own transaction, more offsets are an
/// aborted transaction.
fn possible(mut steps: Vec<Step>) -> Vec<Step> {
    for (at, step) in steps.iter_mut().enumerate() {
        step.gap = if step.gap == 1 && at == 0 { 2 } else { step.gap.min(3) };
    }
    steps
}

/// Topics and databases of one case. They go with it.
struct Case {
    engines: Engines,
    id: String,
}

impl Case {
    fn new() -> Result<Self> {
        let id = Alphanumeric.sample_string(&mut rand::rng(), 12).to_lowercase();
        Ok(Self { engines: Engines::shared()?, id })
    }

    fn prefix(&self) -> String {
        format!("law-{}", self.id)
    }

    fn database(&self, size: usize) -> String {
        format!("law_{}_{size}", self.id)
    }

    async fn postgres(&self, size: usize) -> Result<Shard> {
        let create = format!("CREATE DATABASE {}", self.database(size));
        psql(&self.engines.url(0, "postgres"), &create)?;
        let address = self.engines.address(0, &self.database(size));
        let mut config = PostgresConfig::new(address, Kind::Primary);
        config.password = Some(Password::new(self.engines.password()));
        let shard = Shard::open_postgres(&config)?;
        shard.migrate().await?;
        Ok(shard)
    }

    /// Puts a history on a topic, record by record, and reads that it came back as it was.
    async fn record(&self, entries: &[Entry]) -> Result<Log> {
        let config = KafkaConfig { dev: true, ..KafkaConfig::new(self.engines.kafka(), self.prefix()) };
        let cluster = Cluster::connect(config)?;
        let partitions = topology(entries).partitions();
        let wanted = Wanted { generation: Generation::FIRST, partitions, value_bytes_max: 1 << 20 };
        cluster.init(&wanted).await?;
        let (topics, topic) =
            (Topics::connect(self.engines.kafka())?, format!("{}.mutations.1", self.prefix()));
        let mut settings = topics.settings(&topic).await?;
        settings.retain(|(name, _)| name != "message.timestamp.type");
        settings.push(("message.timestamp.type".to_owned(), "CreateTime".to_owned()));
        let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        topics.set(&topic, &settings).await?;
        Recorder::new(self.engines.kafka(), &self.prefix(), &topic)?.record(entries)?;
        let log = cluster.mutations(Generation::FIRST).await?;
        is_there(&log, entries).await?;
        Ok(log)
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        for size in SIZES {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database(size));
            if let Err(error) = psql(&self.engines.url(0, "postgres"), &drop) {
                eprintln!("a database is left: {error:#}");
            }
        }
        let topics = Topics::connect(self.engines.kafka());
        if let Err(error) = topics.and_then(|topics| topics.delete_all(&format!("{}.", self.prefix()))) {
            eprintln!("topics are left: {error:#}");
        }
    }
}

/// Two producers of one topic: one with transactions.
struct Recorder {
    plain: BaseProducer,
    transactional: BaseProducer,
    topics: Topics,
    topic: String,
}

impl Recorder {
    fn new(brokers: &str, prefix: &str, topic: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "0").set("enable.idempotence", "true");
        let plain = config.create()?;
        let transactional: BaseProducer =
            config.set("transactional.id", format!("{prefix}-recorder")).create()?;
        transactional.init_transactions(PATIENCE)?;
        Ok(Self { plain, transactional, topics: Topics::connect(brokers)?, topic: topic.to_owned() })
    }

    fn record(&self, entries: &[Entry]) -> Result<()> {
        let offset_before = |at: usize| at.checked_sub(1).map_or(-1, |before| entries[before].offset.0);
        let gap = |at: usize| entries.get(at).map_or(0, |entry| entry.offset.0 - offset_before(at) - 1);
        for (at, entry) in entries.iter().enumerate() {
            if gap(at) > 1 {
                self.transactional.begin_transaction()?;
                for _ in 1..gap(at) {
                    self.send(&self.transactional, entry)?;
                }
                self.transactional.flush(PATIENCE)?;
                self.transactional.abort_transaction(PATIENCE)?;
                self.ends_at(entry.offset)?;
            }
            if gap(at + 1) == 1 {
                self.transactional.begin_transaction()?;
                self.send(&self.transactional, entry)?;
                self.transactional.commit_transaction(PATIENCE)?;
                self.ends_at(Offset(entry.offset.0 + 2))?;
            } else {
                self.send(&self.plain, entry)?;
                self.plain.flush(PATIENCE)?;
            }
        }
        Ok(())
    }

    /// A transaction is answered before its marker lies on the log.
    fn ends_at(&self, end: Offset) -> Result<()> {
        let partition = history::watermark().partition.0;
        let there = until(PATIENCE, || Ok(self.topics.bounds(&self.topic, partition)?.1 >= end.0))?;
        ensure!(there, "the marker before offset {end} does not come");
        Ok(())
    }

    fn send(&self, producer: &BaseProducer, entry: &Entry) -> Result<()> {
        let partition = i32::try_from(history::watermark().partition.0)?;
        let mut headers = OwnedHeaders::new();
        for (name, value) in &entry.raw.headers {
            headers = headers.insert(Header { key: name, value: Some(value.as_ref()) });
        }
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&self.topic).partition(partition).timestamp(entry.time.0).headers(headers);
        record.key = entry.raw.key.as_deref();
        record.payload = entry.raw.value.as_deref();
        producer.send(record).map_err(|(error, _)| error)?;
        Ok(())
    }
}

/// The log holds these records, at these offsets, with these times, and nothing else.
async fn is_there(log: &Log, entries: &[Entry]) -> Result<()> {
    let (partition, last) = (history::watermark().partition, entries.last().context("one at least")?.offset);
    let (mut changes, mut next, mut found) = (log.changes(), Offset(0), Vec::new());
    let reading = async {
        while next <= last {
            let read = log.read(partition, next, 1 << 20).await?;
            if read.next == next {
                changes.changed().await?;
            }
            next = read.next;
            found.extend(read.records);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, reading).await.context("the log does not get there")??;
    let sent = |entry: &Entry| Received { offset: entry.offset, time: entry.time, raw: entry.raw.clone() };
    let sent: Vec<Received> = entries.iter().map(sent).collect();
    let differs = sent.iter().zip(&found).find(|(sent, found)| sent != found);
    ensure!(differs.is_none(), "what was recorded is not what is there: {differs:?}");
    ensure!(sent.len() == found.len(), "{} records are there, not {}", found.len(), sent.len());
    Ok(())
}

/// Names the log, and what an operator has skipped.
fn topology(entries: &[Entry]) -> Topology {
    let empty = history::watermark();
    let position = |entry: &Entry| Position {
        generation: empty.generation,
        partition: empty.partition,
        offset: entry.offset,
    };
    let skips = entries.iter().filter(|entry| entry.skipped);
    let times = entries.iter().filter(|entry| entry.time_skipped);
    Topology {
        epoch: 1,
        generation: empty.generation,
        log_id: empty.log_id,
        shards: vec![Place { name: "only".to_owned(), primary: String::new(), replicas: Vec::new() }],
        placement: vec![0; 4],
        skips: skips.map(position).collect(),
        skip_times: times.map(|entry| SkipTime { from: position(entry), to: entry.offset }).collect(),
    }
}

/// What a replay leaves in an empty shard, and the halt that it came to.
async fn replay(
    log: &Log,
    entries: &[Entry],
    size: usize,
    shard: &Shard,
) -> Result<(Dump, Option<&'static str>)> {
    let (topology, partition) = (topology(entries), history::watermark().partition);
    let decoder = Decoder {
        log_id: topology.log_id,
        partition,
        partitions: topology.partitions(),
        keyring: Keyring::new(1, [1; 32]),
    };
    let to = entries.last().context("one at least")?.offset;
    let replay = Replay { log, decoder, topology: &topology, to, flush_records_max: size };
    let halt = match replay.run(shard).await {
        Ok(_) => None,
        Err(ReplayError::Halted(halt)) => Some(halt.name()),
        Err(error) => return Err(error.into()),
    };
    let dump = shard.dump(partition).await?;
    shard.close().await;
    Ok((dump, halt))
}

async fn check(history: &History) -> Result<()> {
    let (case, dir) = (Case::new()?, TempDir::new()?);
    println!("{} records, topics {}", history.entries.len(), case.prefix());
    let log = case.record(&history.entries).await?;
    let mut left = Vec::new();
    for size in SIZES {
        let sqlite = Shard::open(&SqliteConfig::new(dir.path().join(format!("{size}.sqlite")))).await?;
        left.push((format!("SQLite, {size}"), replay(&log, &history.entries, size, &sqlite).await?));
        let postgres = case.postgres(size).await?;
        left.push((format!("Postgres, {size}"), replay(&log, &history.entries, size, &postgres).await?));
    }
    log.close().await;
    let (first, rest) = left.split_first().context("there are six")?;
    assert_agrees_with_model(&first.1.0, history);
    assert_eq!(first.1.1.is_some(), history.halt.is_some(), "{:?}", first.1.1);
    for (name, other) in rest {
        assert_eq!(*other, first.1, "{name} differs from {}", first.0);
    }
    Ok(())
}

fn config() -> Config {
    Config { cases: super::cases(CASES), max_shrink_iters: SHRINKS_MAX, ..super::config() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_kafka_log_leaves_the_same_in_sqlite_and_postgres(steps in strategy::steps()) {
        let history = build(&possible(steps));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(check(&history)).expect("engines work");
    }
}
