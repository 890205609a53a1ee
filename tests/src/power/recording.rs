//! A run of the real binary with an HTTP load, recorded by strace: what it did to its files, and what it answered.
//!
//! Three lives in one data directory: one ends well, two are killed; in the last one SQLite's files are also moved on by
//! a checkpoint of another process. A recording is a folder, so that a state of it can be made again.
//! Invariant: the log that the run left holds every record that any crash of it may leave.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use millpond_log::{Log, local};
use millpond_schemas::{Offset, PartitionId, Position, Received};
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    load::{self, Sent},
    trace::{self, Answer, Event},
};
use crate::server::{Server, binary};

/// P of a recorded run.
pub const PARTITIONS: u32 = 3;
/// The smallest segments that the settings allow: a run fills several.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// The streams of a data directory, with their partitions.
pub const STREAMS: [(&str, u32); 2] = [("log/control", 1), (MUTATIONS, PARTITIONS)];
/// The stream that answers speak of.
pub const MUTATIONS: &str = "log/mutations.1";
/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longer than any write of a run.
const STRING_BYTES_MAX: &str = "4194304";

/// A recorded run.
pub struct Recording {
    /// The data directory that the run had.
    pub data_dir: PathBuf,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// By stream and partition, every record from offset 0.
    pub records: BTreeMap<&'static str, Vec<Vec<Received>>>,
    /// The calls that were answered with a position.
    pub sent: Vec<Sent>,
}

/// Of every partition: the highest offset that any answer has named so far.
pub type Floors = [Offset; PARTITIONS as usize];

impl Recording {
    /// Makes one in a folder: the data directory, the traces and what was sent stay there.
    ///
    /// # Errors
    /// A process does not start or end, or strace shows what is not understood.
    pub async fn make(folder: &Path, seed: u64) -> Result<Self> {
        let mut sent = Vec::new();
        for life in 0..3 {
            sent.extend(live(folder, life, seed).await.with_context(|| format!("life {life}"))?);
        }
        fs::write(folder.join("root"), folder.to_string_lossy().as_bytes())?;
        fs::write(folder.join("sent"), sent.iter().map(Sent::to_line).collect::<String>())?;
        Self::load(folder).await
    }

    /// Reads one from its folder, and leaves it as it is.
    ///
    /// # Errors
    /// It is none.
    pub async fn load(folder: &Path) -> Result<Self> {
        let mut traces = Vec::new();
        let mut names: Vec<PathBuf> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        names.retain(|name| name.extension().is_some_and(|extension| extension == "trace"));
        for name in names {
            traces.push(fs::read_to_string(&name).with_context(|| format!("read {}", name.display()))?);
        }
        // The folder may have been moved since.
        let root = fs::read_to_string(folder.join("root"))?;
        let events = trace::events(Path::new(&root), &traces)?;
        let records = records(&folder.join("data")).await?;
        let sent = fs::read_to_string(folder.join("sent"))?;
        let sent: Vec<Sent> = sent.lines().map(Sent::from_line).collect::<Result<_>>()?;
        ensure!(!sent.is_empty(), "nothing was answered");
        Ok(Self { data_dir: Path::new(&root).join("data"), events, records, sent })
    }

    /// What a power cut after so many events must have kept.
    pub fn floors(&self, done: usize) -> Floors {
        let mut floors = [Offset::NONE; PARTITIONS as usize];
        for event in &self.events[..done] {
            let Event::Answer(answer) = event else { continue };
            for position in answer.positions.iter().filter_map(|text| text.parse::<Position>().ok()) {
                let floor = &mut floors[position.partition.0 as usize];
                *floor = (*floor).max(position.offset);
            }
        }
        floors
    }

    /// The same run as if no sync of a file in the log's folder had done anything: what finds nothing wrong with it finds
    /// nothing.
    #[must_use]
    pub fn without_syncs(&self) -> Self {
        let log = self.data_dir.join("log");
        let is_sync = |event: &Event| matches!(event, Event::Sync(path, _) if path.starts_with(&log));
        // Numbers of events stay what they are.
        let nothing = || Event::Answer(Answer { status: 200, positions: Vec::new() });
        let events = self.events.iter().map(|event| if is_sync(event) { nothing() } else { event.clone() });
        let (data_dir, records) = (self.data_dir.clone(), self.records.clone());
        Self { data_dir, events: events.collect(), records, sent: self.sent.clone() }
    }

