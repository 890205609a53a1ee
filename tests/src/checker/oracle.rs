//! What the log makes of every key at every position, and what became of every record: as the naive model says it.
//!
//! Invariant: made from the log and the topology alone.

use std::collections::{BTreeMap, HashMap};

use millpond_schemas::{
    Digest, Generation, Keyring, LogId, Mutation, Offset, Outcome, PartitionId, Position, RecordKey,
    UnixMillis,
};

use super::{
    claims::Group,
    gather::Gathered,
    replay,
    verdict::{Found, Invariant},
};
use crate::history::{Letter, LogBounds, Sums, Topology};

/// All partitions.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) generation: Generation,
    pub(super) partitions: Vec<Partition>,
}

/// One partition, by offset.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// In order of their offsets.
    pub(super) places: Vec<Place>,
    /// What is not plain success.
    pub(super) outcomes: BTreeMap<Offset, Outcome>,
    /// Per key, what it became, in order.
    pub(super) keys: HashMap<RecordKey, Vec<State>>,
    /// How many repeats of the mutation at an offset there are.
    pub(super) repeats: HashMap<Offset, u64>,
    /// In order.
    pub(super) letters: Vec<Letter>,
    /// What a copy holds that has applied up to here.
    pub(super) sums: BTreeMap<i64, Sums>,
    /// The next offset to be issued.
    pub(super) end: i64,
    /// Where every fold stops.
    pub(super) halted: Option<Offset>,
    /// Whether the log was there from its beginning.
    pub(super) is_whole: bool,
}

/// A record.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) offset: Offset,
    /// Clamped.
    pub(super) time: UnixMillis,
    pub(super) digest: Digest,
    pub(super) says: Says,
}

/// What a record says.
#[derive(Debug)]
pub(super) enum Says {
    /// Something of a client.
    Mutation(Box<Mutation>),
    /// Something of Millpond.
    Control,
    /// Nothing.
    Poison,
}

/// A key, from an offset on.
#[derive(Debug)]
pub(super) struct State {
    /// The row's version.
    pub(super) offset: Offset,
    /// None: absent.
    pub(super) live: Option<Live>,
    /// Whether a Sweep made it absent.
    pub(super) swept: bool,
}

/// A key that exists.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) value: bytes::Bytes,
    pub(super) content_type: std::sync::Arc<str>,
    pub(super) expires_at: Option<UnixMillis>,
}

impl Oracle {
    /// Replays what was gathered; says what is wrong with the log itself.
    pub(super) fn new(gathered: &mut Gathered, found: &mut Found) -> Self {
        let names = Names::of(&gathered.topology).unwrap_or_else(|why| {
            found.void.push(why);
            Names::default()
        });
        let mut oracle = Self { generation: names.generation, partitions: Vec::new() };
        for partition in 0..names.topology.partitions {
            let records = gathered.records.remove(&partition).unwrap_or_default();
            let bounds = gathered.bounds.get(&partition);
            check_span(partition, &records, bounds, gathered.run.transactions, found);
            let stands = gathered.stands.remove(&partition).unwrap_or_default();
            let is_whole = records.keys().next().is_none_or(|first| *first == 0);
            if !is_whole {
                found.void.push(format!("the log of partition {partition} does not begin at 0"));
            }
            let last = records.keys().next_back().map_or(0, |last| last + 1);
            let end = bounds.map_or(last, |bounds| bounds.end.max(last));
            let mut replayed = Partition { end, is_whole, ..Partition::default() };
            if is_whole {
                replay::replay(&names, PartitionId(partition), records, &stands, &mut replayed);
            }
            oracle.partitions.push(replayed);
        }
        oracle
    }

    /// A partition; none where there is none of this number.
    pub(super) fn of(&self, partition: PartitionId) -> Option<&Partition> {
        self.partitions.get(partition.0 as usize)
    }

    /// Where a key belongs.
    pub(super) fn partition_of(&self, key: &RecordKey) -> PartitionId {
        key.partition(u32::try_from(self.partitions.len()).unwrap_or(u32::MAX).max(1))
    }

