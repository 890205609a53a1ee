//! What the log makes of a partition, in a file that is thrown away.
//!
//! Invariant: it is made from the log and the topology alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use millpond_fold::Entry;
use millpond_log::{Error as LogError, Log};
use millpond_schemas::{Decoder, Offset, Topology, UnixMillis, Watermark};
use millpond_shard::{CopyReader, Error, Shard, SqliteConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::CannotTell;
use crate::{
    Edge,
    replay::{
        LastClaim, Reading, Start, is_claim,
        lane::{Bounds, Lane},
        source::{End, Source, Until},
        state,
    },
};

/// How large flushes are.
const BOUNDS: Bounds = Bounds { records_max: 10_000, bytes_max: 16 * 1024 * 1024, tidies: true };

/// Keys come from everywhere: a page found in memory is one that is not read.
const CACHE_KIB: u32 = 64 * 1024;

/// A replay under way.
pub(super) struct Scratch {
    path: PathBuf,
    shard: Shard,
    decoder: Decoder,
    claims: LastClaim,
    /// The last offset that is so old that outcomes up to it may be forgotten, and its clamped time.
    old: (Offset, UnixMillis),
}

/// What a replay follows, and who hears of it.
pub(super) struct Along<'a> {
    pub(super) log: &'a Log,
    pub(super) topology: &'a Arc<Topology>,
    pub(super) stop: &'a CancellationToken,
    /// Hears of every flush: its records, and the offset that it reached.
    pub(super) told: &'a (dyn Fn(u64, Offset) + Sync),
}

impl Scratch {
    /// An empty one, in place of what an earlier attempt left.
    pub(super) async fn new(path: &Path, decoder: Decoder) -> Result<Self, CannotTell> {
        remove(path)?;
        let config =
            SqliteConfig { readers: 1, cache_kib: CACHE_KIB, throwaway: true, ..SqliteConfig::new(path) };
        Ok(Self {
            shard: Shard::open(&config).await?,
            path: path.to_owned(),
            decoder,
            claims: LastClaim::default(),
            old: (Offset::NONE, UnixMillis::EPOCH),
        })
    }

    /// Replays the log up to where a copy stands. Answers how far it came: less only when it was stopped.
    pub(super) async fn replay(
        &mut self,
        along: &Along<'_>,
        copy: &Watermark,
    ) -> Result<Watermark, CannotTell> {
        let decoder = self.decoder.clone();
        let start = Start { log: along.log, decoder: &decoder, topology: along.topology };
        let before = UnixMillis(Edge::before(copy).0.saturating_sub(1));
        let mut watermark = start.watermark(&self.shard).await?;
        if watermark.applied == Offset::NONE {
            let until = Until { offset: copy.applied, time: Some(before) };
            watermark = self.run(&start, watermark, until, along).await?;
            self.old = (watermark.applied, watermark.time);
        } else {
            self.age(along, Until { offset: watermark.applied, time: Some(before) }).await?;
        }
        self.run(&start, watermark, Until { offset: copy.applied, time: None }, along).await
    }

    async fn run(
        &self,
        start: &Start<'_>,
        watermark: Watermark,
        until: Until,
        along: &Along<'_>,
    ) -> Result<Watermark, CannotTell> {
        let state = state(&self.shard, watermark).await?;
        let lane = Lane::new(self.shard.clone(), state, BOUNDS, along.stop.clone());
        let reading = Reading { clock: None, waits: true, claims: self.claims.clone() };
        Ok(start.run(lane, until, reading, along.told).await?)
    }

    /// More has become old since: looks for it on the log, from where that ended.
    async fn age(&mut self, along: &Along<'_>, until: Until) -> Result<(), CannotTell> {
        let source = Source {
            log: along.log.clone(),
            decoder: self.decoder.clone(),
            topology: Arc::clone(along.topology),
            until,
            clock: None,
            waits: false,
            claims: LastClaim::default(),
            next: self.old.0.next(),
            time: self.old.1,
        };
        let (mut chunks, reader) = source.start();
        let mut reading = JoinSet::new();
        reading.spawn(reader);
        let mut failed = None;
        while let Some(chunk) = chunks.recv().await {
            for entry in &chunk.entries {
                self.old = (entry.offset, entry.clamped(self.old.1));
            }
            if let Some(End::Stop(stop)) = chunk.end {
                failed = Some(stop);
            }
        }
        while let Some(ended) = reading.join_next().await {
            ended.expect("a reader never panics");
        }
        // Not knowing what is old, it would miss what the copy was right to forget.
        failed.map_or(Ok(()), |stop| Err(stop.into()))
    }

    /// What a copy at this watermark may have forgotten.
    pub(super) fn edge(&self, copy: &Watermark) -> Edge {
        Edge::at(copy, self.old.0.next())
    }

    /// Whether a copy may name this owner: none, or the last Claim up to where it stands, or any behind that.
    pub(super) async fn may_be_owned(&self, log: &Log, copy: &Watermark) -> Result<bool, CannotTell> {
        if copy.owner == Offset::NONE {
            return Ok(true);
        }
        if copy.owner <= copy.applied {
            return Ok(copy.owner == self.claims.offset());
        }
        match log.record(copy.partition, copy.owner).await {
            Ok(Some(record)) => Ok(is_claim(&Entry::new(&self.decoder, record))),
            Ok(None) | Err(LogError::BeyondEnd { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what was made.
    pub(super) async fn reader(&self) -> Result<CopyReader, Error> {
        self.shard.copy_reader(self.decoder.partition).await
    }

    /// Throws away what was made, to begin again.
    pub(super) async fn again(&mut self) -> Result<(), CannotTell> {
        self.shard.close().await;
        *self = Self::new(&self.path, self.decoder.clone()).await?;
        Ok(())
    }

    /// Throws it away.
    pub(super) async fn close(self) -> Result<(), CannotTell> {
        self.shard.close().await;
        remove(&self.path)
    }
}

/// The file, and those that SQLite keeps beside it.
fn remove(path: &Path) -> Result<(), CannotTell> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let told = format!("cannot remove {}: {error}", Path::new(&name).display());
                return Err(CannotTell::Unavailable(told));
            }
            _ => {}
        }
    }
    Ok(())
}
