//! The generated protobuf types, and the way between them and the domain types.
//!
//! Private to this crate: nobody else sees a prost type.
//! Invariant: reading is exhaustive; what the domain cannot hold is an error, never a default.

use bytes::Bytes;
use prost::Message as _;

use crate::{
    self as domain, DeadReason, Generation, LogId, Offset, Op, OutcomeInvalid, PartitionId, Position,
    RecordKey, Refusal, Rejection, TopologyInvalid, TtlMode, UnixMillis, Version,
};

#[expect(clippy::pedantic, unreachable_pub, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/millpond.v1.rs"));
}
pub(crate) use generated::*;

/// Reads a record. None: the bytes are no such message.
pub(crate) fn record(bytes: Bytes) -> Option<Record> {
    let record = Record::decode(bytes).ok()?;
    let is_text = match &record.op {
        Some(record::Op::Put(put)) => std::str::from_utf8(&put.content_type).is_ok(),
        _ => true,
    };
    is_text.then_some(record)
}

pub(crate) fn op_out(op: &Op) -> record::Op {
    match op {
        Op::Put { value, content_type, expiry } => record::Op::Put(Put {
            value: value.clone(),
            content_type: content_type.as_bytes().clone(),
            expiry: expiry.map(expiry_out),
        }),
        Op::Delete => record::Op::Delete(Delete {}),
        Op::Ttl { mode, expiry } => {
            record::Op::Ttl(Ttl { mode: mode_out(*mode).into(), expiry: expiry.map(expiry_out) })
        }
        Op::Increment { by, initial } => record::Op::Increment(Increment { by: *by, initial: *initial }),
        Op::Append { value } => record::Op::Append(Append { value: value.clone() }),
        Op::MergePatch { patch } => record::Op::MergePatch(MergePatch { patch: patch.clone() }),
        Op::JsonPatch { patch } => record::Op::JsonPatch(JsonPatch { patch: patch.clone() }),
    }
}

fn expiry_out(expiry: domain::Expiry) -> Expiry {
    let at = match expiry {
        domain::Expiry::TtlMs(ms) => expiry::At::TtlMs(ms),
        domain::Expiry::At(at) => expiry::At::ExpiresAtMs(at.0),
    };
    Expiry { at: Some(at) }
}

/// None: never. An expiry message without a moment also says never.
pub(crate) fn expiry_in(message: Option<Expiry>) -> Option<domain::Expiry> {
    message?.at.map(|at| match at {
        expiry::At::TtlMs(ms) => domain::Expiry::TtlMs(ms),
        expiry::At::ExpiresAtMs(ms) => domain::Expiry::At(UnixMillis(ms)),
    })
}

fn mode_out(mode: TtlMode) -> ttl::Mode {
    match mode {
        TtlMode::Set => ttl::Mode::Set,
        TtlMode::Extend => ttl::Mode::Extend,
        TtlMode::OnlyLonger => ttl::Mode::OnlyLonger,
        TtlMode::OnlyShorter => ttl::Mode::OnlyShorter,
        TtlMode::IfNone => ttl::Mode::IfNone,
    }
}

pub(crate) fn mode_in(mode: i32) -> Option<TtlMode> {
    Some(match ttl::Mode::try_from(mode).ok()? {
        ttl::Mode::Set => TtlMode::Set,
        ttl::Mode::Extend => TtlMode::Extend,
        ttl::Mode::OnlyLonger => TtlMode::OnlyLonger,
        ttl::Mode::OnlyShorter => TtlMode::OnlyShorter,
        ttl::Mode::IfNone => TtlMode::IfNone,
    })
}

pub(crate) fn claim_out(claim: &domain::Claim) -> Claim {
    Claim {
        copy: claim.copy.clone(),
        generation: claim.generation.0.into(),
        partitions: claim.partitions,
        fold_version: claim.fold_version,
        format_max: claim.format_max,
        value_bytes_max: claim.value_bytes_max,
        purge_grace_ms: claim.purge_grace_ms,
        mac_key_id: claim.mac_key_id,
    }
}

