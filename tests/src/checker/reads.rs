//! I4 and I9: every read is what the log makes of the key at the position that it tells, less what had expired.
//!
//! I5 of strong reads and positions beyond the log are seen here too. Invariant: a read is judged by its answer alone; how
//! long it took only widens the time at which the shard may have looked.

use std::{borrow::Cow, collections::HashMap};

use millpond_schemas::{Offset, PartitionId, Position, RecordKey, Tenant};

use super::{
    clocks::Clocks,
    oracle::{Live, Oracle, Partition, State},
    verdict::{Found, Invariant},
};
use crate::history::{Consistency, Key, Read, Seen};

pub(super) struct Reads<'a> {
    oracle: &'a Oracle,
    skew_ms: u64,
}

/// The partition and offset of a state; an empty copy's is -1, which is no position otherwise.
pub(super) fn state_of(text: &str) -> Option<(PartitionId, Offset)> {
    if let Some(empty) = text.strip_suffix("--1") {
        let (_, partition) = empty.split_once('-')?;
        return Some((PartitionId(partition.parse().ok()?), Offset::NONE));
    }
    let position: Position = text.parse().ok()?;
    Some((position.partition, position.offset))
}

impl Seen {
    /// `KV-Position` of an answer.
    pub(super) fn position(&self) -> Option<&str> {
        match self {
            Self::Found(key) => Some(&key.position),
            Self::Absent { position } => Some(position),
            Self::Failed { .. } => None,
        }
    }
}

impl<'a> Reads<'a> {
    pub(super) fn new(oracle: &'a Oracle, skew_ms: u64) -> Self {
        Self { oracle, skew_ms }
    }

    /// The read, with a position. A copy that has applied nothing has none to tell, and holds no key: it is the state
    /// before the first record.
    pub(super) fn placed<'r>(&self, read: &'r Read) -> Cow<'r, Read> {
        let key = || Tenant::new(read.tenant.clone()).and_then(|tenant| RecordKey::new(&tenant, &read.key.0));
        match (&read.seen, key()) {
            (Seen::Absent { position }, Ok(key)) if position.is_empty() => {
                let (generation, partition) = (self.oracle.generation, self.oracle.partition_of(&key));
                let position = format!("{}-{partition}-{}", generation.0, Offset::NONE);
                Cow::Owned(Read { seen: Seen::Absent { position }, ..read.clone() })
            }
            _ => Cow::Borrowed(read),
        }
    }

    pub(super) fn read(&self, line: usize, read: &Read, found: &mut Found) {
        let Some(text) = read.seen.position() else {
            found.counts.reads_failed += 1;
            return;
        };
        found.counts.reads += 1;
        let key = Tenant::new(read.tenant.clone()).and_then(|tenant| RecordKey::new(&tenant, &read.key.0));
        let (Ok(key), Some((partition, offset))) = (key, state_of(text)) else {
            found.add(Invariant::I4, line, || format!("the answer's position is \"{text}\""));
            return;
        };
        let own = self.oracle.partition_of(&key);
        let Some(there) = self.oracle.of(partition).filter(|_| partition == own) else {
            found
                .add(Invariant::I4, line, || format!("read from {text}; the key belongs to partition {own}"));
            return;
        };
        if !there.is_whole {
            return;
        }
        if offset.0 >= there.end || there.halted.is_some_and(|halted| offset >= halted) {
            found.add(Invariant::I8, line, || beyond(text, there));
            return;
        }
        let clocks = Clocks::of(read, self.skew_ms);
        let state = there.state(&key, offset);
        let wrong = match &read.seen {
            Seen::Found(shown) => self.found(partition, state, shown, clocks),
            Seen::Absent { .. } => absent(state, clocks),
            Seen::Failed { .. } => None,
        };
        if let Some((invariant, what)) = wrong {
            found.add(invariant, line, || format!("at {text}: {what}"));
        }
    }

    fn found(
        &self,
        partition: PartitionId,
        state: Option<&State>,
        shown: &Key,
        clocks: Clocks,
    ) -> Option<(Invariant, String)> {
        let Some((state, live)) = state.and_then(|state| Some((state, state.live.as_ref()?))) else {
            let swept = state.is_some_and(|state| state.swept);
            let (invariant, why) =
                if swept { (Invariant::I9, "had expired") } else { (Invariant::I4, "does not exist") };
            return Some((
                invariant,
                format!("the key is shown with version {}, and it {why}", shown.version),
            ));
        };
        let generation = self.oracle.generation;
        let version = Position { generation, partition, offset: state.offset }.to_string();
        if let Some(what) = differs(live, &version, shown) {
            return Some((Invariant::I4, what));
        }
        let late = clocks.is_past(live.expires_at?);
        late.then(|| (Invariant::I9, format!("it expired at {:?}, before the read began", live.expires_at)))
    }
}

