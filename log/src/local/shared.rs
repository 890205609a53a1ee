//! What appender and readers share: which segments there are, and how far each partition can be read.
//!
//! Invariant: nothing is in here before it is durable.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use millpond_schemas::{Offset, PartitionId};
use tokio::sync::watch;

use super::{
    Options, beside,
    files::{File, Files},
    format::{GroupHeader, SegmentHeader},
    index::{Block, Cursor, Index, slot},
    queue::Queue,
    sealed::{Cache, Sealed},
    segment,
    shut::Shutter,
};
use crate::{Bounds, Error, meters::Meters};

pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) files: Files,
    pub(super) queue: Queue,
    pub(super) sealed: Cache,
    pub(super) changes: watch::Sender<u64>,
    pub(super) meters: Meters,
    pub(super) shut: Shutter,
    /// One trim at a time, so that segments go oldest first.
    pub(super) trimming: Mutex<()>,
    state: Mutex<State>,
}

pub(super) struct State {
    /// Without a gap; the last is the one that is written to.
    pub(super) segments: Vec<Arc<SegmentHeader>>,
    /// The last segment's file and blocks, and where the log stands.
    pub(super) file: Arc<File>,
    pub(super) index: Index,
    pub(super) cursor: Cursor,
}

/// Where to read.
pub(super) enum Located {
    /// Nothing is there yet.
    End,
    /// In the last segment.
    Last(Arc<File>, Vec<Block>),
    /// In this segment, which ends where the other starts.
    Sealed(Arc<SegmentHeader>, Arc<SegmentHeader>),
}

impl Shared {
    pub(super) fn new(dir: PathBuf, options: Options, files: Files, state: State) -> Self {
        Self {
            dir,
            queue: Queue::new(options.queue_bytes_max),
            options,
            files,
            sealed: Cache::default(),
            changes: watch::Sender::new(0),
            meters: Meters::default(),
            shut: Shutter::default(),
            trimming: Mutex::new(()),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    pub(super) fn bounds(&self, partition: PartitionId) -> Bounds {
        self.state().bounds(partition)
    }

    /// Finds where an offset lies, and how much behind it fits `bytes_max`.
    pub(super) fn locate(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Located, Error> {
        let state = self.state();
        let Bounds { start, end } = state.bounds(partition);
        if from < start {
            return Err(Error::Trimmed { start });
        }
        if from > end {
            return Err(Error::BeyondEnd { end });
        }
        if from == end {
            return Ok(Located::End);
        }
        let after = state.segments.partition_point(|segment| segment.first[slot(partition)] <= from);
        let found = &state.segments[after - 1];
        Ok(match state.segments.get(after) {
            Some(next) => Located::Sealed(Arc::clone(found), Arc::clone(next)),
            None => {
                Located::Last(Arc::clone(&state.file), state.index.find(partition, from, bytes_max).to_vec())
            }
        })
    }

    /// A group is durable: lets readers see it.
    pub(super) fn commit(&self, group: &GroupHeader) -> Cursor {
        let mut state = self.state();
        let State { index, cursor, .. } = &mut *state;
        cursor.advance(group, index).expect("the appender made it to follow");
        let cursor = cursor.clone();
        drop(state);
        self.changes.send_modify(|count| *count += 1);
        cursor
    }

    /// The last segment was cut and opened anew.
    pub(super) fn reopened(&self, file: Arc<File>) {
        self.state().file = file;
    }

    /// A new, empty segment is durable: it is the last one now.
    pub(super) fn rolled(&self, header: Arc<SegmentHeader>, file: Arc<File>) {
        let mut state = self.state();
        let sequence = state.last().sequence;
        state.cursor = Cursor::at_start(&header);
        let index = std::mem::replace(&mut state.index, Index::new(header.first.len()));
        let file = std::mem::replace(&mut state.file, file);
        state.segments.push(header);
        // While the state is held: the segment is sealed for readers the moment this is done.
        self.sealed.insert(sequence, Sealed { file, index });
    }

    /// Removes the segments of which every partition is below its floor. The last one stays; all do while another process
    /// reads.
    pub(super) fn trim(&self, floors: &[Offset]) -> Result<(), Error> {
        let _one = self.trimming.lock().expect("a trim does not panic");
        let alone = beside::alone(&self.dir);
        let Some(_alone) =
            alone.map_err(|error| Error::unavailable("it could not lock its folder", error))?
        else {
            tracing::info!(dir = %self.dir.display(), "not trimmed: another process reads the log");
            return Ok(());
        };
        while let Some(header) = self.take_below(floors) {
            self.sealed.remove(header.sequence);
            match self.files.remove(&segment::path(&self.dir, header.sequence), &self.dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // It must go before its successors do, or the chain would have a gap.
                    self.state().segments.insert(0, header);
                    return Err(Error::unavailable("it could not remove a segment", error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes out the first segment when all in it is below the floors.
    fn take_below(&self, floors: &[Offset]) -> Option<Arc<SegmentHeader>> {
        let mut state = self.state();
        state.first_is_below(floors).then(|| state.segments.remove(0))
    }

    /// Whether the first segment could go.
    pub(super) fn could_trim(&self, floors: &[Offset]) -> bool {
        self.state().first_is_below(floors)
    }
}

impl State {
    /// The segment that is written to.
    pub(super) fn last(&self) -> &Arc<SegmentHeader> {
        self.segments.last().expect("a log has a segment")
    }

    fn first_is_below(&self, floors: &[Offset]) -> bool {
        let [_, second, ..] = self.segments.as_slice() else { return false };
        second.first.iter().zip(floors).all(|(end, floor)| end <= floor)
    }

    pub(super) fn bounds(&self, partition: PartitionId) -> Bounds {
        let start = self.segments.first().expect("a log has a segment").first[slot(partition)];
        Bounds { start, end: self.cursor.next[slot(partition)] }
    }
}