pub(crate) fn claim_in(message: Claim) -> Option<domain::Claim> {
    Some(domain::Claim {
        copy: message.copy,
        generation: generation_in(message.generation)?,
        partitions: message.partitions,
        fold_version: message.fold_version,
        format_max: message.format_max,
        value_bytes_max: message.value_bytes_max,
        purge_grace_ms: message.purge_grace_ms,
        mac_key_id: message.mac_key_id,
    })
}

pub(crate) fn generation_in(number: u32) -> Option<Generation> {
    let generation = Generation(u16::try_from(number).ok()?);
    (Generation::FIRST..=Generation::MAX).contains(&generation).then_some(generation)
}

pub(crate) fn outcome_out(outcome: &domain::Outcome) -> Outcome {
    let kind = match outcome {
        domain::Outcome::Applied(effect) => {
            outcome::Kind::Applied(Applied { effect: effect.as_ref().map(effect_out) })
        }
        domain::Outcome::Rejected(rejected) => outcome::Kind::Rejected(Rejected {
            code: rejected.rejection.code().into(),
            version: rejected.current.map(|version| version.0),
            detail: String::new(),
        }),
        domain::Outcome::Duplicate { of, original } => outcome::Kind::Duplicate(Box::new(Duplicate {
            generation: of.generation.0.into(),
            partition: of.partition.0,
            offset: of.offset.0,
            original: original.as_deref().map(|original| Box::new(outcome_out(original))),
        })),
        domain::Outcome::DeadLettered(refusal) => outcome::Kind::DeadLettered(DeadLettered {
            code: refusal.reason.code().into(),
            detail: refusal.detail.clone(),
        }),
    };
    Outcome { kind: Some(kind) }
}

fn effect_out(effect: &domain::Effect) -> Effect {
    Effect {
        changed: effect.changed,
        version: effect.version.0,
        expires_at_ms: effect.expires_at.map(|at| at.0),
        value: effect.value.clone(),
        content_type: effect.content_type.clone(),
    }
}

pub(crate) fn outcome_in(message: Outcome) -> Result<domain::Outcome, OutcomeInvalid> {
    let invalid = |what: &str| OutcomeInvalid(what.to_owned());
    Ok(match message.kind.ok_or_else(|| invalid("no kind"))? {
        outcome::Kind::Applied(applied) => {
            domain::Outcome::Applied(applied.effect.map(|effect| domain::Effect {
                changed: effect.changed,
                version: Version(effect.version),
                expires_at: effect.expires_at_ms.map(UnixMillis),
                value: effect.value,
                content_type: effect.content_type,
            }))
        }
        outcome::Kind::Rejected(rejected) => domain::Outcome::Rejected(domain::Rejected {
            rejection: Rejection::from_code(&rejected.code).ok_or_else(|| invalid("unknown rejection"))?,
            current: rejected.version.map(Version),
        }),
        outcome::Kind::Duplicate(duplicate) => domain::Outcome::Duplicate {
            of: Position {
                generation: generation_in(duplicate.generation).ok_or_else(|| invalid("no generation"))?,
                partition: PartitionId(duplicate.partition),
                offset: Offset(duplicate.offset),
            },
            original: duplicate.original.map(|original| outcome_in(*original).map(Box::new)).transpose()?,
        },
        outcome::Kind::DeadLettered(dead) => domain::Outcome::DeadLettered(Refusal {
            reason: DeadReason::from_code(&dead.code).ok_or_else(|| invalid("unknown reason"))?,
            detail: dead.detail,
        }),
    })
}

pub(crate) fn range_out(range: &domain::OutcomeRange) -> OutcomeRange {
    let exception = |exception: &domain::Exception| Exception {
        offset_delta: (exception.offset.0 - range.from.0).cast_unsigned(),
        id: exception.id.map(|id| id.to_vec().into()).unwrap_or_default(),
        outcome: Some(outcome_out(&exception.outcome)),
    };
    OutcomeRange {
        generation: range.generation.0.into(),
        partition: range.partition.0,
        from: range.from.0,
        to: range.to.0,
        time_ms: range.time.0,
        exceptions: range.exceptions.iter().map(exception).collect(),
        expired: range.expired.iter().map(|key| key.bytes().clone()).collect(),
    }
}

