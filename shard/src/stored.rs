//! What a copy holds, one thing at a time, as its tables say it: for comparing copies.
//!
//! Not here: which things two copies must have in common. Foreign bytes: what does not decode, or fails its checksum,
//! is told with its name and columns, so that it can be compared all the same.
//! Invariant: names are unique within a table and rise, in one order on every engine.

use bytes::Bytes;
use millpond_schemas::{Offset, OutcomeRange, PartitionId, Seen, UnixMillis, Watermark};

use crate::{Error, columns::Columns, decode};

/// Which of a copy's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `kv`: keys.
    Rows,
    /// `outcome`: what is no plain success.
    Outcomes,
    /// `seen`: ids of the duplicate window.
    Seen,
    /// `operation`: durable ids.
    Operations,
    /// `dead_letter`.
    DeadLetters,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rows, Self::Outcomes, Self::Seen, Self::Operations, Self::DeadLetters];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "kv",
            Self::Outcomes => "outcome",
            Self::Seen => "seen",
            Self::Operations => "operation",
            Self::DeadLetters => "dead_letter",
        }
    }

    /// A statement for everything of `partition` in it, in order of [`Name`].
    pub(crate) fn select(self, partition: PartitionId) -> String {
        let columns: Vec<&str> = self.columns().iter().map(|column| column.0).collect();
        let (columns, name) = (columns.join(", "), self.name());
        let order = match self {
            Self::Rows => "tenant, key",
            Self::Outcomes | Self::Seen => "generation, from_offset",
            Self::Operations => "hash",
            Self::DeadLetters => "generation, log_offset",
        };
        format!("SELECT {columns} FROM {name} WHERE partition = {partition} ORDER BY {order}")
    }

    /// Those of its columns that a copy's state is made of, with their kinds.
    fn columns(self) -> &'static [(&'static str, Kind)] {
        use Kind::{Bytes, Integer, Text, Truth};
        match self {
            Self::Rows => &[
                ("partition", Integer),
                ("tenant", Text),
                ("key", Bytes),
                ("version", Integer),
                ("value", Bytes),
                ("content_type", Text),
                ("expires_at", Integer),
                ("created_at", Integer),
                ("updated_at", Integer),
                ("tombstone", Truth),
                ("checksum", Integer),
            ],
            Self::Outcomes => &[
                ("generation", Integer),
                ("from_offset", Integer),
                ("to_offset", Integer),
                ("time", Integer),
                ("range", Bytes),
            ],
            Self::Seen => &[
                ("generation", Integer),
                ("from_offset", Integer),
                ("to_offset", Integer),
                ("time", Integer),
                ("ids", Bytes),
            ],
            Self::Operations => &[
                ("hash", Bytes),
                ("generation", Integer),
                ("log_partition", Integer),
                ("log_offset", Integer),
                ("time", Integer),
                ("fingerprint", Bytes),
                ("outcome", Bytes),
            ],
            Self::DeadLetters => &[
                ("generation", Integer),
                ("log_offset", Integer),
                ("time", Integer),
                ("reason", Text),
                ("detail", Text),
                ("record_key", Bytes),
                ("headers", Bytes),
                ("value", Bytes),
            ],
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Text,
    Bytes,
    Truth,
}

/// What tells a thing from the others of its table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A key.
    Key {
        /// Whose.
        tenant: String,
        /// The key's bytes.
        key: Bytes,
    },
    /// A record's place in the log.
    Place {
        /// Which life of it.
        generation: i64,
        /// Where.
        offset: i64,
    },
    /// An operation's hash.
    Hash(Bytes),
}

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
}

/// One thing of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub name: Name,
    /// What it is made of. Of things that are packed together: of its own.
    pub columns: Vec<(&'static str, Value)>,
    /// Its clamped time, where it has one: by it operations and ids are forgotten.
    pub time: Option<UnixMillis>,
    /// A deleted or expired key.
    pub tombstone: bool,
    /// Its part in the digest of the copy; or what is wrong with it.
    pub part: Result<u128, String>,
}

