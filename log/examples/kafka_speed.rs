//! How fast the Kafka log produces and reads: `cargo run --release -p millpond-log --example kafka_speed BROKERS`.
//!
//! One process, one topic with 8 partitions, records of 256 bytes in calls of 1,000. CPU is this process's alone.

use std::{collections::VecDeque, env, fs, process, time::Instant};

use millpond_log::{
    Append, Log,
    kafka::{Cluster, Config, Topics},
};
use millpond_schemas::{Generation, Offset, PartitionId, Raw};

const PARTITIONS: u32 = 8;
const CALL_RECORDS: u32 = 1000;
const CALLS: u32 = 2000;
/// Calls that wait for their acks at once.
const IN_FLIGHT: usize = 20;

#[tokio::main]
async fn main() {
    let brokers = env::args().nth(1).unwrap_or_else(|| {
        eprintln!("usage: kafka_speed BROKERS");
        process::exit(2);
    });
    let prefix = format!("speed-{:08x}", rand::random::<u32>());
    let mut config = Config { dev: true, ..Config::new(brokers, prefix) };
    config.properties.extend(env::args().skip(2).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    }));
    let cluster = Cluster::connect(config).expect("the properties are fine");
    let topics = Topics { generation: Generation::FIRST, partitions: PARTITIONS, value_bytes_max: 1 << 19 };
    cluster.init(&topics).await.expect("the broker makes topics");
    let log = cluster.mutations(Generation::FIRST).await.expect("the topic is there");
    for round in 0..3 {
        let produced = Measure::start();
        produce(&log).await;
        produced.say("produced");
        let log = cluster.mutations(Generation::FIRST).await.expect("the topic is there");
        let read = Measure::start();
        read_all(&log, round).await;
        read.say("read");
    }
    log.close().await;
}

async fn produce(log: &Log) {
    let mut waiting = VecDeque::new();
    for call in 0..CALLS {
        let record = |at: u32| Append {
            partition: PartitionId(at % PARTITIONS),
            raw: Raw {
                key: Some(format!("default/key-{call}-{at}").into()),
                headers: vec![("kv-format".into(), "record".into())],
                value: Some(vec![b'v'; 256].into()),
            },
        };
        if waiting.len() == IN_FLIGHT
            && let Some(acks) = waiting.pop_front()
        {
            acked(acks).await;
        }
        let records: Vec<Append> = (0..CALL_RECORDS).map(record).collect();
        waiting.push_back(log.enqueue(&records).expect("the queue has room"));
    }
    for acks in waiting {
        acked(acks).await;
    }
}

async fn acked(acks: millpond_log::Acks) {
    assert_eq!(acks.await.expect("the broker acks").len(), CALL_RECORDS as usize);
}

/// Reads what this round produced.
async fn read_all(log: &Log, round: i64) {
    let per_round = i64::from(CALLS * CALL_RECORDS / PARTITIONS);
    let mut next = [Offset(round * per_round); PARTITIONS as usize];
    let end = Offset((round + 1) * per_round);
    let mut changes = log.changes();
    while next.iter().any(|next| *next < end) {
        let mut idle = true;
        for (partition, next) in (0u32..).zip(&mut next).filter(|(_, next)| **next < end) {
            let read = log.read(PartitionId(partition), *next, 1 << 20).await.expect("the log is read");
            idle &= read.next == *next;
            *next = read.next;
        }
        if idle {
            changes.changed().await.expect("the log is open");
        }
    }
}

struct Measure(Instant, u64);

impl Measure {
    fn start() -> Self {
        Self(Instant::now(), cpu_ms())
    }

    fn say(self, what: &str) {
        let (elapsed, cpu) = (self.0.elapsed(), cpu_ms() - self.1);
        let records = f64::from(CALLS * CALL_RECORDS);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
        let cpu = cpu as f64 * 1000.0 / records;
        println!("{what}: {:.0} records/s, {cpu:.2} CPU-µs a record", records / elapsed.as_secs_f64());
    }
}

/// CPU time of this process, in ticks of 10 ms.
fn cpu_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux says it");
    let behind = stat.rsplit(") ").next().expect("it has fields");
    let ticks = behind.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number"));
    ticks.sum::<u64>() * 10
}
