//! A record in words, for whoever decides about it.
//!
//! Invariant: keys are told, values never.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use millpond_api::show_time;
use millpond_schemas::{Control, ControlOp, DecodeError, Offset, Raw, Record, RecordKey};
use serde_json::{Value, json};

use super::{Serving, judged::decoder};

/// What lies at an offset; none: a hole.
pub(super) async fn record(serving: &Serving<'_>, offset: Offset) -> Result<Option<Value>> {
    let read = serving.ground.log.record(serving.partition, offset).await;
    let Some(received) = read.with_context(|| format!("read the record at {}", serving.position(offset)))?
    else {
        return Ok(None);
    };
    let op = match decoder(serving).decode(&received) {
        Ok(Record::Mutation(mutation)) => mutation.op.name().to_owned(),
        Ok(Record::Control(control)) => control_name(&control).to_owned(),
        Err(DecodeError::Refused(refusal)) => refusal.reason.code().to_owned(),
        Err(DecodeError::FormatUnknown(format)) => format!("of format {format}"),
        Err(DecodeError::KeyUnknown(missing) | DecodeError::KeyMissing(missing)) => {
            format!("control, by key {}", missing.id)
        }
    };
    let mut told = json!({
        "position": serving.position(offset).to_string(), "time": show_time(received.time), "op": op,
        "bytes": received.raw.len(),
    });
    key_of(&received.raw, &mut told);
    Ok(Some(told))
}

fn key_of(raw: &Raw, told: &mut Value) {
    let Some(bytes) = raw.key.clone() else { return };
    let (name, key) = match RecordKey::parse(bytes.clone()) {
        Ok(key) => {
            told["tenant"] = key.tenant().into();
            ("key", key.key())
        }
        Err(_) => ("record_key", bytes),
    };
    match std::str::from_utf8(&key) {
        Ok(text) => told[name] = text.into(),
        Err(_) => told[format!("{name}_b64")] = STANDARD.encode(&key).into(),
    }
}

fn control_name(control: &Control) -> &'static str {
    match control.op {
        ControlOp::Genesis { .. } => "genesis",
        ControlOp::Claim(_) => "claim",
        ControlOp::Sweep { .. } => "sweep",
        ControlOp::Purge { .. } => "purge",
        ControlOp::Seal { .. } => "seal",
    }
}