pub(crate) fn range_in(message: OutcomeRange) -> Result<domain::OutcomeRange, OutcomeInvalid> {
    let invalid = |what: &str| OutcomeInvalid(what.to_owned());
    let exception = |exception: Exception| -> Result<domain::Exception, OutcomeInvalid> {
        let offset = message.from.checked_add_unsigned(exception.offset_delta);
        Ok(domain::Exception {
            offset: Offset(offset.ok_or_else(|| invalid("offset out of range"))?),
            id: exception.id.as_ref().try_into().ok(),
            outcome: outcome_in(exception.outcome.ok_or_else(|| invalid("no outcome"))?)?,
        })
    };
    Ok(domain::OutcomeRange {
        generation: generation_in(message.generation).ok_or_else(|| invalid("no generation"))?,
        partition: PartitionId(message.partition),
        from: Offset(message.from),
        to: Offset(message.to),
        time: UnixMillis(message.time_ms),
        exceptions: message.exceptions.into_iter().map(exception).collect::<Result<_, _>>()?,
        expired: message
            .expired
            .into_iter()
            .map(|key| RecordKey::parse(key).map_err(|_| invalid("no record key")))
            .collect::<Result<_, _>>()?,
    })
}

pub(crate) fn topology_out(topology: &domain::Topology) -> Topology {
    Topology {
        epoch: topology.epoch,
        generation: topology.generation.0.into(),
        log_id: topology.log_id.0.to_vec().into(),
        shards: topology.shards.iter().map(shard_out).collect(),
        placement: topology.placement.clone(),
        skips: topology.skips.iter().map(skip_out).collect(),
        skip_times: topology.skip_times.iter().map(skip_time_out).collect(),
    }
}

fn shard_out(shard: &domain::Shard) -> Shard {
    Shard { name: shard.name.clone(), primary: shard.primary.clone(), replicas: shard.replicas.clone() }
}

fn skip_out(skip: &Position) -> Skip {
    Skip { generation: skip.generation.0.into(), partition: skip.partition.0, offset: skip.offset.0 }
}

fn skip_time_out(skip: &domain::SkipTime) -> SkipTime {
    SkipTime {
        generation: skip.from.generation.0.into(),
        partition: skip.from.partition.0,
        from: skip.from.offset.0,
        to: skip.to.0,
    }
}

pub(crate) fn topology_in(message: Topology) -> Result<domain::Topology, TopologyInvalid> {
    let invalid = |what: &str| TopologyInvalid(what.to_owned());
    let position = |generation: u32, partition: u32, offset: i64| -> Result<Position, TopologyInvalid> {
        let generation = generation_in(generation).ok_or_else(|| invalid("no generation"))?;
        Ok(Position { generation, partition: PartitionId(partition), offset: Offset(offset) })
    };
    let shards: Vec<domain::Shard> = message
        .shards
        .into_iter()
        .map(|shard| domain::Shard { name: shard.name, primary: shard.primary, replicas: shard.replicas })
        .collect();
    if message.placement.is_empty() || message.placement.iter().any(|index| *index as usize >= shards.len()) {
        return Err(invalid("every partition needs a shard of the document"));
    }
    Ok(domain::Topology {
        epoch: message.epoch,
        generation: generation_in(message.generation).ok_or_else(|| invalid("no generation"))?,
        log_id: LogId(message.log_id.as_ref().try_into().map_err(|_| invalid("a log id has 16 bytes"))?),
        shards,
        placement: message.placement,
        skips: message
            .skips
            .into_iter()
            .map(|skip| position(skip.generation, skip.partition, skip.offset))
            .collect::<Result<_, _>>()?,
        skip_times: message
            .skip_times
            .into_iter()
            .map(|skip| {
                let from = position(skip.generation, skip.partition, skip.from)?;
                Ok(domain::SkipTime { from, to: Offset(skip.to) })
            })
            .collect::<Result<_, _>>()?,
    })
}
