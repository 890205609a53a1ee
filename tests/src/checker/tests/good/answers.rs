//! What clients are told, as the api tells it.
//!
//! Invariant: made of whole models, never of the checker's tables.

use millpond_schemas::{Mutation, Op as Change, Outcome, Position, RecordKey, UnixMillis};

use super::World;
use crate::history::{Key, Seen, Text, Told, Written};

impl World {
    /// What the api tells; of an outcome where the call waits for it.
    pub(super) fn told(&self, mutation: &Mutation, position: Position, outcome: Option<&Outcome>) -> Told {
        let accepted = Told::accepted(position);
        let expiry = match mutation.op {
            Change::Put { expiry, .. } => expiry,
            _ => None,
        };
        let time = self.parts[position.partition.0 as usize].records
            [usize::try_from(position.offset.0).unwrap()]
        .time;
        let expires_at_ms = expiry.map(|expiry| expiry.at(time).0);
        match outcome {
            None => Told { expires_at_ms, ..accepted },
            Some(Outcome::Applied(effect)) => {
                let version = effect.as_ref().map_or(position.version(), |effect| effect.version);
                let version = version.position(position.partition).to_string();
                let effect = effect.as_ref();
                Told {
                    written: Written::Applied,
                    version: (mutation.op != Change::Delete).then_some(version),
                    expires_at_ms: effect.map_or(expires_at_ms, |effect| effect.expires_at.map(|at| at.0)),
                    value: effect.and_then(|effect| effect.value.clone()).map(Text),
                    changed: effect.filter(|effect| effect.value.is_none()).map(|effect| effect.changed),
                    ..accepted
                }
            }
            Some(Outcome::Rejected(rejected)) => {
                let current =
                    rejected.current.map(|version| version.position(position.partition).to_string());
                let code = rejected.rejection.code().to_owned();
                Told { written: Written::Rejected { code, current }, ..accepted }
            }
            Some(Outcome::DeadLettered(refusal)) => {
                Told { written: Written::DeadLettered { reason: refusal.reason.code().into() }, ..accepted }
            }
            Some(Outcome::Duplicate { of, original }) => {
                let first = self.told(mutation, *of, original.as_deref());
                Told { duplicate: true, ..first }
            }
        }
    }

    pub(super) fn shown(&self, key: &RecordKey, position: Position) -> Seen {
        let model =
            &self.parts[position.partition.0 as usize].models[usize::try_from(position.offset.0).unwrap()];
        let now = UnixMillis(self.now_us / 1000);
        match model.rows.get(key).filter(|row| row.is_live_at(now)) {
            None => Seen::Absent { position: position.to_string() },
            Some(row) => Seen::Found(Key {
                position: position.to_string(),
                version: row.version.position(position.partition).to_string(),
                value: row.value.clone().map(Text),
                content_type: Some(row.content_type.to_string()),
                expires_at_ms: row.expires_at.map(|at| at.0),
                expiry_told: true,
            }),
        }
    }
}
