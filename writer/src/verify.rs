//! Is a copy what its log says? Replays the log beside it, to the same offset, and compares everything.
//!
//! Not here: mending what differs. The copy is only read, and it is held at one moment for no longer than the comparison
//! takes: the replay runs before, and only what came meanwhile is replayed while it is held.
//! Invariant: nothing of the copy is believed but where it stands.

mod compare;
mod scratch;
mod verdict;

use std::{path::Path, sync::Arc};

use futures_util::TryStreamExt;
use millpond_log::{Log, Topologies};
use millpond_schemas::{Decoder, Keyring, Offset, PartitionId, Position, Topology, Watermark};
use millpond_shard::{CopyReader, Error, Shard, Table};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use self::verdict::{CannotTell, Difference, How, Verdict};
use self::{
    compare::{Comparison, Ended},
    scratch::{Along, Scratch},
};
use crate::CopyDigest;

/// How often a copy is read when it fails meanwhile: a replica cancels what stands in its way.
const ATTEMPTS_MAX: u32 = 5;

/// What a verification stands on.
pub struct Verify<'a> {
    /// The mutations log.
    pub log: &'a Log,
    /// What operators skipped. Read on whenever a copy was looked at.
    pub topologies: &'a Mutex<Topologies>,
    /// To verify control records.
    pub keyring: Keyring,
    /// A folder for scratch copies, each as large as a partition.
    pub scratch: &'a Path,
    /// Most differences of a partition that are named.
    pub differences_max: usize,
    /// Hears how far it has come.
    pub told: &'a (dyn Fn(PartitionId, Progress) + Sync),
    /// Ends it.
    pub stop: CancellationToken,
}

/// How far a verification of one partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Some of the log was replayed.
    Replayed {
        /// So many records more.
        records: u64,
        /// Up to here.
        applied: Offset,
        /// The copy was here.
        to: Offset,
    },
    /// So many things, rows and all, have been compared since the comparison began.
    Compared(u64),
}

/// A copy, or what its watermark alone says.
enum Looked {
    Copy(CopyReader, Watermark),
    Differs(How),
}

/// How an attempt ended.
enum Attempt {
    Done(Verdict),
    /// The copy could not be read to its end, or stands below the replay: why.
    Again(String),
}

