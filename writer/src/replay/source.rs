//! What a replay reads: decoded ahead of it, up to where it is to stop.
//!
//! Invariant: what is handed on follows without a gap, and nothing of it lies behind the wanted place.

use std::{sync::Arc, time::Duration};

use millpond_fold::Entry;
use millpond_log::{Clock, Log};
use millpond_schemas::{Decoder, Offset, Position, Topology, UnixMillis, limits::TIME_JUMP_MS_MAX};
use tokio::sync::mpsc;

use super::LastClaim;
use crate::{
    Halt,
    admit::{mark, trimmed},
    stop::Stop,
};

/// Bytes that one read of the log brings at most.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Chunks that are read ahead of a fold.
const AHEAD_MAX: usize = 3;
/// Before a log that has no more is looked at again, should it not tell.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a replay stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Until {
    /// The last offset.
    pub(crate) offset: Offset,
    /// No record whose clamped time is later.
    pub(crate) time: Option<UnixMillis>,
}

/// Records that follow each other.
pub(crate) struct Chunk {
    pub(crate) entries: Vec<Entry>,
    /// The last offset that they and the holes behind them reach.
    pub(crate) to: Offset,
    /// Nothing comes after it.
    pub(crate) end: Option<End>,
}

/// Why nothing comes any more.
#[derive(Debug)]
pub(crate) enum End {
    /// It is where it was to stop, or the log has no more.
    Reached,
    /// It cannot go on.
    Stop(Stop),
}

/// Reads one partition.
pub(crate) struct Source {
    pub(crate) log: Log,
    pub(crate) decoder: Decoder,
    pub(crate) topology: Arc<Topology>,
    pub(crate) until: Until,
    /// None: time that runs ahead is taken as it comes.
    pub(crate) clock: Option<Clock>,
    /// Whether records that are not there yet are waited for.
    pub(crate) waits: bool,
    /// Told of every Claim.
    pub(crate) claims: LastClaim,
    /// Where to read on.
    pub(crate) next: Offset,
    /// Clamped time of the last record.
    pub(crate) time: UnixMillis,
}

impl Source {
    /// Reads ahead, in a task of its own, until nothing comes any more or nobody listens.
    pub(crate) fn start(mut self) -> (mpsc::Receiver<Chunk>, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(AHEAD_MAX);
        let reading = async move {
            loop {
                let chunk = tokio::select! {
                    chunk = self.chunk() => chunk,
                    () = sender.closed() => return,
                };
                let over = chunk.end.is_some();
                if sender.send(chunk).await.is_err() || over {
                    return;
                }
            }
        };
        (receiver, reading)
    }

    async fn chunk(&mut self) -> Chunk {
        match self.try_chunk().await {
            Ok(chunk) => chunk,
            Err(stop) => Chunk { entries: Vec::new(), to: self.next.previous(), end: Some(End::Stop(stop)) },
        }
    }

    async fn try_chunk(&mut self) -> Result<Chunk, Stop> {
        let mut changes = self.log.changes();
        while self.next <= self.until.offset {
            changes.mark_unchanged();
            let read = self.log.read(self.decoder.partition, self.next, READ_BYTES_MAX).await;
            let read = read.map_err(|error| trimmed(error, self.next))?;
            if read.next > self.next {
                let mut chunk = Chunk { entries: Vec::new(), to: read.next.previous(), end: None };
                for record in read.records {
                    let entry = Entry::new(&self.decoder, record);
                    if !self.take(entry, &mut chunk) {
                        break;
                    }
                }
                chunk.to = chunk.to.min(self.until.offset);
                self.next = chunk.to.next();
                return Ok(chunk);
            }
            if !self.waits {
                break;
            }
            // Either way it is read again.
            let _ = tokio::time::timeout(AGAIN, changes.changed()).await;
        }
        Ok(Chunk { entries: Vec::new(), to: self.next.previous(), end: Some(End::Reached) })
    }

    /// Adds an entry, unless it lies behind the wanted place or may not be applied. Whether to go on.
    fn take(&mut self, mut entry: Entry, chunk: &mut Chunk) -> bool {
        mark(&mut entry, self.decoder.partition, &self.topology);
        let time = entry.clamped(self.time);
        let end = if entry.offset > self.until.offset || self.until.time.is_some_and(|until| time > until) {
            Some(End::Reached)
        } else if !entry.time_skipped && self.is_ahead(entry.time) {
            let position = Position {
                generation: self.topology.generation,
                partition: self.decoder.partition,
                offset: entry.offset,
            };
            Some(End::Stop(Halt::TimeJump { position, time: entry.time }.into()))
        } else {
            None
        };
        if end.is_some() {
            // Holes before it are not passed over: they belong to what follows.
            chunk.to = chunk.entries.last().map_or(self.next.previous(), |last| last.offset);
            chunk.end = end;
            return false;
        }
        self.time = time;
        self.claims.look(&entry);
        chunk.entries.push(entry);
        true
    }

    fn is_ahead(&self, time: UnixMillis) -> bool {
        self.clock.as_ref().is_some_and(|clock| time.ms_since(clock.now()) > TIME_JUMP_MS_MAX)
    }
}
