//! A batch as length-delimited `millpond.v1.Record`s: where each lies, and what it asks.
//!
//! A record says what a JSON line says. Its `key` is without a tenant, which is the caller's: no bytes of a key name
//! another one. Its `id` and `durable` are what `idempotency_key` is on a line.
//! Invariant: values and patches are slices of the body.

use millpond_schemas::{KeyJoiner, Mutation, MutationId, MutationInvalid, Op, limits::BATCH_OPERATIONS_MAX};

use super::operations::{Context, too_many};
use crate::{
    expiry,
    problem::{Code, Problem},
};

/// The bytes of each record, in order.
///
/// # Errors
/// 400 where a length is none or leads beyond the end, 413 as soon as there are too many.
pub(super) fn frames(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    let mut frames = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        if frames.len() == BATCH_OPERATIONS_MAX {
            return Err(too_many());
        }
        let (frame, after) = split_frame(rest).ok_or_else(|| {
            Problem::new(Code::BodyInvalid, "the body is not length-delimited millpond.v1.Records")
        })?;
        frames.push(frame);
        rest = after;
    }
    Ok(frames)
}

/// The first frame, without its length, and what follows it.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_u64;
    for (shift, index) in (0..u64::BITS).step_by(7).zip(0..) {
        let byte = *bytes.get(index)?;
        let bits = u64::from(byte & 0x7f);
        length |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

/// The mutation that a record, a part of the body, asks for. `number` counts from 1.
pub(super) fn mutation(
    frame: &[u8],
    number: usize,
    context: &Context<'_>,
    keys: &mut KeyJoiner,
) -> Result<Mutation, Problem> {
    let frame = context.body.slice_ref(frame);
    let mut mutation = Mutation::decode(frame, context.tenant, keys).map_err(of_invalid)?;
    match &mutation.op {
        Op::Put { value, expiry, .. } => {
            context.within_limit(value.len())?;
            expiry.map(|expiry| expiry::ahead(expiry, context.now)).transpose()?;
        }
        Op::Ttl { expiry, .. } => {
            expiry.map(|expiry| expiry::ahead(expiry, context.now)).transpose()?;
        }
        Op::Append { value: bytes } | Op::MergePatch { patch: bytes } | Op::JsonPatch { patch: bytes } => {
            context.within_limit(bytes.len())?;
        }
        Op::Delete | Op::Increment { .. } => {}
    }
    mutation.id = Some(match mutation.id {
        // With an Idempotency-Key of the request, every line is remembered as long as one.
        Some(own) => MutationId { durable: own.durable || context.idempotency_key.is_some(), ..own },
        None => context.id(&mutation.key, number),
    });
    Ok(mutation)
}

/// As the single call, or a line, would have been refused.
fn of_invalid(invalid: MutationInvalid) -> Problem {
    let code = match &invalid {
        MutationInvalid::Undecodable(_)
        | MutationInvalid::Format(_)
        | MutationInvalid::Control
        | MutationInvalid::NoOperation => Code::BodyInvalid,
        MutationInvalid::Key(_) => Code::KeyInvalid,
        MutationInvalid::Id(_) => Code::IdempotencyKeyInvalid,
        MutationInvalid::Condition => Code::ConditionInvalid,
        MutationInvalid::ContentType(_) => Code::ContentTypeInvalid,
        MutationInvalid::Ttl(_) => Code::TtlInvalid,
        MutationInvalid::Patch(_) => Code::ValueInvalid,
    };
    let detail = invalid.to_string();
    match invalid {
        MutationInvalid::Patch(error) => Problem::of_json(error).under("/patch"),
        _ => Problem::new(code, detail),
    }
}
