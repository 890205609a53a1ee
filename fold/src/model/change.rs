//! What one mutation makes of one row.
//!
//! Invariant: a rejected mutation changes nothing.

use bytes::Bytes;
use millpond_schemas::{
    CONTENT_TYPE_DEFAULT, Conditions, Effect, Expiry, Mutation, Op, Rejection, Row, TtlMode, UnixMillis,
    limits,
};
use serde_json::Value;

use super::{Here, patch};

/// A mutation's effect: the row after it, and what its outcome tells.
pub(super) struct Change {
    pub(super) row: Row,
    pub(super) effect: Option<Effect>,
}

/// Judges the conditions and does the operation. `live` is the row, where the key exists at this time.
pub(super) fn change(mutation: &Mutation, live: Option<Row>, here: &Here) -> Result<Change, Rejection> {
    if !hold(&mutation.conditions, live.as_ref(), here) {
        return Err(Rejection::ConditionFailed);
    }
    match &mutation.op {
        Op::Put { value, content_type, expiry } => Ok(Change {
            row: Row {
                key: mutation.key.clone(),
                version: here.position.version(),
                value: Some(value.clone()),
                content_type: content_type.clone(),
                expires_at: expiry.map(|expiry| moment(expiry, here.time)),
                created_at: live.map_or(here.time, |row| row.created_at),
                updated_at: here.time,
            },
            effect: None,
        }),
        Op::Delete => Ok(Change {
            row: Row::tombstone(mutation.key.clone(), here.position.version(), here.time),
            effect: None,
        }),
        Op::Ttl { mode, expiry } => Ok(set_expiry(live.ok_or(Rejection::NotFound)?, *mode, *expiry, here)),
        Op::Increment { .. } | Op::Append { .. } | Op::MergePatch { .. } | Op::JsonPatch { .. } => {
            let value = new_value(&mutation.op, live.as_ref(), here)?;
            if value.len() as u64 > here.value_bytes_max {
                return Err(Rejection::ValueTooLarge);
            }
            Ok(patched(mutation, live, value, here))
        }
    }
}

fn hold(conditions: &Conditions, live: Option<&Row>, here: &Here) -> bool {
    if conditions.exists && live.is_none() {
        return false;
    }
    if conditions.absent && live.is_some() {
        return false;
    }
    let Some(wanted) = &conditions.version else { return true };
    live.is_some_and(|row| row.version.position(here.position.partition).to_string() == *wanted)
}

fn moment(expiry: Expiry, time: UnixMillis) -> UnixMillis {
    match expiry {
        Expiry::TtlMs(ms) => UnixMillis(time.0 + i64::try_from(ms).expect("a TTL is at most ten years")),
        Expiry::At(at) => at,
    }
}

fn set_expiry(mut row: Row, mode: TtlMode, expiry: Option<Expiry>, here: &Here) -> Change {
    let wanted = expiry.map(|expiry| moment(expiry, here.time));
    // None counts as for ever, so it is put behind every moment.
    let rank = |at: &Option<UnixMillis>| (at.is_none(), *at);
    let expires_at = match mode {
        TtlMode::Set => wanted,
        TtlMode::Extend => {
            let from = row.expires_at.unwrap_or(here.time);
            let until = expiry.map(|expiry| moment(expiry, from).0);
            until.map(|until| UnixMillis(until.min(limits::EXPIRES_AT_MS_MAX)))
        }
        TtlMode::OnlyLonger => [row.expires_at, wanted].into_iter().max_by_key(rank).flatten(),
        TtlMode::OnlyShorter => [row.expires_at, wanted].into_iter().min_by_key(rank).flatten(),
        TtlMode::IfNone => row.expires_at.or(wanted),
    };
    let changed = expires_at != row.expires_at;
    if changed {
        row.expires_at = expires_at;
        row.version = here.position.version();
        row.updated_at = here.time;
    }
    let effect =
        Effect { changed, version: row.version, expires_at, value: None, content_type: String::new() };
    Change { row, effect: Some(effect) }
}

/// The value that a patch makes of the present one.
fn new_value(op: &Op, live: Option<&Row>, here: &Here) -> Result<Bytes, Rejection> {
    let present = live.map(|row| row.value.as_deref().expect("a live row has a value"));
    match op {
        Op::Increment { by, initial } => {
            let number = present.map_or(Ok(*initial), integer)?;
            let sum = i128::from(number) + i128::from(*by);
            let sum = i64::try_from(sum).map_err(|_| Rejection::IncrementOverflow)?;
            Ok(sum.to_string().into())
        }
        Op::Append { value } => Ok([present.unwrap_or_default(), value].concat().into()),
        Op::MergePatch { patch } => {
            let patch = parse(patch).ok_or(Rejection::WrongType)?;
            let present = present.map(|text| parse(text).ok_or(Rejection::WrongType)).transpose()?;
            Ok(text(&patch::merge(present, &patch)))
        }
        Op::JsonPatch { patch } => {
            let patch = parse(patch).ok_or(Rejection::WrongType)?;
            let present = present.map(|text| parse(text).ok_or(Rejection::WrongType)).transpose()?;
            Ok(text(&patch::apply(present, &patch, here.value_bytes_max)?))
        }
        Op::Put { .. } | Op::Delete | Op::Ttl { .. } => unreachable!("not a patch"),
    }
}

fn patched(mutation: &Mutation, live: Option<Row>, value: Bytes, here: &Here) -> Change {
    let new = || Row {
        key: mutation.key.clone(),
        version: here.position.version(),
        value: None,
        content_type: match mutation.op {
            Op::Increment { .. } => "text/plain".into(),
            Op::MergePatch { .. } | Op::JsonPatch { .. } => "application/json".into(),
            Op::Append { .. } | Op::Put { .. } | Op::Delete | Op::Ttl { .. } => CONTENT_TYPE_DEFAULT.into(),
        },
        expires_at: None,
        created_at: here.time,
        updated_at: here.time,
    };
    let mut row = live.unwrap_or_else(new);
    row.version = here.position.version();
    row.updated_at = here.time;
    row.value = Some(value.clone());
    let effect = Effect {
        changed: true,
        version: row.version,
        expires_at: row.expires_at,
        value: (value.len() <= limits::RESULT_BYTES_MAX).then_some(value),
        content_type: row.content_type.to_string(),
    };
    Change { row, effect: Some(effect) }
}

/// A decimal in ASCII: an optional minus and digits, within 64 bits.
fn integer(text: &[u8]) -> Result<i64, Rejection> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Rejection::WrongType);
    }
    let text = std::str::from_utf8(text).expect("ASCII");
    text.parse().map_err(|_| Rejection::WrongType)
}

fn parse(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// Compact, as it is stored.
pub(super) fn text(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("JSON can be written").into()
}
