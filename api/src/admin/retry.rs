//! `POST /admin/dead-letters/retry`: appends the mutation of a dead letter anew, at a new position.
//!
//! ```json
//! {"position": "1-3-42", "who": "…", "why": "…", "dry_run": false}
//! ```
//! Answers `{"letter": {…}, "op": "…", "overwrites": "1-3-60|null", "retried": {"position", "status", …}|null}`.
//! Not here: mending a record. Invariant: the same letter retried twice within 24 h of the log's time takes effect once.

use axum::{
    extract::{Request, State as Shared},
    response::Response,
};
use millpond_schemas::{
    DeadLetter, DecodeError, Decoder, Keyring, Mutation, MutationId, Offset, Op, Position, Received, Record,
    RecordKey,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{asked, json as answer};
use crate::{
    dead_letters, mutations,
    problem::{Code, Problem},
    state::{App, State},
    time,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    position: String,
    who: String,
    why: String,
    #[serde(default)]
    dry_run: bool,
}

/// Appends it and waits for what becomes of it.
pub(super) async fn post(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let asked: Asked = asked::read(request).await?;
    let position: Position = asked.position.parse().map_err(|error: millpond_schemas::PositionInvalid| {
        Problem::new(Code::PositionInvalid, error.to_string())
    })?;
    if asked.why.trim().is_empty() && !asked.dry_run {
        return Err(Problem::new(Code::BodyInvalid, "`why` says nothing"));
    }
    let letter = app.dead_letter(position).await?;
    let mutation = app.again(position, &letter)?;
    let mut told = json!({
        "letter": told_letter(position, &letter), "op": mutation.op.name(),
        "overwrites": app.newer(position, &mutation).await?, "retried": null,
    });
    if !asked.dry_run {
        let Asked { who, why, .. } = asked;
        tracing::warn!(target: "audit", who, what = format!("deadletters retry {position}"), why, "an operator has decided");
        // It goes on when the client goes away.
        let retried = tokio::spawn(async move { app.append_again(mutation).await }).await;
        told["retried"] = retried.map_err(|_panic| Problem::new(Code::Internal, ""))??;
    }
    Ok(answer(&told))
}

impl State {
    async fn dead_letter(&self, position: Position) -> Result<DeadLetter, Problem> {
        let unknown = || Problem::new(Code::PositionUnknown, "there is no dead letter at this position");
        if position.generation != self.generation() || position.partition.0 >= self.partitions.count() {
            return Err(unknown());
        }
        let primary = self.shard_of(position.partition)?.primary();
        let letters = primary.dead_letters(position.partition, position.offset, 1);
        let letters = timeout(self.config.shard_deadline, letters).await.ok().and_then(Result::ok);
        let letters = letters.ok_or_else(|| Problem::new(Code::ShardUnavailable, ""))?;
        letters.into_iter().find(|letter| letter.offset == position.offset).ok_or_else(unknown)
    }

    /// The mutation that it holds, with an id that a second retry has too.
    fn again(&self, position: Position, letter: &DeadLetter) -> Result<Mutation, Problem> {
        let refused = |why: &str| {
            let advice = "it would be a dead letter again: produce it as it should have been";
            Problem::new(Code::DecisionRefused, format!("{position} is {why}; {advice}"))
        };
        let Some(key) = letter.raw.key.clone() else { return Err(refused("a record without a key")) };
        let key = RecordKey::parse(key).map_err(|_| refused("a record whose key is not `tenant/key`"))?;
        let decoder = Decoder {
            log_id: self.topology.borrow().log_id,
            // Where it belongs, which may not be where it was.
            partition: self.partition_of(&key),
            partitions: self.partitions.count(),
            // A control record is refused, whoever has signed it.
            keyring: Keyring::new(0, [0; 32]),
        };
        let received = Received { offset: Offset(0), time: letter.time, raw: letter.raw.clone() };
        let mut mutation = match decoder.decode(&received) {
            Ok(Record::Mutation(mutation)) => mutation,
            Err(DecodeError::Refused(refusal)) => {
                return Err(refused(&format!("{} ({})", refusal.reason.code(), refusal.detail)));
            }
            Err(DecodeError::FormatUnknown(_)) => return Err(refused("of a format newer than this build")),
            Ok(Record::Control(_)) | Err(DecodeError::KeyUnknown(_) | DecodeError::KeyMissing(_)) => {
                return Err(refused("a control record"));
            }
        };
        if let Op::Put { value, .. } | Op::Append { value } = &mutation.op
            && value.len() > self.value_bytes_max(decoder.partition)
        {
            return Err(refused("longer than a value may be"));
        }
        // Its own durable id stays: its producer may have sent it again meanwhile.
        if !mutation.id.is_some_and(|id| id.durable) {
            let name = format!("millpond deadletters retry {position}");
            mutation.id = Some(MutationId::of_idempotency_key(&mutation.key, &name));
        }
        Ok(mutation)
    }

    /// The version of the key, where it has been written since.
    async fn newer(&self, position: Position, mutation: &Mutation) -> Result<Option<String>, Problem> {
        let partition = self.partition_of(&mutation.key);
        let found = self.read_key(partition, &mutation.key, Offset::NONE).await?;
        let row = found.rows.into_iter().next().flatten();
        let elsewhere = partition != position.partition;
        let newer = row.filter(|row| elsewhere || row.version > position.version());
        Ok(newer.map(|row| row.version.position(partition).to_string()))
    }

    async fn append_again(&self, mutation: Mutation) -> Result<Value, Problem> {
        let accepted = self.accepted(self.send(&[mutation])?).await?;
        let position = accepted.first().expect("one for each mutation").position;
        let until = Instant::now() + self.config.write_wait;
        let outcome = self.outcomes_of(&[position], until).await.pop().flatten();
        Ok(mutations::told(position, outcome.as_ref()))
    }
}

fn told_letter(position: Position, letter: &DeadLetter) -> Value {
    let mut told = json!({
        "position": position.to_string(), "time": time::rfc3339(letter.time),
        "reason": letter.refusal.reason.code(), "detail": letter.refusal.detail,
        "value_bytes": letter.raw.value.as_ref().map(bytes::Bytes::len),
    });
    if let Some(key) = &letter.raw.key {
        dead_letters::insert_key(&mut told, key);
    }
    told
}
