//! The local log, beside a plain loop of pwrite and fdatasync with the same sizes on a preallocated file.
//!
//! Three questions: bytes per second under load, fsyncs per second of one caller, and how long many callers wait.
//! Invariant: the loop writes as many bytes a write as the log's groups had on average, into segments of the same size that
//! stay until the stretch is over, and both find memory for the page cache that was used before: a virtual machine takes
//! several µs to give a page for the first time, which is no cost of a log.

use std::{
    collections::VecDeque,
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use hdrhistogram::Histogram;
use millpond_log::{
    Append, Log,
    local::{self, DirLock},
};
use millpond_schemas::{ByteString, FORMAT_RECORD, HEADER_FORMAT, Offset, PartitionId, Raw};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::task::JoinSet;

use super::{
    Plan,
    line::Line,
    sample::{Compared, RATE, Runs, Sample, Side, Stretch, float},
};

const PARTITIONS: u32 = 8;
/// Records of a call under load, as a batch makes them.
const CALL_RECORDS: u32 = 1_000;
/// Calls under way at once under load.
const UNDER_WAY: usize = 16;
/// Callers that wait for one record each.
const CALLERS: usize = 64;
const VALUE_BYTES: usize = 256;
const DURABILITY: &str = "fdatasync before each ack";
const P99_US: &str = "p99_us";
const WRITE_BYTES: &str = "write_bytes";

/// MB/s, fsyncs/s, p99 of acks.
pub(crate) async fn run(plan: &Plan) -> Result<Vec<Line>> {
    let folder = tempfile::TempDir::new().context("make a folder")?;
    let bench = Bench::open(folder.path()).await?;
    let length = plan.pick(Duration::from_millis(1500), Duration::from_secs(4));
    let mut lines = Vec::new();
    for (kind, compared, stage) in [
        (Kind::Load, Compared { measure: RATE, unit: "MB/s", cost: false, target: 0.90 }, "MB/s"),
        (
            Kind::Single,
            Compared { measure: RATE, unit: "fsync/s", cost: false, target: 0.95 },
            "fsyncs/s, one caller",
        ),
        (
            Kind::Callers,
            Compared { measure: P99_US, unit: "µs", cost: true, target: 1.0 / 2.2 },
            "p99 of an ack, 64 callers",
        ),
    ] {
        // Tells how much the log writes at once.
        let first = bench.ours(kind, length).await?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some bytes")]
        let bytes = (first.get(WRITE_BYTES) as usize).max(512);
        plain(folder.path(), (kind, bytes), length)?;
        let runs = Runs::interleave(plan.repeats, async |side, _| match side {
            Side::Baseline => plain(folder.path(), (kind, bytes), length),
            Side::Ours => bench.ours(kind, length).await,
        })
        .await?;
        let line = runs.line(&format!("local log: {stage}"), compared).durable(DURABILITY);
        lines.push(line.note(format!("{bytes} B a write; {}", runs.shares())));
    }
    bench.log.close().await;
    Ok(lines)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Large calls, several under way.
    Load,
    /// One record at a time.
    Single,
    /// Many callers, one record each.
    Callers,
}

struct Bench {
    log: Log,
    registry: Registry,
    value: Bytes,
}

impl Bench {
    async fn open(folder: &Path) -> Result<Self> {
        let lock = DirLock::acquire(folder).context("lock the folder")?;
        let options = local::Options::new(PARTITIONS);
        let log = Log::Local(local::Log::open(&lock, "log/mutations.1", options).await?);
        let mut registry = Registry::default();
        millpond_log::register(&mut registry, log.clone());
        Ok(Self { log, registry, value: vec![b'v'; VALUE_BYTES].into() })
    }

    async fn ours(&self, kind: Kind, length: Duration) -> Result<Sample> {
        let groups = self.groups()?;
        let stretch = Stretch::start()?;
        let (records, waits) = match kind {
            Kind::Load => (self.load(length).await?, None),
            Kind::Single => (self.callers(1, length).await?.len(), None),
            Kind::Callers => {
                let waits = self.callers(CALLERS, length).await?;
                (waits.len(), Some(waits))
            }
        };
        let groups = self.groups()? - groups;
        let bytes = float(records) * float(self.append(0).raw.len() as u64);
        let operations = if kind == Kind::Load { bytes / 1e6 } else { float(records) };
        let mut sample = stretch.end(operations)?;
        sample.set(WRITE_BYTES, bytes / groups.max(1.0));
        if let Some(waits) = waits {
            sample.set(P99_US, float(waits.value_at_quantile(0.99)));
        }
        self.log.trim(&self.ends().await?).await?;
        Ok(sample)
    }

    /// How many groups were synced so far.
    fn groups(&self) -> Result<f64> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        let count =
            text.lines().find_map(|line| line.strip_prefix("millpond_log_fsync_duration_seconds_count "));
        count.context("the log counts its groups")?.trim().parse().context("read how many")
    }

    async fn ends(&self) -> Result<Vec<Offset>> {
        let mut ends = Vec::new();
        for partition in 0..PARTITIONS {
            ends.push(self.log.bounds(PartitionId(partition)).await?.end);
        }
        Ok(ends)
    }

    fn append(&self, at: u32) -> Append {
        Append {
            partition: PartitionId(at % PARTITIONS),
            raw: Raw {
                key: Some(Bytes::from_static(b"default/key-000000000000")),
                headers: vec![(ByteString::from_static(HEADER_FORMAT), Bytes::from_static(FORMAT_RECORD))],
                value: Some(self.value.clone()),
            },
        }
    }

    async fn load(&self, length: Duration) -> Result<u64> {
        let (began, mut records, mut under_way) = (Instant::now(), 0, VecDeque::new());
        while began.elapsed() < length {
            let call: Vec<Append> = (0..CALL_RECORDS).map(|at| self.append(at)).collect();
            under_way.push_back(self.log.enqueue(&call)?);
            records += u64::from(CALL_RECORDS);
            if under_way.len() == UNDER_WAY {
                under_way.pop_front().context("some are under way")?.await?;
            }
        }
        for acks in under_way {
            acks.await?;
        }
        Ok(records)
    }

    /// Waits of callers with one record each, µs.
    async fn callers(&self, count: usize, length: Duration) -> Result<Histogram<u64>> {
        let (began, mut callers) = (Instant::now(), JoinSet::new());
        for at in 0..count {
            let (log, append) = (self.log.clone(), self.append(u32::try_from(at)?));
            callers.spawn(async move {
                let mut waits = Histogram::<u64>::new(3)?;
                while began.elapsed() < length {
                    let asked = Instant::now();
                    log.append(vec![append.clone()]).await?;
                    waits.record(micros(asked.elapsed()))?;
                }
                anyhow::Ok(waits)
            });
        }
        let mut all = Histogram::new(3)?;
        while let Some(waits) = callers.join_next().await {
            all.add(waits.context("a caller panicked")??)?;
        }
        Ok(all)
    }
}

