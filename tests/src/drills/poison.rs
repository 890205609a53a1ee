//! Native producers, of whose records one in twenty can never apply: each of those is dead-lettered once, and its
//! neighbours do not wait for it.
//!
//! Measured in pairs: as many records without poison, then as many with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use millpond_schemas::{
    Control, ControlOp, Generation, HEADER_FORMAT, Keyring, LogId, Offset, PartitionId, partition_of,
};
use rand::{RngExt, rngs::StdRng};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Context, Drill, Length, Need, stage};
use crate::{
    deployment::{Deployment, Options},
    history::{Change, Door, Event, Id, Intent, Op, Text, WriteResult},
    workload::native::Native,
};

/// Of a hundred records.
const POISON_PER_CENT: u64 = 5;
/// Of the throughput without poison.
const THROUGHPUT_PER_CENT_MIN: f64 = 80.0;
/// Records that wait for their acks.
const UNDER_WAY: usize = 500;
/// The limit of this deployment, so that a value that is too large is as cheap as the others.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// Keys of good records: fewer than records.
const KEYS: u64 = 1_000;
/// The number of the producer among clients.
const CLIENT: u64 = 3_000_000;

pub(super) const DRILL: Drill = Drill {
    name: "poison",
    number: 20,
    about: "5 % of native records can never apply, in pairs of runs of --count records with and without them: each is \
            dead-lettered once, at least 80 % of the throughput",
    engines: Need::Shared,
    long: Length::new(120, 20_000),
    short: Length::new(1, 600),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let more = format!("{}\n[api]\nvalue_bytes_max = \"16KiB\"\n", stage::options().more);
    let deployment = Deployment::start(&Options { more, ..stage::options() }).await?;
    stage::until_shared_out(&deployment).await?;
    let native =
        Native::connect(&(deployment.kafka().to_owned(), deployment.topic(), deployment.partitions()))?;
    let mut producer = Producer {
        context: context.clone(),
        native: Arc::new(native),
        draw: Draw {
            random: context.random(1),
            number: 0,
            partitions: deployment.partitions(),
            log: log_id(&deployment)?,
        },
        poison: (0, 0),
    };
    let began = Instant::now();
    let (mut clean, mut poisoned) = (Duration::ZERO, Duration::ZERO);
    // One that is not measured.
    producer.pass(&deployment, 0).await?;
    while clean.is_zero() || (context.is_long() && began.elapsed() < context.length().time) {
        clean += producer.pass(&deployment, 0).await?;
        poisoned += producer.pass(&deployment, POISON_PER_CENT).await?;
    }
    let per_cent = 100.0 * clean.as_secs_f64() / poisoned.as_secs_f64();
    let told = format!("{per_cent:.0} % of that without poison (mark: {THROUGHPUT_PER_CENT_MIN:.0} %)");
    context.figure("throughput", told.clone());
    if context.is_long() && per_cent < THROUGHPUT_PER_CENT_MIN {
        context.violation(format!("throughput is {told}"));
    }
    letters(&context, &deployment, producer.poison)?;
    context.settle(&deployment).await
}

/// As many dead letters as poison, by reason.
fn letters(context: &Context, deployment: &Deployment, (acked, unknown): (u64, u64)) -> Result<()> {
    let mut found = 0;
    let mut reasons = Vec::new();
    for shard in 0..2 {
        let sql = "SELECT reason || ' ' || count(*) FROM dead_letter GROUP BY reason ORDER BY reason";
        for line in deployment.psql(shard, 0, sql)?.lines() {
            let (_, count) = line.rsplit_once(' ').context("a reason and a count")?;
            found += count.parse::<u64>()?;
            reasons.push(format!("{line} in shard-{shard}"));
        }
    }
    context.figure("dead letters", format!("{found}: {}", reasons.join(", ")));
    if found < acked || found > acked + unknown {
        context.violation(format!("{acked} poison records were acked, and there are {found} dead letters"));
    }
    Ok(())
}

fn log_id(deployment: &Deployment) -> Result<LogId> {
    let hex = deployment.psql(0, 0, "SELECT encode(log_id, 'hex') FROM watermark LIMIT 1")?;
    Ok(LogId(u128::from_str_radix(&hex, 16).context("a log's id")?.to_be_bytes()))
}

struct Producer {
    context: Context,
    native: Arc<Native>,
    draw: Draw,
    /// Acked, and of which nobody knows.
    poison: (u64, u64),
}

