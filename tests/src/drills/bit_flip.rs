//! One bit is another: in a segment of the local log, in a row of SQLite, in a row of Postgres.
//!
//! It is found, never served, and harms no neighbour. The log's last group looks like a torn tail and is cut; where a copy
//! had applied it, the copy says so and stands still.

use std::{fs, ops::Range, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use millpond::embedded::Options;
use millpond_log::Error;
use millpond_schemas::{Offset, PartitionId, Received};
use millpond_shard::{Dump, Shard, SqliteConfig};
use millpond_writer::Config;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use tempfile::TempDir;

use super::{Context, Drill, Length, Need};
use crate::pond::{Pond, key, put_bytes};

mod rows;

const PARTITIONS: u32 = 2;
const SEGMENT_BYTES: u64 = 1 << 20;
/// Fills more than two segments.
const RECORDS: usize = 40;
const VALUE_BYTES: usize = 60_000;
const STREAM: &str = "log/mutations.1";
/// Where a segment's groups start.
const HEADER_BYTES: usize = 4096;
/// What of the header is not padding.
const HEADER_USED: usize = 48 + 8 * PARTITIONS as usize + 4;

pub(super) const DRILL: Drill = Drill {
    name: "bit-flip",
    number: 16,
    about: "one bit is another in a segment, or in a row of SQLite or Postgres: found, never served",
    engines: Need::Shared,
    long: Length::new(1800, 500),
    short: Length::new(120, 12),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let base = Base::make().await.context("make a log")?;
    let mut random = context.random(1);
    for round in 0..context.length().count {
        let region = Region::ALL[usize::try_from(round)? % Region::ALL.len()];
        base.flip(region, &mut random).await.with_context(|| format!("round {round}, {region:?}"))?;
        context.fault("bit flipped in a segment", &format!("{region:?}"));
        context.operations(1, 0, 0);
    }
    rows::sqlite(&context).await.context("a row of SQLite")?;
    rows::postgres(&context).await.context("a row of Postgres")
}

/// Where a bit may flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Region {
    /// A segment's header.
    Header,
    /// A group of a segment that is no longer written to.
    Sealed,
    /// A group of the last segment that others follow.
    Middle,
    /// The last group.
    Last,
}

impl Region {
    const ALL: [Self; 4] = [Self::Header, Self::Sealed, Self::Middle, Self::Last];
}

/// A data directory that is closed, and what it holds.
struct Base {
    folder: TempDir,
    records: Vec<Vec<Received>>,
    dumps: Vec<Dump>,
}

fn options(dir: &Path) -> Options {
    Options { partitions: PARTITIONS, shards: 1, segment_bytes: SEGMENT_BYTES, ..Options::new(dir) }
}

impl Base {
    async fn make() -> Result<Self> {
        let folder = TempDir::new()?;
        let pond = Pond::open(&options(folder.path())).await?;
        let writer = pond.writer(Config::default());
        for at in 0..RECORDS {
            // The last group is small, as the others are not: it holds one partition.
            pond.send(&put_bytes(&format!("k{at}"), vec![b'a' + u8::try_from(at % 26)?; VALUE_BYTES]))
                .await?;
        }
        pond.drained().await?;
        writer.stop().await;
        let (mut records, mut dumps) = (Vec::new(), Vec::new());
        for partition in (0..PARTITIONS).map(PartitionId) {
            records.push(read_all(&pond, partition).await?);
            dumps.push(pond.dump(partition).await?);
        }
        pond.close().await;
        Ok(Self { folder, records, dumps })
    }

    /// A copy of the directory.
    fn copy(&self) -> Result<TempDir> {
        let copy = TempDir::new()?;
        crate::process::run(
            std::process::Command::new("cp").arg("-a").arg(self.folder.path().join(".")).arg(copy.path()),
        )?;
        Ok(copy)
    }

    async fn flip(&self, region: Region, random: &mut StdRng) -> Result<()> {
        let copy = self.copy()?;
        let segments = segments(copy.path())?;
        ensure!(segments.len() > 2, "there are several segments");
        let (last, sealed) = segments.split_last().context("there are segments")?;
        let path = match region {
            Region::Header => segments.choose(random),
            Region::Sealed => sealed.choose(random),
            Region::Middle | Region::Last => Some(last),
        };
        let path = path.context("there are segments")?;
        let mut bytes = fs::read(path)?;
        let groups = groups(&bytes);
        ensure!(groups.len() > 1, "{} has {} groups", path.display(), groups.len());
        let range = match region {
            Region::Header => 0..HEADER_USED,
            Region::Sealed => groups.choose(random).cloned().unwrap_or_default(),
            Region::Middle => groups[..groups.len() - 1].choose(random).cloned().unwrap_or_default(),
            Region::Last => groups.last().cloned().unwrap_or_default(),
        };
        // Headers are a small part of a group and as good a place: every other flip is there.
        let end = if random.random() { range.end } else { range.end.min(range.start + 64) };
        let at = random.random_range(range.start..end);
        bytes[at] ^= 1 << random.random_range(0..8);
        fs::write(path, &bytes)?;
        let is_padding = region != Region::Header && range.end - at < 8;
        let found = match region {
            Region::Header | Region::Middle => is_refused(copy.path()).await,
            Region::Sealed => self.is_found_by_readers(copy.path()).await,
            Region::Last => self.is_missed_by_copies(copy.path()).await,
        };
        match found {
            Err(_) if is_padding => Ok(()),
            other => other.with_context(|| format!("byte {at} of {range:?} in {}", path.display())),
        }
    }

