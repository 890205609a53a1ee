//! From `/batch` to the row in Postgres, through Kafka; and what partitions, shards and other sinks make of it.
//!
//! Invariant: a mutation counts when it is applied; the clock runs until nothing is behind.

use std::time::{Duration, Instant};

use anyhow::Result;
use http::StatusCode;

use super::{
    Plan,
    calls::{Draw, PROTOBUF, batches},
    deployment::Deployment,
    drive::Drive,
    engines::{Engines, NO_ENGINES},
    line::Line,
    peers,
    sample::{CPU_US, Compared, RATE, Runs, Sample, Side, Stretch, float, median},
};

const KEYS: u64 = 1_000_000;
const OPERATIONS: usize = 1_000;
pub(crate) const DURABILITY: &str = "Kafka acks=all without fsync; Postgres fsync, synchronous_commit=on";
/// Whose baselines together are the least that the way from end to end can cost.
const STAGES: [&str; 3] = [
    "produce to Kafka, protobuf: CPU of all",
    "consume, decode, fold: CPU of all",
    "apply to Postgres: CPU of all",
];
/// What must be applied end to end a second.
const ABSOLUTE: [(&str, f64); 2] = [("uniform", 60_000.0), ("Zipf(0.99)", 100_000.0)];

fn draw(keys: &str, seed: u64) -> Draw {
    if keys == "uniform" { Draw::uniform(KEYS, seed) } else { Draw::zipf(KEYS, seed) }
}

/// Accept and apply at once, both kinds of keys. `before`: the lines of the stages, as far as they were measured.
pub(crate) async fn run(plan: &Plan, before: &[Line]) -> Result<Vec<Line>> {
    let of = |stage: &&str| before.iter().find(|line| line.stage() == *stage)?.baseline();
    let sum: Option<f64> = STAGES.iter().map(of).sum();
    let stage = |keys: &str| format!("end to end, {keys}: applied/s, of what is asked");
    let Some(engines) = Engines::here() else {
        let all = ABSOLUTE.iter().map(|(keys, _)| Line::missing(&stage(keys), 1.0, NO_ENGINES));
        return Ok(all.collect());
    };
    let mut lines = Vec::new();
    for (keys, asked) in ABSOLUTE {
        let deployment = Deployment::start(&engines, 8, 1).await?;
        let mut samples = Vec::new();
        for repeat in 0..plan.repeats {
            let draw = draw(keys, plan.seed + repeat as u64);
            samples.push(through(&deployment, draw, plan.pick(4, 15)).await?);
        }
        let rate = median(samples.iter().map(|sample| sample.get(RATE)).collect());
        let cpu = median(samples.iter().map(|sample| sample.get(CPU_US)).collect());
        let shares = samples.last().map(Sample::shares).unwrap_or_default();
        let line = Line::new(&stage(keys), "op/s", 1.0).measured(asked, rate, rate / asked);
        lines.push(
            line.durable(DURABILITY)
                .note(format!("{cpu:.2} CPU-µs/op: {shares}"))
                .with_shares(shares.clone()),
        );
        let line = Line::new(&format!("end to end, {keys} / sum of stages: CPU of all"), "CPU-µs/op", 0.80);
        let line = line.durable(DURABILITY).alone(cpu).with_shares(shares);
        lines.push(match sum {
            Some(sum) => line.against(sum),
            None => line.note("missing: run produce, consume and apply-postgres in the same run"),
        });
    }
    Ok(lines)
}

/// Loads with batches for so long, and waits until all of it is applied.
pub(crate) async fn through(deployment: &Deployment, mut draw: Draw, seconds: u64) -> Result<Sample> {
    let calls = batches(&mut draw, (300, OPERATIONS), PROTOBUF)?;
    let drive = Drive {
        address: deployment.api(),
        connections: 8,
        length: Duration::from_secs(seconds),
        expected: StatusCode::ACCEPTED,
    };
    let (stretch, began) = (Stretch::start()?, Instant::now());
    let driven = drive.run(&calls).await?;
    deployment.until_caught_up().await?;
    stretch.end_with(float(driven.waits.len()) * float(OPERATIONS as u64), began.elapsed())
}

