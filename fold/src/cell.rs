//! The working state of one key within a flush.
//!
//! Invariant: [`Cell::row`] is the key's row after the records folded so far; where nothing was read and
//! nothing written yet it is unknown, and only blind mutations may touch it.

use millpond_schemas::{Created, RecordKey, Row, UnixMillis, Upsert, Version};

/// One key's row in the making.
#[derive(Debug)]
pub(crate) struct Cell {
    state: Known,
    created: Created,
    dirty: bool,
}

#[derive(Debug)]
enum Known {
    /// Not read, not written.
    Nothing,
    /// No row.
    Absent,
    /// This row.
    Row(Row),
}

impl Cell {
    /// From what the shard was asked: not at all, no row, or a row.
    pub(crate) fn new(read: Option<&Option<Row>>) -> Self {
        let state = match read {
            None => Known::Nothing,
            Some(None) => Known::Absent,
            Some(Some(row)) => Known::Row(row.clone()),
        };
        Self { state, created: Created::Known, dirty: false }
    }

    /// The row, if the key exists at `time`.
    ///
    /// # Panics
    /// When the row was neither read nor written: `needs` and `fold` disagree, our bug.
    pub(crate) fn live(&self, time: UnixMillis) -> Option<&Row> {
        match &self.state {
            Known::Nothing => panic!("a row that an operation looks at was read"),
            Known::Absent => None,
            Known::Row(row) => Some(row).filter(|row| row.is_live_at(time)),
        }
    }

    /// The version that the key has at `time`, where that is known.
    pub(crate) fn version(&self, time: UnixMillis) -> Option<Version> {
        match &self.state {
            Known::Row(row) if row.is_live_at(time) => Some(row.version),
            Known::Row(_) | Known::Absent | Known::Nothing => None,
        }
    }

    /// Writes what a put makes; the key's `created_at` follows from what was there.
    pub(crate) fn put(&mut self, mut row: Row) {
        let time = row.updated_at;
        match &self.state {
            Known::Nothing => {
                row.created_at = time;
                self.created = Created::KeepIfLive;
            }
            Known::Row(old) if old.is_live_at(time) => row.created_at = old.created_at,
            Known::Row(_) | Known::Absent => {
                row.created_at = time;
                self.created = Created::Known;
            }
        }
        self.write(row);
    }

    /// Writes a tombstone.
    pub(crate) fn delete(&mut self, key: &RecordKey, version: Version, time: UnixMillis) {
        self.created = Created::Known;
        self.write(Row::tombstone(key.clone(), version, time));
    }

    fn write(&mut self, row: Row) {
        self.state = Known::Row(row);
        self.dirty = true;
    }

    /// What the flush has to write, if anything.
    pub(crate) fn into_upsert(self) -> Option<Upsert> {
        match self.state {
            Known::Row(row) if self.dirty => Some(Upsert { row, created: self.created }),
            Known::Row(_) | Known::Absent | Known::Nothing => None,
        }
    }
}
