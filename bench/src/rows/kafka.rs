//! Producing to Kafka and reading from it, beside librdkafka's own `rdkafka_performance`.
//!
//! Invariant: messages have as many bytes on both sides, the same client settings where they matter, and topics of their
//! own with as many partitions.

use std::{collections::HashMap, process::Command, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use millpond_fold::{Entry, Given, State, fold};
use millpond_log::{
    Append, Log, genesis,
    kafka::{Cluster, Config, Topics},
};
use millpond_schemas::{
    Conditions, Decoder, Generation, Keyring, LogId, Mutation, MutationId, Offset, Op, PartitionId,
    RecordKey, Tenant, Watermark, limits::VALUE_BYTES_MAX,
};
use tokio::task::JoinSet;

use super::{
    Plan,
    calls::{Draw, NDJSON, PROTOBUF, batches},
    deployment::Deployment,
    drive::{Call, Drive},
    engines::{Engines, NO_ENGINES},
    flushes::VALUE_BYTES,
    line::Line,
    sample::{Compared, Runs, Sample, Side, Stretch, float},
    tools::beside,
};

const TOOL: &str = "rdkafka_performance";
const PARTITIONS: u32 = 8;
const OPERATIONS: usize = 1_000;
const CONNECTIONS: usize = 16;
const DURABILITY: &str = "acks=all, idempotent, one broker, no fsync per write";
/// What key, headers, id and envelope add to a value.
const AROUND: usize = 26 + 15 + 48;

/// Through `/batch` of an api, in both forms.
pub(crate) async fn produce(plan: &Plan) -> Result<Vec<Line>> {
    let stages = [("ndjson", NDJSON), ("protobuf", PROTOBUF)];
    let Some(engines) = Engines::here() else {
        let missing = |(form, _): &(&str, _)| {
            Line::missing(&format!("produce to Kafka, {form}: messages/s"), 0.9, NO_ENGINES)
        };
        return Ok(stages.iter().map(missing).collect());
    };
    let mut deployment = Deployment::start(&engines, PARTITIONS, 1).await?;
    // Writers have claimed; from here on nothing is applied.
    deployment.stop_writers();
    let plain = topics(&engines, PARTITIONS).await?;
    let mut lines = Vec::new();
    for (form, content_type) in stages {
        let calls = batches(&mut Draw::uniform(1_000_000, plan.seed), (100, OPERATIONS), content_type)?;
        let runs = Runs::interleave(plan.repeats, async |side, _| match side {
            Side::Baseline => plain_produce(&engines, &plain.topic, plan.pick(400_000, 1_500_000)),
            Side::Ours => through_batch(&deployment, &calls, plan.pick(3, 8)).await,
        })
        .await?;
        let stage = format!("produce to Kafka, {form}");
        lines.push(
            runs.line(&format!("{stage}: messages/s"), Compared::rate("msg/s", 0.90)).note(runs.shares()),
        );
        lines.push(runs.line(&format!("{stage}: CPU of all"), Compared::cpu(1.25)));
    }
    Ok(lines.into_iter().map(|line| line.durable(DURABILITY)).collect())
}

async fn through_batch(deployment: &Deployment, calls: &Arc<Vec<Call>>, seconds: u64) -> Result<Sample> {
    let drive = Drive {
        address: deployment.api(),
        connections: CONNECTIONS,
        length: Duration::from_secs(seconds),
        expected: StatusCode::ACCEPTED,
    };
    let stretch = Stretch::start()?;
    let driven = drive.run(calls).await?;
    stretch.end_with(float(driven.waits.len()) * float(OPERATIONS as u64), driven.wall)
}

/// A log of our own, and its topic.
struct Plain {
    cluster: Cluster,
    topic: String,
}

async fn topics(engines: &Engines, partitions: u32) -> Result<Plain> {
    let prefix = format!("row-{:08x}", rand::random::<u32>());
    let topic = format!("{prefix}.mutations.1");
    let cluster = Cluster::connect(Config { dev: true, ..Config::new(&engines.kafka, prefix) })?;
    let topics = Topics { generation: Generation::FIRST, partitions, value_bytes_max: VALUE_BYTES_MAX };
    let report = cluster.init(&topics).await?;
    ensure!(report.mismatches.is_empty(), "the topics are not as they should be");
    Ok(Plain { cluster, topic })
}

fn plain_produce(engines: &Engines, topic: &str, count: u64) -> Result<Sample> {
    let size = (VALUE_BYTES + AROUND).to_string();
    let settings = [
        "enable.idempotence=true",
        "linger.ms=1",
        "batch.num.messages=50000",
        // The topic takes no larger ones; ours is bounded by the same limit.
        "batch.size=524288",
        "queue.buffering.max.messages=1000000",
        "topic.partitioner=random",
    ];
    let mut tool = tool(engines, "-P", topic)?;
    tool.args(["-s", &size, "-c", &count.to_string(), "-a", "-1"]);
    tool.args(settings.iter().flat_map(|setting| ["-X", setting]));
    timed(tool, count)
}

fn plain_consume(engines: &Engines, topic: &str, (partitions, count): (u32, u64)) -> Result<Sample> {
    let settings = [
        "fetch.queue.backoff.ms=2",
        "fetch.wait.max.ms=50",
        "queued.min.messages=10000000",
        "check.crcs=true",
        "isolation.level=read_committed",
    ];
    let mut tool = tool(engines, "-C", topic)?;
    for partition in 0..partitions {
        tool.args(["-p", &partition.to_string()]);
    }
    tool.args(["-o", "beginning", "-c", &count.to_string()]);
    tool.args(settings.iter().flat_map(|setting| ["-X", setting]));
    timed(tool, count)
}

fn tool(engines: &Engines, mode: &str, topic: &str) -> Result<Command> {
    let mut tool = Command::new(beside(TOOL)?);
    tool.args([mode, "-b", &engines.kafka, "-t", topic, "-i", "100000"]);
    Ok(tool)
}

/// Runs it to its end. It says itself how long its messages took; starting up is not in it.
fn timed(mut tool: Command, count: u64) -> Result<Sample> {
    let stretch = Stretch::start()?;
    let output = tool.output().context("run it")?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{TOOL} ended with {}: {said}", output.status);
    let last = said.lines().rfind(|line| line.starts_with("% ") && line.contains("ms: "));
    let ms = last.and_then(|line| line.split_once(" in ")?.1.split("ms").next()?.trim().parse::<u64>().ok());
    let ms = ms.with_context(|| format!("find how long {TOOL} took in {said}"))?;
    stretch.end_with(float(count), Duration::from_millis(ms.max(1)))
}

/// Reading, decoding and folding, of one partition and of 16.
pub(crate) async fn consume(plan: &Plan) -> Result<Vec<Line>> {
    const STAGE: &str = "consume, decode, fold";
    let Some(engines) = Engines::here() else {
        let missing = [("messages/s", 0.85), ("16 partitions / one", 0.9)];
        let missing =
            missing.map(|(what, target)| Line::missing(&format!("{STAGE}: {what}"), target, NO_ENGINES));
        return Ok(missing.to_vec());
    };
    let count = plan.pick(300_000, 1_000_000);
    let one = Filled::new(&engines, 1, (count, plan.seed)).await?;
    let many = Filled::new(&engines, 16, (count, plan.seed)).await?;
    let runs = Runs::interleave(plan.repeats, async |side, _| match side {
        Side::Baseline => plain_consume(&engines, &one.plain.topic, (1, count)),
        Side::Ours => one.fold().await,
    })
    .await?;
    let wide = Runs::interleave(plan.repeats, async |side, _| match side {
        Side::Baseline => one.fold().await,
        Side::Ours => many.fold().await,
    })
    .await?;
    let lines = [
        runs.line(&format!("{STAGE}: messages/s"), Compared::rate("msg/s", 0.85)).note(runs.shares()),
        runs.line(&format!("{STAGE}: CPU of all"), Compared::cpu(1.25)),
        wide.line(&format!("{STAGE}: 16 partitions / one"), Compared::rate("msg/s", 0.9)).note(wide.shares()),
    ];
    Ok(lines.map(|line| line.durable("read_committed")).to_vec())
}

/// A topic with mutations, to be folded over and over.
struct Filled {
    plain: Plain,
    log_id: LogId,
    keyring: Keyring,
    partitions: u32,
    records: u64,
}

impl Filled {
    async fn new(engines: &Engines, partitions: u32, (count, seed): (u64, u64)) -> Result<Self> {
        let folder = tempfile::TempDir::new().context("make a folder")?;
        let keyring = millpond::mac_key::read(&folder.path().join("mac.key"), true)?;
        let (plain, log_id) = (topics(engines, partitions).await?, LogId(rand::random()));
        let log = plain.cluster.mutations(Generation::FIRST).await?;
        genesis(&log, log_id, &keyring).await?;
        let mut draw = Draw::uniform(1_000_000, seed);
        for from in (0..count).step_by(OPERATIONS) {
            let call = (0..OPERATIONS as u64).map(|at| mutation(&mut draw, from + at, partitions));
            log.append(call.collect::<Result<_>>()?).await?;
        }
        log.close().await;
        Ok(Self { plain, log_id, keyring, partitions, records: count })
    }

    async fn fold(&self) -> Result<Sample> {
        let log = self.plain.cluster.mutations(Generation::FIRST).await?;
        let stretch = Stretch::start()?;
        // As a writer does: each partition by itself.
        let mut lanes = JoinSet::new();
        for partition in (0..self.partitions).map(PartitionId) {
            let (log, lane) = (log.clone(), self.lane(partition)?);
            lanes.spawn(async move {
                let end = log.bounds(partition).await?.end;
                lane.run(&log, end).await
            });
        }
        let mut records = 0;
        while let Some(lane) = lanes.join_next().await {
            records += lane.context("a lane panicked")??;
        }
        ensure!(records == self.records, "{records} of {} were folded", self.records);
        let sample = stretch.end(float(self.records))?;
        log.close().await;
        Ok(sample)
    }

    fn lane(&self, partition: PartitionId) -> Result<Lane> {
        let decoder = Decoder {
            log_id: self.log_id,
            partition,
            partitions: self.partitions,
            keyring: self.keyring.clone(),
        };
        let watermark = Watermark::empty(partition, Generation::FIRST, self.log_id);
        Ok(Lane { decoder, state: State::new(watermark, Vec::new())?, next: Offset(0) })
    }
}

/// One partition on its way.
struct Lane {
    decoder: Decoder,
    state: State,
    next: Offset,
}

impl Lane {
    /// Up to an offset; how many mutations.
    async fn run(mut self, log: &Log, end: Offset) -> Result<u64> {
        let mut records = 0;
        while self.next < end {
            records += self.step(log).await?;
        }
        Ok(records)
    }

    /// Reads what is there, folds it in flushes; how many mutations.
    async fn step(&mut self, log: &Log) -> Result<u64> {
        let read = log.read(self.decoder.partition, self.next, 1 << 20).await?;
        self.next = read.next;
        let entries: Vec<Entry> =
            read.records.into_iter().map(|one| Entry::new(&self.decoder, one)).collect();
        if entries.is_empty() {
            return Ok(0);
        }
        // The Genesis record is one too many.
        let genesis = u64::from(self.state.watermark().applied < Offset(0));
        let flush = fold(&self.state, &entries, &Given { rows: HashMap::new(), ..Given::default() })?;
        ensure!(flush.dead_letters.is_empty(), "nothing of it is dead-lettered");
        self.state.advance(&flush);
        Ok(entries.len() as u64 - genesis)
    }
}

fn mutation(draw: &mut Draw, number: u64, partitions: u32) -> Result<Append> {
    let key = RecordKey::new(&Tenant::new("default")?, draw.key().as_bytes())?;
    let partition = key.partition(partitions);
    let id = MutationId { bytes: u128::from(number + 1).to_be_bytes(), durable: false };
    let op = Op::Put {
        value: vec![b'v'; VALUE_BYTES].into(),
        content_type: "application/octet-stream".into(),
        expiry: None,
    };
    let mutation = Mutation { key, id: Some(id), conditions: Conditions::default(), op };
    Ok(Append { partition, raw: mutation.encode() })
}
