//! Segments that are no longer written to, opened when someone reads them.
//!
//! A bounded cache: a file and its blocks stay as long as they are among the last that were read.
//! Invariant: what is in the cache has passed [`segment::index_sealed`], or was indexed as it was written.

use std::sync::{Arc, Mutex, MutexGuard};

use super::{
    files::File,
    format::SegmentHeader,
    index::Index,
    segment::{self, index_sealed},
    shared::Shared,
};
use crate::Error;

/// How many files are open at most.
const FILES_MAX: usize = 64;
/// How many blocks are held at most, 40 bytes each, but for those of the segment that was read last.
const BLOCKS_MAX: usize = 1 << 20;

/// A sealed segment, ready to be read.
pub(super) struct Sealed {
    pub(super) file: Arc<File>,
    pub(super) index: Index,
}

#[derive(Default)]
pub(super) struct Cache {
    /// The last used last.
    slots: Mutex<Vec<Slot>>,
    /// Held while a segment is being indexed, so that readers of all partitions wait for one result.
    loading: Mutex<()>,
}

struct Slot {
    sequence: u64,
    sealed: Arc<Sealed>,
}

impl Cache {
    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().expect("nothing panics while it holds the cache")
    }

    /// The segment, if it is open.
    pub(super) fn get(&self, sequence: u64) -> Option<Arc<Sealed>> {
        let mut slots = self.slots();
        let at = slots.iter().position(|slot| slot.sequence == sequence)?;
        slots[at..].rotate_left(1);
        slots.last().map(|slot| Arc::clone(&slot.sealed))
    }

    pub(super) fn insert(&self, sequence: u64, sealed: Sealed) -> Arc<Sealed> {
        let sealed = Arc::new(sealed);
        let mut slots = self.slots();
        slots.retain(|slot| slot.sequence != sequence);
        slots.push(Slot { sequence, sealed: Arc::clone(&sealed) });
        let mut blocks: usize = slots.iter().map(|slot| slot.sealed.index.len()).sum();
        while slots.len() > 1 && (slots.len() > FILES_MAX || blocks > BLOCKS_MAX) {
            blocks -= slots.remove(0).sealed.index.len();
        }
        sealed
    }

    pub(super) fn remove(&self, sequence: u64) {
        self.slots().retain(|slot| slot.sequence != sequence);
    }
}

impl Shared {
    /// Opens a sealed segment. Reads all its groups' headers when it is not open yet.
    pub(super) fn open_sealed(
        &self,
        header: &SegmentHeader,
        next: &SegmentHeader,
    ) -> Result<Arc<Sealed>, Error> {
        let _one = self.sealed.loading.lock().expect("indexing does not panic");
        if let Some(sealed) = self.sealed.get(header.sequence) {
            return Ok(sealed);
        }
        let file = self.files.open(&segment::path(&self.dir, header.sequence)).map_err(segment::reading)?;
        let index = index_sealed(&file, header, next)?;
        Ok(self.sealed.insert(header.sequence, Sealed { file: Arc::new(file), index }))
    }
}
