//! A page as it is told: items, and around or behind them what is true of all.
//!
//! Invariant: an item's `value` is its bytes when they are UTF-8, and `value_b64` otherwise; nothing is guessed.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millpond_schemas::{Offset, PartitionId, Position, Row};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    ask::Include,
    page::{Page, Told},
};
use crate::{
    problem::{Code, Problem},
    state::State,
    time,
};

/// One row.
#[derive(Serialize)]
struct Item<'r> {
    #[serde(flatten)]
    key: Named<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    version: String,
    #[serde(flatten)]
    meta: Option<Meta<'r>>,
}

/// A key in one of its two forms.
#[derive(Serialize)]
#[serde(untagged)]
enum Named<'k> {
    Text { key: &'k str },
    Base64 { key_b64: String },
}

/// As `/meta` tells it.
#[derive(Serialize)]
struct Meta<'r> {
    size: usize,
    content_type: &'r str,
    created_at: String,
    updated_at: String,
    expires_at: Option<String>,
    partition: u32,
    shard: &'r str,
}

/// What is true of all items of an answer, over all of its pages.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) missing: Vec<Bytes>,
    pub(super) shards: Vec<Told>,
    /// The highest position of each partition.
    pub(super) positions: BTreeMap<PartitionId, Position>,
    pub(super) next_cursor: Option<String>,
    /// The limit that was used, where there was one.
    pub(super) limit: Option<usize>,
    /// Why it ends here, where no shard is to blame.
    pub(super) problem: Option<Code>,
}

/// [`Summary`] as it is told.
#[derive(Serialize)]
struct Tail {
    missing: Vec<Value>,
    next_cursor: Option<String>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    shards: Vec<Value>,
    positions: Vec<String>,
}

impl Summary {
    /// Adds what is true of a page.
    pub(super) fn add(&mut self, page: &Page) {
        self.missing.extend(page.missing.iter().cloned());
        self.shards.clone_from(&page.shards);
        let positions = page.states.iter().map(|state| state.applied);
        self.seen(positions);
    }

    /// Adds what was read.
    pub(super) fn seen(&mut self, positions: impl Iterator<Item = Position>) {
        for position in positions {
            let highest = self.positions.entry(position.partition).or_insert(position);
            *highest = position.max(*highest);
        }
    }

    /// As a JSON object.
    pub(super) fn told(self) -> Result<Vec<u8>, Problem> {
        let missing = self.missing.iter().map(|key| match named(key) {
            Named::Text { key } => json!(key),
            Named::Base64 { key_b64 } => json!({ "key_b64": key_b64 }),
        });
        let is_absent = |shard: &Told| shard.absent.is_some();
        // One that has applied nothing yet has no position.
        let applied = self.positions.values().filter(|position| position.offset > Offset::NONE);
        let tail = Tail {
            missing: missing.collect(),
            complete: self.problem.is_none() && !self.shards.iter().any(is_absent),
            limit: self.limit,
            code: self.problem.map(Code::code),
            shards: self.shards.iter().map(shard).collect(),
            positions: applied.map(ToString::to_string).collect(),
            next_cursor: self.next_cursor,
        };
        serde_json::to_vec(&tail).map_err(|_| internal())
    }
}

/// Appends a row as a JSON object.
pub(super) fn item(
    out: &mut Vec<u8>,
    app: &State,
    include: Include,
    (partition, row): (PartitionId, &Row),
) -> Result<(), Problem> {
    let bytes = row.value.as_deref().filter(|_| include.value);
    let value = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let meta = || -> Result<Meta<'_>, Problem> {
        Ok(Meta {
            size: row.value.as_ref().map_or(0, Bytes::len),
            content_type: &row.content_type,
            created_at: time::rfc3339(row.created_at),
            updated_at: time::rfc3339(row.updated_at),
            expires_at: row.expires_at.map(time::rfc3339),
            partition: partition.0,
            shard: app.shard_of(partition)?.name(),
        })
    };
    let item = Item {
        key: named(row.key.key_bytes()),
        value,
        value_b64: bytes.filter(|_| value.is_none()).map(|bytes| STANDARD.encode(bytes)),
        version: row.version.position(partition).to_string(),
        meta: include.meta.then(meta).transpose()?,
    };
    serde_json::to_writer(out, &item).map_err(|_| internal())
}

fn internal() -> Problem {
    Problem::new(Code::Internal, "")
}

fn named(key: &[u8]) -> Named<'_> {
    match std::str::from_utf8(key) {
        Ok(key) => Named::Text { key },
        Err(_) => Named::Base64 { key_b64: STANDARD.encode(key) },
    }
}

fn shard(told: &Told) -> Value {
    let status = match told.absent {
        None => "answered",
        Some(Code::ShardUnavailable) => "unavailable",
        Some(_) => "unreadable",
    };
    json!({ "name": told.name, "status": status })
}