impl Stored {
    fn new(name: Name, columns: Vec<(&'static str, Value)>, part: Result<u128, String>) -> Self {
        Self { name, columns, time: None, tombstone: false, part }
    }

    /// Whether this stands for a packed row that cannot be taken apart, or says about itself what is not so.
    pub fn is_broken_pack(&self) -> bool {
        self.columns.is_empty()
    }
}

/// A statement's row as what it holds: one thing, or those that are packed in it.
pub(crate) fn taken(table: Table, partition: PartitionId, row: &impl Columns) -> Result<Vec<Stored>, Error> {
    let mut columns = Vec::with_capacity(table.columns().len());
    for (at, (name, kind)) in table.columns().iter().enumerate() {
        columns.push((*name, value(row, at, *kind)?));
    }
    match table {
        Table::Rows => {
            let part =
                part(decode::keyed(row, 0).map(|(_, row)| (row.digest(partition), row.is_tombstone())));
            let name = Name::Key { tenant: text(&columns, 1), key: blob(&columns, 2) };
            let tombstone = part.as_ref().is_ok_and(|(_, tombstone)| *tombstone);
            let part = part.map(|(part, _)| part);
            columns.drain(..3);
            Ok(vec![Stored { tombstone, ..Stored::new(name, columns, part) }])
        }
        Table::Operations => {
            let part = part(decode::operation(row, 0).map(|operation| operation.part(partition)));
            let time = Some(UnixMillis(integer(&columns, 4)));
            let name = Name::Hash(blob(&columns, 0));
            columns.drain(..1);
            Ok(vec![Stored { time, ..Stored::new(name, columns, part) }])
        }
        Table::DeadLetters => {
            let letter = decode::generation_and_dead_letter(row);
            let part = part(letter.map(|(generation, letter)| letter.part(partition, generation)));
            let name = Name::Place { generation: integer(&columns, 0), offset: integer(&columns, 1) };
            columns.drain(..2);
            Ok(vec![Stored::new(name, columns, part)])
        }
        Table::Outcomes => Ok(outcomes(partition, &columns)),
        Table::Seen => Ok(seen(partition, &columns)),
    }
}

/// A watermark's columns, as [`Stored::columns`].
pub fn watermark_columns(watermark: &Watermark) -> Vec<(&'static str, Value)> {
    let bytes = |bytes: &[u8]| Value::Bytes(Bytes::copy_from_slice(bytes));
    vec![
        ("generation", Value::Integer(i64::from(watermark.generation.0))),
        ("log_id", bytes(&watermark.log_id.0)),
        ("applied_offset", Value::Integer(watermark.applied.0)),
        ("digest_offset", Value::Integer(watermark.digest_offset.0)),
        ("applied_digest", bytes(&watermark.digest.0)),
        ("applied_time", Value::Integer(watermark.time.0)),
        ("owner", Value::Integer(watermark.owner.0)),
        ("claim", bytes(&watermark.claim)),
        ("sealed", Value::Integer(i64::from(watermark.sealed))),
    ]
}

/// The columns `generation, from_offset, to_offset, time` of a packed row.
fn frame(columns: &[(&'static str, Value)]) -> [i64; 4] {
    [0, 1, 2, 3].map(|at| integer(columns, at))
}

/// A packed row that is wrong, under the name of its beginning.
fn broken([generation, offset, ..]: [i64; 4], what: impl Into<String>) -> Stored {
    Stored::new(Name::Place { generation, offset }, Vec::new(), Err(what.into()))
}

fn outcomes(partition: PartitionId, columns: &[(&'static str, Value)]) -> Vec<Stored> {
    let frame = frame(columns);
    let range = match OutcomeRange::decode(blob(columns, 4)) {
        Ok(range) => range,
        Err(error) => return vec![broken(frame, error.to_string())],
    };
    let [generation, from, to, time] = frame;
    let inside = |offset: Offset| range.from <= offset && offset <= range.to;
    let own = [i64::from(range.generation.0), range.from.0, range.to.0, range.time.0];
    let mut stored = Vec::with_capacity(range.exceptions.len());
    // A Sweep is alone in its flush and succeeds plainly, so no range that is kept names expired keys.
    let sound = own == [generation, from, to, time]
        && range.partition == partition
        && range.expired.is_empty()
        && !range.exceptions.is_empty()
        && range.exceptions.iter().all(|one| inside(one.offset));
    if !sound {
        stored.push(broken(frame, "its range and its columns do not agree"));
    }
    stored.extend(range.exceptions.into_iter().map(|one| {
        let name = Name::Place { generation, offset: one.offset.0 };
        let id = one.id.map_or(Value::Null, |id| Value::Bytes(Bytes::copy_from_slice(&id)));
        let columns = vec![("id", id), ("outcome", Value::Bytes(one.outcome.encode()))];
        Stored::new(name, columns, Ok(one.part(partition, range.generation)))
    }));
    stored
}

fn seen(partition: PartitionId, columns: &[(&'static str, Value)]) -> Vec<Stored> {
    let frame = frame(columns);
    let [generation, from, to, time] = frame;
    let known = u16::try_from(generation).map(millpond_schemas::Generation);
    let (generation_known, ids) = match (known, Seen::unpack(Offset(from), blob(columns, 4))) {
        (Ok(known), Ok(ids)) => (known, ids),
        (Err(_), _) => return vec![broken(frame, format!("a generation is {generation}"))],
        (_, Err(error)) => return vec![broken(frame, error.to_string())],
    };
    let mut stored = Vec::with_capacity(ids.len());
    let bounds =
        ids.first().zip(ids.last()).map(|(first, last)| (first.offset.0, last.offset.0, last.time.0));
    if bounds != Some((from, to, time)) {
        stored.push(broken(frame, "its ids and its columns do not agree"));
    }
    stored.extend(ids.into_iter().map(|one| {
        let name = Name::Place { generation, offset: one.offset.0 };
        let hash = Value::Bytes(Bytes::copy_from_slice(&one.hash.0));
        let columns = vec![("time", Value::Integer(one.time.0)), ("hash", hash)];
        let part = Ok(one.part(partition, generation_known));
        Stored { time: Some(one.time), ..Stored::new(name, columns, part) }
    }));
    stored
}

/// What is wrong with a thing is no error of reading it.
fn part<T>(decoded: Result<T, Error>) -> Result<T, String> {
    decoded.map_err(|error| match error {
        Error::Corrupt { source, .. } => source.to_string(),
        other => other.to_string(),
    })
}

fn value(row: &impl Columns, at: usize, kind: Kind) -> Result<Value, Error> {
    Ok(match kind {
        Kind::Integer => decode::maybe_integer(row, at)?.map_or(Value::Null, Value::Integer),
        Kind::Text => Value::Text(decode::text(row, at)?.to_owned()),
        Kind::Bytes => decode::maybe_bytes(row, at)?.map_or(Value::Null, Value::Bytes),
        Kind::Truth => Value::Integer(i64::from(decode::truth(row, at)?)),
    })
}

fn integer(columns: &[(&'static str, Value)], at: usize) -> i64 {
    match columns.get(at) {
        Some((_, Value::Integer(number))) => *number,
        _ => 0,
    }
}

fn blob(columns: &[(&'static str, Value)], at: usize) -> Bytes {
    match columns.get(at) {
        Some((_, Value::Bytes(bytes))) => bytes.clone(),
        _ => Bytes::new(),
    }
}

fn text(columns: &[(&'static str, Value)], at: usize) -> String {
    match columns.get(at) {
        Some((_, Value::Text(text))) => text.clone(),
        _ => String::new(),
    }
}
