//! `/admin/dead-letters`: how many records can never apply, why, and the newest of them.
//!
//! For operators: keys are told, values and headers are not, only how long the value is. Not here: mending them.
//! Invariant: a shard that does not answer is named, so that a short list never looks whole.

use std::{cmp::Reverse, collections::BTreeMap};

use axum::{
    body::Body,
    extract::{Request, State as Shared},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::header;
use millpond_schemas::{PartitionId, RecordKey};
use millpond_shard::{Letter, Letters};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    answer::json_type,
    problem::{Code, Problem},
    query::Query,
    state::{App, State},
    time,
};

/// Letters told when nothing else is asked.
const LIMIT_DEFAULT: u32 = 20;
/// Most letters told, of all partitions together.
const LIMIT_MAX: u32 = 1000;

#[derive(Debug, Serialize)]
struct Told {
    /// Of all partitions asked.
    total: u64,
    /// By reason.
    reasons: BTreeMap<&'static str, u64>,
    /// The newest first.
    dead_letters: Vec<Value>,
    /// Whether every partition was asked and answered.
    complete: bool,
    /// Shards that did not answer.
    unreachable: Vec<String>,
}

/// Those of one partition, or of all.
pub(crate) async fn get(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let query = Query::of(request.uri(), &["partition", "limit"])?;
    let limit = query.get("limit").map_or(Ok(LIMIT_DEFAULT), limit)?;
    let partitions: Vec<PartitionId> = match query.get("partition") {
        Some(text) => vec![partition(text, &app)?],
        None => app.partitions.ids().collect(),
    };
    let mut told = Told {
        total: 0,
        reasons: BTreeMap::new(),
        dead_letters: Vec::new(),
        complete: true,
        unreachable: Vec::new(),
    };
    let mut newest = Vec::new();
    for partition in partitions {
        match app.letters_of(partition, limit, &told.unreachable).await {
            Ok(letters) => {
                for (reason, count) in letters.counts {
                    told.total += count;
                    *told.reasons.entry(reason.code()).or_default() += count;
                }
                newest.extend(letters.newest);
            }
            Err(shard) => {
                told.complete = false;
                told.unreachable.extend(shard);
            }
        }
    }
    newest.sort_by_key(|letter| {
        (Reverse(letter.time), letter.position.partition, Reverse(letter.position.offset))
    });
    newest.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    told.dead_letters = newest.iter().map(of_letter).collect();
    let mut response =
        Response::new(Body::from(serde_json::to_vec(&told).expect("texts and numbers are JSON")));
    response.headers_mut().insert(header::CONTENT_TYPE, json_type());
    Ok(response)
}

fn limit(text: &str) -> Result<u32, Problem> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Problem::new(Code::LimitInvalid, "a limit here is 1 to 1000"))
}

fn partition(text: &str, app: &App) -> Result<PartitionId, Problem> {
    let number = text.parse().ok().map(PartitionId);
    let known = number.filter(|wanted| app.partitions.ids().any(|partition| partition == *wanted));
    known.ok_or_else(|| Problem::new(Code::PartitionUnknown, ""))
}

impl State {
    /// # Errors
    /// The name of the shard that does not answer, unless it is among `unreachable`, which are not asked again.
    async fn letters_of(
        &self,
        partition: PartitionId,
        limit: u32,
        unreachable: &[String],
    ) -> Result<Letters, Option<String>> {
        let shard = self.shard_of(partition).map_err(|_nobody| None)?;
        if unreachable.iter().any(|name| name == shard.name()) {
            return Err(None);
        }
        let primary = shard.primary();
        let asked = timeout(self.config.shard_deadline, primary.letters(partition, limit)).await;
        asked.ok().and_then(Result::ok).ok_or_else(|| Some(shard.name().to_owned()))
    }
}

fn of_letter(letter: &Letter) -> Value {
    let mut told = json!({
        "position": letter.position.to_string(),
        "time": time::rfc3339(letter.time),
        "reason": letter.refusal.reason.code(),
        "detail": letter.refusal.detail,
        "value_bytes": letter.value_bytes,
    });
    if let Some(record_key) = &letter.record_key {
        insert_key(&mut told, record_key);
    }
    told
}

/// A record's key: the tenant's where it is one, else as it lies on the log.
pub(crate) fn insert_key(told: &mut Value, record_key: &Bytes) {
    match RecordKey::parse(record_key.clone()) {
        Ok(key) => {
            told["tenant"] = key.tenant().into();
            insert(told, "key", key.key_bytes());
        }
        Err(_) => insert(told, "record_key", record_key),
    }
}

/// As text when it is UTF-8, else `<name>_b64`.
fn insert(told: &mut Value, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => told[name] = text.into(),
        Err(_) => told[format!("{name}_b64")] = STANDARD.encode(bytes).into(),
    }
}