/// Applying a full log, beside the Debezium JDBC sink.
pub(crate) async fn debezium(plan: &Plan) -> Result<Vec<Line>> {
    let targets = [("uniform", 1.5), ("Zipf(0.99)", 3.0)];
    let stage = |keys: &str| format!("drain a full log / Debezium, {keys}: rows per CPU");
    let Some(engines) = Engines::here() else {
        return Ok(targets.map(|(keys, target)| Line::missing(&stage(keys), target, NO_ENGINES)).to_vec());
    };
    let mut lines = Vec::new();
    let peers = plan.peers.run("debezium", &[]);
    for (keys, target) in targets {
        let mut deployment = Deployment::start(&engines, 2, 1).await?;
        let sample = drain(&mut deployment, draw(keys, plan.seed), plan.pick(300_000, 1_000_000)).await?;
        let ours = sample.get(CPU_US);
        let line = Line::new(&stage(keys), "CPU-µs/op", target).durable(DURABILITY);
        let line = line.note(format!("ours {:.0}/s, CPU-µs/op: {}", sample.get(RATE), sample.shares()));
        let line = line.with_shares(sample.shares());
        let fits = |peer: &&peers::Peer| peer.told.contains(keys);
        lines.push(match peers.as_ref().map(|peers| peers.iter().find(fits)) {
            Ok(Some(peer)) => line
                .measured(peer.cpu_us, ours, peer.cpu_us / ours)
                .note(format!("{}: {:.0}/s", peer.told, peer.rate)),
            Ok(None) => line.alone(ours).note("missing: the peer has no such load"),
            Err(error) => line.alone(ours).note(format!("missing: {error:#}")),
        });
    }
    Ok(lines)
}

/// Fills the log while nobody applies, then counts what applying costs. Warm: the tables have a part of the keys.
async fn drain(deployment: &mut Deployment, mut draw: Draw, count: usize) -> Result<Sample> {
    fill(deployment, &mut draw, count / 2).await?;
    deployment.until_caught_up().await?;
    deployment.stop_writers();
    fill(deployment, &mut draw, count).await?;
    let stretch = Stretch::start()?;
    deployment.start_writer()?;
    deployment.until_caught_up().await?;
    stretch.end(float(count as u64))
}

/// So many puts, each call once.
async fn fill(deployment: &Deployment, draw: &mut Draw, count: usize) -> Result<()> {
    let calls = batches(draw, (count / OPERATIONS, OPERATIONS), PROTOBUF)?;
    deployment.each(&calls).await
}

/// More partitions, more shards.
pub(crate) async fn scaling(plan: &Plan) -> Result<Vec<Line>> {
    const PARTITIONS: &str = "scaling: 64 partitions / one, CPU of all";
    const SHARDS: &str = "scaling: 2 shards / one, applied/s";
    let Some(engines) = Engines::here() else {
        return Ok(vec![
            Line::missing(PARTITIONS, 1.0 / 1.15, NO_ENGINES),
            Line::missing(SHARDS, 1.9, NO_ENGINES),
        ]);
    };
    let one = Deployment::start(&engines, 1, 1).await?;
    let many = Deployment::start(&engines, 64, 1).await?;
    let seconds = plan.pick(3, 8);
    let between = async |baseline: &Deployment, ours: &Deployment| {
        // Topics that were just made and a broker that has not compiled its paths are no cost of more partitions.
        for deployment in [baseline, ours] {
            through(deployment, Draw::uniform(KEYS, plan.seed), seconds).await?;
        }
        Runs::interleave(plan.repeats, async |side, number| {
            let deployment = if side == Side::Baseline { baseline } else { ours };
            through(deployment, Draw::uniform(KEYS, plan.seed + number as u64), seconds).await
        })
        .await
    };
    let runs = between(&one, &many).await?;
    drop(many);
    drop(one);
    let mut lines = vec![runs.line(PARTITIONS, Compared::cpu(1.15)).note(runs.shares())];
    let (one, two) = (Deployment::start(&engines, 8, 1).await?, Deployment::start(&engines, 8, 2).await?);
    let runs = between(&one, &two).await?;
    // Both shards are databases of one Postgres on this machine.
    lines.push(runs.line(SHARDS, Compared::rate("op/s", 1.9)).note(runs.shares()));
    Ok(lines.into_iter().map(|line| line.durable(DURABILITY)).collect())
}
