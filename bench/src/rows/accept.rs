//! Accepting: batches and single calls into a local log, beside stores that answer each call from a synced file.
//!
//! The server is the example `accept`: nothing is applied. Invariant: every 202 that is counted was fsynced.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::StatusCode;

use super::{
    Plan,
    calls::{Draw, NDJSON, PROTOBUF, batches, puts},
    drive::{Call, Drive},
    line::Line,
    peers::Peer,
    sample::{CPU_US, RATE, Sample, Stretch, float, median},
    tools::Served,
};

const DURABILITY: &str = "fdatasync before each answer, on both sides";
const KEYS: u64 = 1_000_000;
const CONNECTIONS: usize = 64;

/// Peers of single calls: as they are told, their name and the words of their load, what Millpond may cost of theirs.
const SINGLE: [(&str, &str, &[&str], f64); 5] = [
    ("etcd", "etcd", &[], 0.4),
    ("NATS KV", "nats", &["put,", "fsync of each"], 0.8),
    ("Redis", "redis", &["-p 1 "], 1.0),
    ("Valkey", "valkey", &["-p 1 "], 1.0),
    ("Postgres upsert", "postgres", &["upsert"], 1.0),
];

/// Batches against Redis and Valkey with `appendfsync always` and pipelines of 32.
pub(crate) async fn batch(plan: &Plan) -> Result<Vec<Line>> {
    let (redis, valkey) = (plan.peers.run("redis", &["-p 32"]), plan.peers.run("valkey", &["-p 32"]));
    let mut lines = Vec::new();
    // 1,000 is what a batch is for; 32 is what the pipeline has.
    for (form, content_type, operations, connections) in [
        ("protobuf", PROTOBUF, 1_000, 16),
        ("ndjson", NDJSON, 1_000, 16),
        ("protobuf", PROTOBUF, 32, CONNECTIONS),
    ] {
        let calls = batches(&mut Draw::uniform(KEYS, plan.seed), (200, operations), content_type)?;
        let samples = accepted(plan, &calls, (operations, connections)).await?;
        let stage = |peer: &str| format!("accept /batch of {operations}, {form} / {peer}: CPU of all");
        lines.push(against(&stage("Redis"), (&redis, 1.0), &samples));
        if operations == 32 {
            lines.push(against(&stage("Valkey"), (&valkey, 1.0), &samples));
        }
    }
    Ok(lines)
}

/// Single calls against those that answer each.
pub(crate) async fn single(plan: &Plan) -> Result<Vec<Line>> {
    let calls = puts(&mut Draw::uniform(KEYS, plan.seed), 100_000, None)?;
    let samples = accepted(plan, &calls, (1, CONNECTIONS)).await?;
    let line = |(told, name, words, times): (&str, &str, &[&str], f64)| {
        let stage = format!("accept single calls / {told}: CPU of all");
        let line = against(&stage, (&plan.peers.run(name, words), times), &samples);
        if name == "postgres" {
            line.note("its upsert is applied, ours is on the log".to_owned())
        } else {
            line
        }
    };
    Ok(SINGLE.into_iter().map(line).collect())
}

/// Calls of so many operations each over so many connections.
pub(crate) async fn accepted(
    plan: &Plan,
    calls: &Arc<Vec<Call>>,
    (operations, connections): (usize, usize),
) -> Result<Vec<Sample>> {
    let folder = tempfile::TempDir::new().context("make a folder")?;
    let server = Served::example("accept", &[folder.path()])?;
    let mut samples = Vec::new();
    for _ in 0..plan.repeats {
        let drive = Drive {
            address: server.address,
            connections,
            length: Duration::from_secs(plan.pick(3, 6)),
            expected: StatusCode::ACCEPTED,
        };
        let stretch = Stretch::start()?;
        let driven = drive.run(calls).await?;
        let mut sample =
            stretch.end_with(float(driven.waits.len()) * float(operations as u64), driven.wall)?;
        sample.set("p99_us", float(driven.waits.value_at_quantile(0.99)));
        samples.push(sample);
    }
    Ok(samples)
}

/// Ours against the cheapest load of a peer that fits.
fn against(stage: &str, (peer, times): (&Result<Vec<Peer>>, f64), samples: &[Sample]) -> Line {
    let of = |measure: &str| median(samples.iter().map(|sample| sample.get(measure)).collect());
    let (ours, rate, p99) = (of(CPU_US), of(RATE), of("p99_us"));
    let shares = samples.last().map(Sample::shares).unwrap_or_default();
    let line = Line::new(stage, "CPU-µs/op", 1.0 / times)
        .durable(DURABILITY)
        .note(format!("ours {rate:.0}/s, p99 of a call {p99:.0} µs; CPU-µs/op: {shares}"))
        .with_shares(shares);
    let cheapest = peer.as_ref().map(|peers| peers.iter().min_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us)));
    match cheapest {
        Ok(Some(peer)) => line
            .measured(peer.cpu_us, ours, peer.cpu_us / ours)
            .note(format!("{}: {:.0}/s", peer.told, peer.rate)),
        Ok(None) => line.alone(ours),
        Err(error) => line.alone(ours).note(format!("missing: {error:#}")),
    }
}
