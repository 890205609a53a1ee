//! What each operation does to a cell.
//!
//! Invariant: expired is absent for every operation; a rejection leaves the cell as it was.

use millpond_schemas::{
    ByteString, Conditions, Effect, Expiry, Mutation, Op, Outcome, PartitionId, Rejected, Rejection, Row,
    TtlMode, UnixMillis, Version,
    limits::{EXPIRES_AT_MS_MAX, RESULT_BYTES_MAX},
};

use crate::{cell::Cell, patch::patched};

/// Where in the log a mutation stands, and under which limit.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) partition: PartitionId,
    pub(crate) version: Version,
    pub(crate) time: UnixMillis,
    pub(crate) value_bytes_max: usize,
}

/// Applies a mutation to its key's cell.
pub(crate) fn apply(cell: &mut Cell, mutation: &Mutation, place: Place) -> Outcome {
    if !hold(&mutation.conditions, cell, place) {
        return rejected(cell, place, Rejection::ConditionFailed);
    }
    let effect = match &mutation.op {
        Op::Put { value, content_type, expiry } => {
            cell.put(Row {
                key: mutation.key.clone(),
                version: place.version,
                value: Some(value.clone()),
                content_type: content_type.clone(),
                expires_at: expiry.map(|expiry| expiry.at(place.time)),
                created_at: place.time,
                updated_at: place.time,
            });
            return Outcome::Applied(None);
        }
        Op::Delete => {
            cell.delete(&mutation.key, place.version, place.time);
            return Outcome::Applied(None);
        }
        Op::Ttl { mode, expiry } => set_ttl(cell, *mode, *expiry, place),
        Op::Increment { .. } | Op::Append { .. } | Op::MergePatch { .. } | Op::JsonPatch { .. } => {
            patch(cell, mutation, place)
        }
    };
    match effect {
        Ok(effect) => Outcome::Applied(Some(effect)),
        Err(rejection) => rejected(cell, place, rejection),
    }
}

fn rejected(cell: &Cell, place: Place, rejection: Rejection) -> Outcome {
    Outcome::Rejected(Rejected { rejection, current: cell.version(place.time) })
}

fn hold(conditions: &Conditions, cell: &Cell, place: Place) -> bool {
    if conditions.is_empty() {
        return true;
    }
    let live = cell.live(place.time);
    let version_holds = |wanted: &String| {
        live.is_some_and(|row| row.version.position(place.partition).to_string() == *wanted)
    };
    (!conditions.exists || live.is_some())
        && (!conditions.absent || live.is_none())
        && conditions.version.as_ref().is_none_or(version_holds)
}

fn set_ttl(
    cell: &mut Cell,
    mode: TtlMode,
    expiry: Option<Expiry>,
    place: Place,
) -> Result<Effect, Rejection> {
    let row = cell.live(place.time).ok_or(Rejection::NotFound)?;
    let wanted = expiry.map(|expiry| expiry.at(place.time));
    let expires_at = match (mode, row.expires_at, wanted) {
        (TtlMode::Set, _, wanted) | (TtlMode::OnlyShorter | TtlMode::IfNone, None, wanted) => wanted,
        (TtlMode::Extend, present, _) => {
            let ttl_ms = match expiry {
                Some(Expiry::TtlMs(ms)) => ms,
                Some(Expiry::At(_)) | None => unreachable!("decoding lets only a TTL extend"),
            };
            Some(present.unwrap_or(place.time).plus_ms(ttl_ms).min(UnixMillis(EXPIRES_AT_MS_MAX)))
        }
        (TtlMode::OnlyLonger, Some(present), Some(wanted)) => Some(present.max(wanted)),
        (TtlMode::OnlyLonger, _, _) => None,
        (TtlMode::OnlyShorter, Some(present), Some(wanted)) => Some(present.min(wanted)),
        (TtlMode::OnlyShorter, present, None) | (TtlMode::IfNone, present, _) => present,
    };
    let changed = expires_at != row.expires_at;
    let mut version = row.version;
    if changed {
        version = place.version;
        cell.put(Row { expires_at, version, updated_at: place.time, ..row.clone() });
    }
    Ok(Effect { changed, version, expires_at, value: None, content_type: String::new() })
}

fn patch(cell: &mut Cell, mutation: &Mutation, place: Place) -> Result<Effect, Rejection> {
    let old = cell.live(place.time);
    let patched = patched(&mutation.op, old.and_then(|row| row.value.as_ref()), place.value_bytes_max)?;
    let new = || ByteString::from_static(patched.content_type_new);
    let content_type = old.map_or_else(new, |row| row.content_type.clone());
    let expires_at = old.and_then(|row| row.expires_at);
    cell.put(Row {
        key: mutation.key.clone(),
        version: place.version,
        value: Some(patched.value.clone()),
        content_type: content_type.clone(),
        expires_at,
        created_at: place.time,
        updated_at: place.time,
    });
    Ok(Effect {
        changed: true,
        version: place.version,
        expires_at,
        value: Some(patched.value).filter(|value| value.len() <= RESULT_BYTES_MAX),
        content_type: content_type.to_string(),
    })
}
