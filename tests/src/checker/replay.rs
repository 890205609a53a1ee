//! Replays one partition into the naive model, and keeps what is looked up later.
//!
//! Invariant: the model gets every record, in order, decoded as the product's decoder does it; nothing else reaches it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use millpond_fold::{Entry, model::Model};
use millpond_schemas::{
    Control, ControlOp, Decoder, Offset, Outcome, PartitionId, Position, Received, Record, RecordKey, Row,
};

use super::oracle::{Live, Names, Partition, Place, Says, State};
use crate::history::{Letter, Sums, copies::At};

struct Replaying<'a> {
    names: &'a Names,
    model: Model,
    content_types: HashMap<String, Arc<str>>,
    into: &'a mut Partition,
}

/// Replays `records` into `into`, and sums up the model at every offset of `stands`.
pub(super) fn replay(
    names: &Names,
    partition: PartitionId,
    records: BTreeMap<i64, Received>,
    stands: &BTreeSet<i64>,
    into: &mut Partition,
) {
    let decoder = Decoder {
        log_id: names.log_id,
        partition,
        partitions: names.topology.partitions,
        keyring: names.keyring.clone(),
    };
    let model = Model::new(partition, names.generation, names.log_id);
    let mut replaying = Replaying { names, model, content_types: HashMap::new(), into };
    let mut stands = stands.iter().copied().peekable();
    for (offset, received) in records {
        while let Some(stand) = stands.next_if(|stand| *stand < offset) {
            replaying.sum_up(stand);
        }
        let mut entry = Entry::new(&decoder, received);
        replaying.mark(&mut entry);
        if !replaying.take(&entry) {
            return;
        }
    }
    for stand in stands {
        replaying.sum_up(stand);
    }
}

impl Replaying<'_> {
    /// What an operator said about a record.
    fn mark(&self, entry: &mut Entry) {
        let topology = &self.names.topology;
        if topology.skips.is_empty() && topology.skip_times.is_empty() {
            return;
        }
        let position = self.position(entry.offset).to_string();
        entry.skipped = topology.skips.contains(&position);
        entry.time_skipped = topology.skip_times.iter().any(|skip| {
            let from = skip.from.parse::<Position>();
            from.is_ok_and(|from| {
                (from.generation, from.partition) == (self.model.generation, self.model.partition)
                    && (from.offset..=Offset(skip.to)).contains(&entry.offset)
            })
        });
    }

    fn position(&self, offset: Offset) -> Position {
        Position { generation: self.model.generation, partition: self.model.partition, offset }
    }

    /// False: every fold stops here.
    fn take(&mut self, entry: &Entry) -> bool {
        let offset = entry.offset;
        let Ok(outcome) = self.model.apply(entry) else {
            self.into.halted = Some(offset);
            return false;
        };
        // Kept by the partition; the model never looks at them again.
        self.model.outcomes.clear();
        let says = match &entry.decoded {
            Ok(Record::Mutation(mutation)) => Says::Mutation(Box::new(mutation.clone())),
            Ok(Record::Control(_)) => Says::Control,
            Err(_) => Says::Poison,
        };
        let time = self.model.time;
        self.into.places.push(Place { offset, time, digest: entry.digest, says });
        match &entry.decoded {
            Ok(Record::Mutation(mutation)) => self.changed(&mutation.key, offset),
            Ok(Record::Control(Control { op: ControlOp::Sweep { .. }, .. })) => self.swept(offset),
            Ok(Record::Control(_)) | Err(_) => {}
        }
        match &outcome {
            Outcome::Duplicate { of, .. } => *self.into.repeats.entry(of.offset).or_default() += 1,
            Outcome::DeadLettered(refusal) => {
                let reason = refusal.reason.code().to_owned();
                self.into.letters.push(Letter { offset: offset.0, reason });
            }
            Outcome::Applied(_) | Outcome::Rejected(_) => {}
        }
        if !outcome.is_plain() {
            self.into.outcomes.insert(offset, outcome);
        }
        true
    }

    /// The record at `offset` may have changed this key.
    fn changed(&mut self, key: &RecordKey, offset: Offset) {
        let Some(row) = self.model.rows.get(key).filter(|row| row.version.offset() == offset) else { return };
        let live = self.live(&row.clone());
        self.push(key.clone(), State { offset, live, swept: false });
    }

    fn swept(&mut self, offset: Offset) {
        for key in self.model.expired.remove(&offset).unwrap_or_default() {
            self.push(key, State { offset, live: None, swept: true });
        }
    }

    fn push(&mut self, key: RecordKey, state: State) {
        self.into.keys.entry(key).or_default().push(state);
    }

    fn live(&mut self, row: &Row) -> Option<Live> {
        let value = row.value.clone()?;
        let content_type = match self.content_types.get(&*row.content_type) {
            Some(known) => Arc::clone(known),
            None => {
                let known: Arc<str> = (*row.content_type).into();
                self.content_types.insert(row.content_type.to_string(), Arc::clone(&known));
                known
            }
        };
        Some(Live { value, content_type, expires_at: row.expires_at })
    }

    fn sum_up(&mut self, stand: i64) {
        let model = &self.model;
        let at = At { partition: model.partition, applied: Offset(stand), time: model.time };
        let outcomes = self.into.outcomes.iter().map(|(offset, outcome)| (*offset, outcome));
        let time_of = |offset| self.into.place(offset).map_or(model.time, |place| place.time);
        let sums = Sums {
            rows: at.rows(model.rows.values()),
            outcomes: Some(at.outcomes(outcomes, time_of)),
            seen: Some(at.seen(model.seen.iter())),
            operations: Some(at.operations(model.operations.values())),
            dead_letters: Some(At::dead_letters(model.dead_letters.iter())),
        };
        self.into.sums.insert(stand, sums);
    }
}