    /// How many answers were given by then.
    pub fn answers(&self, done: usize) -> usize {
        self.events[..done].iter().filter(|event| matches!(event, Event::Answer(_))).count()
    }
}

/// One life of the server.
async fn live(folder: &Path, life: u64, seed: u64) -> Result<Vec<Sent>> {
    let data = folder.join("data");
    let mut strace = strace(&folder.join(format!("life-{life}.trace")));
    strace
        .arg(binary())
        .env("MILLPOND_LOG__PARTITIONS", PARTITIONS.to_string())
        .env("MILLPOND_LOG__SEGMENT_BYTES", SEGMENT_BYTES.to_string())
        .stderr(Stdio::null());
    let server = Server::start_with(&data, strace, &[]).await?;
    let mut sent = load::run(&server.http, seed, life * 2).await?;
    if life == 2 {
        load::quiet(&server.http).await?;
        checkpoint(folder, &data).await?;
        sent.extend(load::run(&server.http, seed, life * 2 + 1).await?);
    }
    if life == 0 {
        terminate(server).await?;
    } else {
        server.kill_traced().await?;
    }
    Ok(sent)
}

fn strace(to: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ttt", "-y", "-xx", "-qq", "-s", STRING_BYTES_MAX, "-e"]);
    strace.arg(format!("trace={}", trace::CALLS)).arg("-o").arg(to);
    strace
}

/// Asks the server behind strace to end, and waits.
async fn terminate(mut server: Server) -> Result<()> {
    let pid = server.pid()?;
    for child in fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace() {
        std::process::Command::new("kill").args(["-TERM", child]).status()?;
    }
    let status = server.ended().await?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// Moves SQLite's write-ahead logs into their files, beside the running server.
async fn checkpoint(folder: &Path, data: &Path) -> Result<()> {
    for shard in 0..2 {
        let mut command = strace(&folder.join(format!("checkpoint-{shard}.trace")));
        command.arg("sqlite3").arg(data.join(format!("shard-{shard}.sqlite")));
        let output = command.arg("PRAGMA synchronous=NORMAL; PRAGMA wal_checkpoint(PASSIVE)").output();
        let output = tokio::time::timeout(PATIENCE, output).await.context("sqlite3 does not end")??;
        ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Everything on the streams of a data directory, read from a copy.
async fn records(data: &Path) -> Result<BTreeMap<&'static str, Vec<Vec<Received>>>> {
    let copy = TempDir::new()?;
    let mut all = BTreeMap::new();
    for (stream, _) in STREAMS {
        fs::create_dir_all(copy.path().join(stream))?;
        for entry in fs::read_dir(data.join(stream))? {
            let from = entry?.path();
            fs::copy(&from, copy.path().join(stream).join(from.file_name().context("a name")?))?;
        }
    }
    let lock = local::DirLock::acquire(copy.path())?;
    for (stream, partitions) in STREAMS {
        let log = open(&lock, stream, partitions).await?;
        all.insert(stream, read_all(&log).await?);
        log.close().await;
    }
    Ok(all)
}

/// Opens a stream as the recorded run did.
pub async fn open(lock: &local::DirLock, stream: &str, partitions: u32) -> Result<Log> {
    let options = local::Options { segment_bytes: SEGMENT_BYTES, ..local::Options::new(partitions) };
    Ok(Log::Local(local::Log::open(lock, stream, options).await?))
}

/// Every record, by partition.
pub async fn read_all(log: &Log) -> Result<Vec<Vec<Received>>> {
    let mut all = Vec::new();
    for partition in (0..log.partitions()).map(PartitionId) {
        let mut records: Vec<Received> = Vec::new();
        let bounds = log.bounds(partition).await?;
        ensure!(bounds.start == Offset(0), "partition {partition} starts at {}", bounds.start);
        while records.len() as u64 != bounds.end.0.unsigned_abs() {
            let next = Offset(i64::try_from(records.len())?);
            let some = log.read(partition, next, 1 << 20).await?.records;
            ensure!(!some.is_empty(), "partition {partition} ends early, at {next}");
            records.extend(some);
        }
        let in_order = records.iter().zip(0..).all(|(record, offset)| record.offset == Offset(offset));
        ensure!(in_order, "partition {partition} gives out other offsets than were asked for");
        all.push(records);
    }
    Ok(all)
}