    /// Whoever reads there is told, and no one reads anything else than was written; rows are as they were; a copy that
    /// has to be made from the log halts, and its neighbour does not.
    async fn is_found_by_readers(&self, dir: &Path) -> Result<()> {
        let pond = Pond::open(&options(dir)).await?;
        let mut corrupt = Vec::new();
        for (partition, records) in (0..).map(PartitionId).zip(&self.records) {
            match read_all(&pond, partition).await {
                Ok(read) => ensure!(read == *records, "partition {partition} serves something else"),
                Err(error) if is_corrupt(&error) => corrupt.push(partition),
                Err(error) => return Err(error),
            }
            ensure!(pond.dump(partition).await? == self.dumps[partition.0 as usize], "a row has changed");
        }
        let replayed = TempDir::new()?;
        let shard = Shard::open(&SqliteConfig::new(replayed.path().join("shard.sqlite"))).await?;
        for partition in &corrupt {
            ensure!(pond.replay(*partition, &shard, 100).await.is_err(), "a replay goes over it");
        }
        shard.close().await;
        pond.close().await;
        ensure!(!corrupt.is_empty(), "nobody is told");
        for file in ["", "-wal", "-shm"] {
            let _absent = fs::remove_file(dir.join(format!("shard-0.sqlite{file}")));
        }
        let pond = Pond::open(&options(dir)).await?;
        let writer = pond.writer(Config::default());
        for partition in (0..PARTITIONS).map(PartitionId) {
            if corrupt.contains(&partition) {
                ensure!(writer.halted(partition).await? == "log-corrupt", "it halts for another reason");
            } else {
                let last = self.records[partition.0 as usize].last().context("it has records")?.offset;
                pond.applied(partition, last).await?;
            }
        }
        writer.stop().await;
        pond.close().await;
        Ok(())
    }

    /// The group is cut, and the copy that has applied it halts and stays as it was, also when the log grows again.
    async fn is_missed_by_copies(&self, dir: &Path) -> Result<()> {
        let pond = Pond::open(&options(dir)).await?;
        let mut cut = Vec::new();
        for (partition, records) in (0..).map(PartitionId).zip(&self.records) {
            let read = read_all(&pond, partition).await?;
            ensure!(records.starts_with(&read), "partition {partition} serves something else");
            if read.len() < records.len() {
                cut.push((partition, records.len() - read.len()));
            }
        }
        ensure!(!cut.is_empty(), "nothing was cut");
        let writer = pond.writer(Config::default());
        for (partition, _) in &cut {
            let halt = writer.halted(*partition).await?;
            ensure!(["log-gap", "log-diverged"].contains(&halt), "it halts with {halt}");
        }
        for (partition, count) in &cut {
            for at in 0..=*count {
                let raw = put_bytes(&key_of(&pond, *partition, at), vec![b'z']).encode();
                pond.append(*partition, raw).await?;
            }
        }
        writer.stop().await;
        let writer = pond.writer(Config::default());
        for (partition, _) in &cut {
            let halt = writer.halted(*partition).await?;
            ensure!(["log-gap", "log-diverged"].contains(&halt), "it halts with {halt}");
            let (now, before) = (pond.dump(*partition).await?, &self.dumps[partition.0 as usize]);
            ensure!(now == *before, "partition {partition} was changed");
        }
        writer.stop().await;
        pond.close().await;
        Ok(())
    }
}

/// A key of a partition.
fn key_of(pond: &Pond, partition: PartitionId, number: usize) -> String {
    let names = (0..).map(|at| format!("new-{at}"));
    names.filter(|name| pond.partition(&key(name)) == partition).nth(number).unwrap_or_default()
}

/// The directory does not open, and the log is said to be why.
async fn is_refused(dir: &Path) -> Result<()> {
    match Pond::open(&options(dir)).await {
        Err(error) if is_corrupt(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(pond) => {
            pond.close().await;
            bail!("it opens")
        }
    }
}

fn is_corrupt(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Corrupt { .. })))
}

async fn read_all(pond: &Pond, partition: PartitionId) -> Result<Vec<Received>> {
    let (mut all, bounds) = (Vec::new(), pond.embedded.log.bounds(partition).await?);
    let mut next = bounds.start;
    while next < bounds.end {
        let read = pond.embedded.log.read(partition, next, 1 << 20).await?;
        ensure!(read.next > next, "a read ends before the log does");
        next = read.next;
        all.extend(read.records);
    }
    ensure!(next == bounds.end && bounds.start == Offset(0), "it was read whole");
    Ok(all)
}

fn segments(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(dir.join(STREAM))?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Where the groups of a segment lie: each says how long it is.
fn groups(bytes: &[u8]) -> Vec<Range<usize>> {
    let number = |at: usize| {
        bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    };
    let (mut groups, mut at) = (Vec::new(), HEADER_BYTES);
    while bytes.get(at..at + 8) == bytes.get(24..32) {
        let length = number(at + 24) as usize;
        groups.push(at..at + length);
        at += length;
    }
    groups
}