impl Verify<'_> {
    /// Verifies the copy of a partition on `shard`.
    ///
    /// # Errors
    /// [`CannotTell`]: nothing was found out.
    pub async fn run(&self, shard: &Shard, partition: PartitionId) -> Result<Verdict, CannotTell> {
        let looked = look(shard, partition).await?;
        let topology = self.topology().await?;
        let copy = match looked {
            Looked::Copy(reader, watermark) => {
                reader.close().await;
                watermark
            }
            Looked::Differs(how) => return Ok(alone(&topology, partition, how)),
        };
        let path = self.scratch.join(format!("partition-{partition}.sqlite"));
        let mut scratch = Scratch::new(&path, self.decoder(&topology, partition)).await?;
        let verified = self.beside(&mut scratch, shard, copy).await;
        scratch.close().await?;
        verified
    }

    async fn beside(
        &self,
        scratch: &mut Scratch,
        shard: &Shard,
        copy: Watermark,
    ) -> Result<Verdict, CannotTell> {
        let topology = self.topology().await?;
        if let Some(how) = self.against_log(&copy, &topology).await? {
            return Ok(alone(&topology, copy.partition, how));
        }
        self.replay(scratch, &topology, &copy).await?;
        let mut left = ATTEMPTS_MAX;
        loop {
            left -= 1;
            match self.attempt(scratch, shard, copy.partition).await? {
                Attempt::Done(verdict) => return Ok(verdict),
                Attempt::Again(why) if left == 0 => return Err(CannotTell::Unavailable(why)),
                Attempt::Again(why) => {
                    tracing::debug!(partition = copy.partition.0, why, "a copy is read anew");
                }
            }
        }
    }

    /// Holds the copy at one moment, replays what came since the last, and compares.
    async fn attempt(
        &self,
        scratch: &mut Scratch,
        shard: &Shard,
        partition: PartitionId,
    ) -> Result<Attempt, CannotTell> {
        let looked = match look(shard, partition).await {
            Err(CannotTell::Unavailable(why)) => return Ok(Attempt::Again(why)),
            looked => looked?,
        };
        // Read after the copy: whatever it has skipped is in it.
        let topology = self.topology().await?;
        let (mut reader, copy) = match looked {
            Looked::Copy(reader, copy) => (reader, copy),
            Looked::Differs(how) => return Ok(Attempt::Done(alone(&topology, partition, how))),
        };
        if let Some(how) = self.against_log(&copy, &topology).await? {
            return Ok(Attempt::Done(alone(&topology, partition, how)));
        }
        let log = self.replay(scratch, &topology, &copy).await?;
        if log.applied > copy.applied {
            scratch.again().await?;
            return Ok(Attempt::Again(format!("the copy has gone back to offset {}", copy.applied)));
        }
        let told = |compared| (self.told)(partition, Progress::Compared(compared));
        let edge = scratch.edge(&copy);
        let mut comparison = Comparison::new([&copy, &log], edge, self.differences_max, &self.stop, &told);
        if !scratch.may_be_owned(self.log, &copy).await? {
            comparison.differs(Difference::watermark(How::Columns(vec!["owner"])));
        }
        let mut expected = scratch.reader().await?;
        let compared = comparison.run(&mut reader, &mut expected).await;
        reader.close().await;
        expected.close().await;
        match compared {
            Ok(verdict) => Ok(Attempt::Done(verdict)),
            Err(Ended::Stopped) => Err(CannotTell::Stopped),
            Err(Ended::Failed(error)) => Ok(Attempt::Again(crate::stop::in_words(&error))),
        }
    }

    async fn replay(
        &self,
        scratch: &mut Scratch,
        topology: &Arc<Topology>,
        copy: &Watermark,
    ) -> Result<Watermark, CannotTell> {
        let told = |records, applied| {
            (self.told)(copy.partition, Progress::Replayed { records, applied, to: copy.applied });
        };
        let along = Along { log: self.log, topology, stop: &self.stop, told: &told };
        let log = scratch.replay(&along, copy).await?;
        if self.stop.is_cancelled() {
            return Err(CannotTell::Stopped);
        }
        if log.applied < copy.applied {
            let (reached, wanted) = (log.applied, copy.applied);
            let told = format!("the log could be read up to offset {reached}, not to {wanted}");
            return Err(CannotTell::Unavailable(told));
        }
        Ok(log)
    }

    /// Whether the log is the copy's at all, whole, and as long as the copy says.
    async fn against_log(&self, copy: &Watermark, topology: &Topology) -> Result<Option<How>, CannotTell> {
        if copy.log_id != topology.log_id {
            let told = format!("the copy is of log {}, this is log {}", copy.log_id, topology.log_id);
            return Err(CannotTell::LogDiverged(told));
        }
        let bounds = self.log.bounds(copy.partition).await?;
        if bounds.start > Offset(0) {
            return Err(CannotTell::LogTrimmed { start: bounds.start });
        }
        let (applied, end) = (copy.applied, bounds.end);
        let longer = || How::Broken(format!("it has applied up to offset {applied}, the log ends at {end}"));
        Ok((applied >= end).then(longer))
    }

    async fn topology(&self) -> Result<Arc<Topology>, CannotTell> {
        let mut topologies = self.topologies.lock().await;
        topologies.read_on().await?;
        let current = topologies.current().cloned();
        current.ok_or_else(|| CannotTell::Unavailable("there is no topology".to_owned()))
    }

    fn decoder(&self, topology: &Topology, partition: PartitionId) -> Decoder {
        Decoder {
            log_id: topology.log_id,
            partition,
            partitions: topology.partitions(),
            keyring: self.keyring.clone(),
        }
    }
}

/// Nothing but the watermark was compared.
fn alone(topology: &Topology, partition: PartitionId, how: How) -> Verdict {
    let position = Position { generation: topology.generation, partition, offset: Offset::NONE };
    let mut verdict = Verdict::new(position, CopyDigest::default(), CopyDigest::default());
    verdict.add(Difference::watermark(how), 1);
    verdict
}

async fn look(shard: &Shard, partition: PartitionId) -> Result<Looked, CannotTell> {
    let mut reader = match shard.copy_reader(partition).await {
        Ok(reader) => reader,
        Err(error @ Error::Corrupt { .. }) => {
            return Ok(Looked::Differs(How::Broken(crate::stop::in_words(&error))));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(watermark) = reader.watermark().cloned() {
        return Ok(Looked::Copy(reader, watermark));
    }
    let mut orphans = false;
    for table in Table::ALL {
        orphans |= reader.stream(table).try_next().await?.is_some();
    }
    reader.close().await;
    if orphans { Ok(Looked::Differs(How::Missing)) } else { Err(CannotTell::CopyMissing) }
}