/// Writes and syncs, one after the other, into files that have their space already.
fn plain(folder: &Path, (kind, bytes): (Kind, usize), length: Duration) -> Result<Sample> {
    let folder = tempfile::TempDir::new_in(folder).context("make a folder")?;
    let (buffer, room) = (vec![b'v'; bytes], (local::SEGMENT_BYTES / bytes as u64).max(1));
    let mut file = segment(folder.path(), 0)?;
    let (stretch, began) = (Stretch::start()?, Instant::now());
    let mut waits = Histogram::<u64>::new(3)?;
    while began.elapsed() < length {
        let at = waits.len() % room;
        if at == 0 && !waits.is_empty() {
            file = segment(folder.path(), waits.len() / room)?;
        }
        let asked = Instant::now();
        file.write_all_at(&buffer, at * bytes as u64)?;
        file.sync_data()?;
        waits.record(micros(asked.elapsed()))?;
    }
    let count = float(waits.len());
    let mut sample =
        stretch.end(if kind == Kind::Load { count * float(bytes as u64) / 1e6 } else { count })?;
    sample.set(P99_US, float(waits.value_at_quantile(0.99)));
    Ok(sample)
}

/// A file with its space.
fn segment(folder: &Path, number: u64) -> Result<File> {
    let file = File::create_new(folder.join(number.to_string())).context("make a file")?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, local::SEGMENT_BYTES)?;
    file.sync_all()?;
    Ok(file)
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1)
}