impl Producer {
    /// Produces the drill's count of records and waits until all are applied; how long that took.
    async fn pass(&mut self, deployment: &Deployment, poison_per_cent: u64) -> Result<Duration> {
        let (permits, mut sending) = (Arc::new(Semaphore::new(UNDER_WAY)), JoinSet::new());
        let began = Instant::now();
        for _ in 0..self.context.length().count {
            let permit = Arc::clone(&permits).acquire_owned().await?;
            let (intent, kind) = self.draw.next(poison_per_cent);
            if let Some(kind) = kind {
                self.context.fault(kind, "mutations");
            }
            let (recorder, native) = (self.context.recorder().clone(), Arc::clone(&self.native));
            sending.spawn(async move {
                let start_us = recorder.now_us();
                let result = native.send(&intent, true).await;
                drop(permit);
                let (end_us, told) = (recorder.now_us(), result.clone());
                let (client, door) = (CLIENT, Door::Kafka);
                let op = Op { client, session: None, door, intent, start_us, end_us, result };
                recorder.record(&Event::Op(op));
                (kind.is_some(), told)
            });
            while let Some(sent) = sending.try_join_next() {
                self.told(&sent.context("a task panicked")?);
            }
        }
        while let Some(sent) = sending.join_next().await {
            self.told(&sent.context("a task panicked")?);
        }
        deployment.drained().await?;
        Ok(began.elapsed())
    }

    fn told(&mut self, (is_poison, result): &(bool, WriteResult)) {
        let (ok, failed, unknown) = match result {
            WriteResult::Ok(_) => (1, 0, 0),
            WriteResult::Failed { .. } => (0, 1, 0),
            WriteResult::Unknown { .. } => (0, 0, 1),
        };
        self.context.operations(ok, failed, unknown);
        if *is_poison {
            self.poison = (self.poison.0 + ok, self.poison.1 + unknown);
        }
    }
}

/// Records, good ones and poison.
struct Draw {
    random: StdRng,
    number: u64,
    partitions: u32,
    log: LogId,
}

impl Draw {
    /// The next record, and what is wrong with it.
    fn next(&mut self, poison_per_cent: u64) -> (Intent, Option<&'static str>) {
        self.number += 1;
        let name = format!("p{}", self.number);
        let key = format!("poison-{}", self.random.random_range(0..KEYS));
        if self.random.random_range(0..100) >= poison_per_cent {
            let id = Some(Id { hex: format!("{:032x}", self.number), durable: false });
            return (Intent { id, ..Intent::put(key, format!("{name}-{:.<80}", "")) }, None);
        }
        let key = format!("default/{key}");
        let record = || vec![(HEADER_FORMAT.to_owned(), Text::from("record"))];
        let header = |header: &str, value: &str| vec![(header.to_owned(), Text::from(value))];
        let poison = |key: String, headers, value: Vec<u8>| {
            Intent::new(key, Change::Poison { headers, value: Some(bytes::Bytes::from(value).into()) })
        };
        let bytes = name.clone().into_bytes();
        match self.random.random_range(0..8) {
            0 => (poison(key, record(), [b"no record: ".to_vec(), bytes].concat()), Some("undecodable")),
            1 => (poison(name, Vec::new(), bytes), Some("key without a tenant")),
            2 => (poison(format!("No Tenant/{name}"), Vec::new(), bytes), Some("bad tenant")),
            3 => (poison(key, record(), of_format_200(&bytes)), Some("unknown format")),
            4 => (poison(key, header(HEADER_FORMAT, "avro"), bytes), Some("unknown form")),
            5 => (poison(key, header("kv-ttl-ms", "soon"), bytes), Some("bad header")),
            6 => {
                // In the plain form, as it is a mutation in all but its size.
                let large = format!("{name}-{:.<VALUE_BYTES_MAX$}", "");
                (Intent::put(key["default/".len()..].to_owned(), large), Some("too large"))
            }
            _ => (self.forged(), Some("forged control record")),
        }
    }

    /// A Seal that somebody else has signed: without a key, as genuine ones are.
    fn forged(&mut self) -> Intent {
        let control = Control {
            id: self.random.random(),
            log_id: self.log,
            partition: PartitionId(partition_of(b"", self.partitions).0),
            end_seen: Offset(0),
            mac_key_id: 1,
            op: ControlOp::Seal { next_generation: Generation(2) },
        };
        let raw = control.encode(&Keyring::new(1, [7; 32])).expect("the ring holds its key");
        let headers = raw.headers.into_iter().map(|(name, value)| (name.to_string(), value.into())).collect();
        Intent::new("", Change::Poison { headers, value: raw.value.map(Into::into) })
    }
}

/// A record that only says of which format it is: 2.0, which nobody has announced, and something in a field of its own.
fn of_format_200(more: &[u8]) -> Vec<u8> {
    const FORMAT_FIELD: [u8; 3] = [0x08, 0xc8, 0x01];
    // Field 2000, bytes.
    const MORE_FIELD: [u8; 2] = [0x82, 0x7d];
    let length = u8::try_from(more.len()).expect("a name is short");
    [&FORMAT_FIELD, &MORE_FIELD[..], &[length], more].concat()
}
