//! The digest of a copy: one number that does not depend on the engine, on the order of rows, or on how flushes were cut.
//!
//! Not here: comparing copies (`verify`). Invariant: copies of one log at one offset have the same digest; what
//! housekeeping may have forgotten by then is in none.

use futures_util::TryStreamExt;
use millpond_schemas::{
    Offset, PartitionId, UnixMillis, Watermark,
    limits::{MEMORY_MS, WINDOW_OFFSETS},
};
use millpond_shard::{CopyReader, Error, Name, Shard, Stored, Table};

/// What a copy at some watermark need not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Ids of other generations than this are forgotten.
    generation: i64,
    /// Ids and operations before it are forgotten.
    before: UnixMillis,
    /// Ids below it are forgotten.
    ids: Offset,
    /// Outcomes below it are forgotten: the first offset whose clamped time is not before `before`.
    outcomes: Offset,
}

impl Edge {
    /// At a watermark. `outcomes`: the first offset whose clamped time is at least [`Edge::before`] of it; only the log
    /// knows. `Offset(0)` where all of the log is younger than the memory of 24 h.
    pub fn at(watermark: &Watermark, outcomes: Offset) -> Self {
        Self {
            generation: i64::from(watermark.generation.0),
            before: Self::before(watermark),
            ids: Offset(watermark.applied.0.saturating_sub(WINDOW_OFFSETS)),
            outcomes,
        }
    }

    /// What is older than this may be forgotten.
    pub fn before(watermark: &Watermark) -> UnixMillis {
        UnixMillis(watermark.time.0.saturating_sub_unsigned(MEMORY_MS))
    }

    /// Whether housekeeping may have deleted it.
    pub fn forgets(&self, table: Table, stored: &Stored) -> bool {
        let old = stored.time.is_some_and(|time| time < self.before);
        match (table, &stored.name) {
            (Table::Outcomes, Name::Place { generation, offset }) => {
                *generation < self.generation || *offset < self.outcomes.0
            }
            (Table::Seen, Name::Place { generation, offset }) => {
                old || *generation < self.generation || *offset < self.ids.0
            }
            (Table::Operations, _) => old,
            (Table::Rows | Table::DeadLetters | Table::Outcomes | Table::Seen, _) => false,
        }
    }
}

/// What a copy holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyDigest {
    /// Rows, tombstones included.
    pub rows: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Outcomes that are not plain success.
    pub outcomes: u64,
    /// Ids of the duplicate window.
    pub seen: u64,
    /// Durable ids.
    pub operations: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// The sum of all their parts and the watermark's; see [`Stored::part`]. What is broken has none.
    pub digest: u128,
}

impl CopyDigest {
    /// Of an empty copy with this watermark.
    pub fn new(watermark: &Watermark) -> Self {
        Self { digest: watermark.part(), ..Self::default() }
    }

    /// Adds one thing, unless it may be forgotten.
    pub fn add(&mut self, edge: &Edge, table: Table, stored: &Stored) {
        if stored.is_broken_pack() || edge.forgets(table, stored) {
            return;
        }
        let count = match table {
            Table::Rows => &mut self.rows,
            Table::Outcomes => &mut self.outcomes,
            Table::Seen => &mut self.seen,
            Table::Operations => &mut self.operations,
            Table::DeadLetters => &mut self.dead_letters,
        };
        *count += 1;
        self.tombstones += u64::from(stored.tombstone);
        self.digest = self.digest.wrapping_add(*stored.part.as_ref().unwrap_or(&0));
    }
}

/// Reads a whole copy and gives its watermark and digest, without a look at the log: right while all of the log is
/// younger than 24 h; later, outcomes at that edge depend on how flushes were cut.
///
/// # Errors
/// [`Error::Unavailable`] also when there is no copy. [`Error::Corrupt`]: something in it is broken.
pub async fn digest(shard: &Shard, partition: PartitionId) -> Result<(Watermark, CopyDigest), Error> {
    let mut reader = shard.copy_reader(partition).await?;
    let digest = of(&mut reader).await;
    reader.close().await;
    digest
}

async fn of(reader: &mut CopyReader) -> Result<(Watermark, CopyDigest), Error> {
    const DOING: &str = "take the digest of a copy";
    let Some(watermark) = reader.watermark().cloned() else {
        return Err(Error::Unavailable { doing: DOING, source: "there is no copy".into() });
    };
    let edge = Edge::at(&watermark, Offset(0));
    let mut digest = CopyDigest::new(&watermark);
    for table in Table::ALL {
        let mut all = reader.stream(table);
        while let Some(stored) = all.try_next().await? {
            if let Err(broken) = &stored.part {
                let source = format!("{} in {}: {broken}", described(&stored.name), table.name());
                return Err(Error::Corrupt { doing: DOING, source: source.into() });
            }
            digest.add(&edge, table, &stored);
        }
    }
    Ok((watermark, digest))
}

/// A name for people.
pub(crate) fn described(name: &Name) -> String {
    match name {
        Name::Key { tenant, key } => format!("key {tenant}/{}", key.escape_ascii()),
        Name::Place { generation, offset } => format!("generation {generation}, offset {offset}"),
        Name::Hash(hash) => hash.iter().fold("id ".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    }
}