    /// The record at a position.
    pub(super) fn place(&self, position: Position) -> Option<&Place> {
        (position.generation == self.generation)
            .then(|| self.of(position.partition)?.place(position.offset))?
    }

    /// Every record's group, with the hash of its key, and whether it repeats an earlier one without an effect.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Group, u64, bool)> + '_ {
        let places = self.partitions.iter().flat_map(|partition| {
            partition.places.iter().map(move |place| (place, partition.outcome(place.offset)))
        });
        places.filter_map(|(place, outcome)| {
            let repeats = matches!(outcome, Outcome::Duplicate { .. });
            match &place.says {
                Says::Mutation(mutation) => Some((Group::of(mutation), mutation.key.hash(), repeats)),
                Says::Poison => Some((Group::poison(place.digest), 0, false)),
                Says::Control => None,
            }
        })
    }
}

impl Partition {
    /// The record at an offset.
    pub(super) fn place(&self, offset: Offset) -> Option<&Place> {
        let at = self.places.binary_search_by_key(&offset, |place| place.offset).ok()?;
        self.places.get(at)
    }

    /// The last record at or below an offset.
    pub(super) fn last_at(&self, offset: Offset) -> Option<&Place> {
        let after = self.places.partition_point(|place| place.offset <= offset);
        self.places.get(after.checked_sub(1)?)
    }

    /// What became of the record at an offset that is one.
    pub(super) fn outcome(&self, offset: Offset) -> Outcome {
        self.outcomes.get(&offset).cloned().unwrap_or(Outcome::Applied(None))
    }

    /// What a key was when `offset` had been applied; none: it was never written before.
    pub(super) fn state(&self, key: &RecordKey, offset: Offset) -> Option<&State> {
        let states = self.keys.get(key)?;
        let after = states.partition_point(|state| state.offset <= offset);
        states.get(after.checked_sub(1)?)
    }
}

/// The topology, read.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) topology: Topology,
    pub(super) log_id: LogId,
    pub(super) generation: Generation,
    pub(super) keyring: Keyring,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            topology: Topology::default(),
            log_id: LogId([0; 16]),
            generation: Generation::FIRST,
            keyring: Keyring::new(0, [0; 32]),
        }
    }
}

impl Names {
    fn of(topology: &Topology) -> Result<Self, String> {
        let log_id = hex(&topology.log_id).ok_or("the history names no log")?;
        let mut keys = topology.mac_keys.iter().filter_map(|(id, key)| Some((*id, hex(key)?)));
        let (id, key) = keys.next().ok_or("the history names no MAC key")?;
        let keyring = keys.fold(Keyring::new(id, key), |ring, (id, key)| ring.with(id, key));
        let generation = Generation(topology.generation);
        Ok(Self { topology: topology.clone(), log_id: LogId(log_id), generation, keyring })
    }
}

/// Exactly N bytes.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_hex = text.len() == 2 * N && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)).filter(|_| is_hex) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    is_hex.then_some(bytes)
}

/// The log has no gap, and holds what it held before.
fn check_span(
    partition: u32,
    records: &BTreeMap<i64, millpond_schemas::Received>,
    bounds: Option<&LogBounds>,
    may_have_holes: bool,
    found: &mut Found,
) {
    let mut expected = records.keys().next().copied().unwrap_or(0);
    let mut gap = |expected: i64, next: i64| {
        if expected < next && !may_have_holes {
            found.add(Invariant::I8, None, || {
                format!("the log of partition {partition} has a gap: {expected}..{next}")
            });
        }
    };
    for offset in records.keys() {
        gap(expected, *offset);
        expected = offset + 1;
    }
    let Some(bounds) = bounds else {
        found.void.push(format!("nobody has read what the log of partition {partition} spans"));
        return;
    };
    gap(expected, bounds.end);
    if expected > bounds.end {
        found.add(Invariant::I8, None, || {
            format!(
                "the log of partition {partition} ends at {}; it had a record {}",
                bounds.end,
                expected - 1
            )
        });
    }
}