fn beyond(text: &str, there: &Partition) -> String {
    match there.halted {
        Some(halted) => format!("the state {text} was read, and every fold halts at {halted}"),
        None => format!("the state {text} was read, and the log ends at {}", there.end),
    }
}

fn differs(live: &Live, version: &str, shown: &Key) -> Option<String> {
    if shown.version != version {
        return Some(format!("the version shown is {}, and it is {version}", shown.version));
    }
    if let Some(value) = &shown.value
        && value.0 != live.value
    {
        let truth = crate::history::Text(live.value.clone());
        return Some(format!("the value shown is {value:?}, and it is {truth:?}"));
    }
    if let Some(content_type) = &shown.content_type
        && **content_type != *live.content_type
    {
        return Some(format!("the content type shown is {content_type}, and it is {}", live.content_type));
    }
    let expires_at = live.expires_at.map(|at| at.0);
    let differs = shown.expiry_told && shown.expires_at_ms != expires_at;
    differs.then(|| format!("the expiry shown is {:?}, and it is {expires_at:?}", shown.expires_at_ms))
}

fn absent(state: Option<&State>, clocks: Clocks) -> Option<(Invariant, String)> {
    let (state, live) = state.and_then(|state| Some((state, state.live.as_ref()?)))?;
    match live.expires_at {
        None => Some((Invariant::I4, format!("the key is missing; it was written at {}", state.offset))),
        Some(at) if clocks.is_to_come(at) => {
            Some((Invariant::I9, format!("the key is missing; it expires at {at}, after the read ended")))
        }
        Some(_) => None,
    }
}

/// Strong reads against acks that came before them.
#[derive(Debug, Default)]
pub(super) struct Strong {
    acks: HashMap<PartitionId, Vec<(i64, i64)>>,
    reads: Vec<(usize, PartitionId, i64, Offset)>,
}

impl Strong {
    pub(super) fn ack(&mut self, end_us: i64, position: Position) {
        self.acks.entry(position.partition).or_default().push((end_us, position.offset.0));
    }

    pub(super) fn read(&mut self, line: usize, read: &Read) {
        if read.consistency == Consistency::Strong
            && let Some((partition, offset)) = read.seen.position().and_then(state_of)
        {
            self.reads.push((line, partition, read.start_us, offset));
        }
    }

    pub(super) fn end(mut self, found: &mut Found) {
        for acks in self.acks.values_mut() {
            acks.sort_unstable();
            let mut highest = -1;
            for (_, offset) in acks {
                highest = highest.max(*offset);
                *offset = highest;
            }
        }
        for (line, partition, start_us, offset) in self.reads {
            let acks = self.acks.get(&partition).map_or(&[][..], Vec::as_slice);
            let before = acks.partition_point(|(end_us, _)| *end_us < start_us);
            let acked = before.checked_sub(1).map_or(-1, |last| acks[last].1);
            if offset.0 < acked {
                found.add(Invariant::I5, line, || {
                    format!("a strong read of {offset}; {acked} had been acked before it began")
                });
            }
        }
    }
}
