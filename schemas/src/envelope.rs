//! The mutation in a `millpond.v1.Record`, on the log and in a batch: every rule that does not turn on where it came.
//!
//! Not here: the record's key and its control part. Invariant: values and patches are slices of what was read.

use bytes::Bytes;
use bytestring::ByteString;
use prost::Message;

use crate::{
    CONTENT_TYPE_DEFAULT, Conditions, DeadReason as Reason, DecodeError, Expiry, JsonInvalid, KeyInvalid,
    KeyJoiner, Mutation, MutationId, Op, RecordKey, Tenant, TtlMode, json,
    limits::{CONDITION_BYTES_MAX, CONTENT_TYPE_BYTES_MAX, FORMAT},
    record::{is_control, refused},
    wire,
};

/// What is wrong with a record that should carry a mutation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MutationInvalid {
    /// The bytes are no message, or say what can never be.
    #[error("{0}")]
    Undecodable(&'static str),
    /// A major format above this build's.
    #[error("the record's format is newer than what is taken here")]
    Format(u32),
    /// A control record.
    #[error("control records do not come from producers")]
    Control,
    /// No operation.
    #[error("the record has no operation")]
    NoOperation,
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyInvalid),
    /// The id.
    #[error("{0}")]
    Id(&'static str),
    /// The condition.
    #[error("conditions.version is too long for a position")]
    Condition,
    /// The content type.
    #[error("{0}")]
    ContentType(&'static str),
    /// The TTL or expiry.
    #[error("{0}")]
    Ttl(&'static str),
    /// The patch.
    #[error("the patch is {0}")]
    Patch(JsonInvalid),
}

/// As it is dead-lettered.
impl From<MutationInvalid> for DecodeError {
    fn from(invalid: MutationInvalid) -> Self {
        let reason = match &invalid {
            MutationInvalid::Format(format) => return Self::FormatUnknown(*format),
            MutationInvalid::Undecodable(_)
            | MutationInvalid::Id(_)
            | MutationInvalid::Condition
            | MutationInvalid::Patch(_) => Reason::Undecodable,
            MutationInvalid::Control => Reason::ForgedControlRecord,
            MutationInvalid::NoOperation => Reason::EmptyMutation,
            MutationInvalid::Key(_) => Reason::KeyInvalid,
            MutationInvalid::ContentType(_) => Reason::HeaderInvalid,
            MutationInvalid::Ttl(_) => Reason::TtlInvalid,
        };
        refused(reason, invalid.to_string())
    }
}

impl Mutation {
    /// Reads a `millpond.v1.Record` that is not on the log, as a batch carries it: its field `key` is the key, without
    /// a tenant. That is `tenant`, whatever bytes the key holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: Bytes, tenant: &Tenant, keys: &mut KeyJoiner) -> Result<Self, MutationInvalid> {
        let message = wire::record(bytes).ok_or(MutationInvalid::Undecodable("not a millpond.v1.Record"))?;
        if message.format / 100 > FORMAT / 100 {
            return Err(MutationInvalid::Format(message.format));
        }
        if message.control.is_some() || message.op.as_ref().is_some_and(is_control) {
            return Err(MutationInvalid::Control);
        }
        let durable = message.durable;
        let key = keys.join(tenant, message.key.as_deref().unwrap_or_default())?;
        let mutation = read(message, key)?;
        if durable && mutation.id.is_none() {
            return Err(MutationInvalid::Id("a durable record has an id"));
        }
        Ok(mutation)
    }

    /// What [`Mutation::decode`] reads.
    pub fn encode_with_key(&self) -> Bytes {
        wire::Record { key: Some(self.key.key()), ..write(self) }.encode_to_vec().into()
    }
}

/// The message of a mutation, without its key.
pub(crate) fn write(mutation: &Mutation) -> wire::Record {
    wire::Record {
        format: FORMAT,
        id: mutation.id.map(|id| Bytes::copy_from_slice(&id.bytes)).unwrap_or_default(),
        durable: mutation.id.is_some_and(|id| id.durable),
        conditions: (!mutation.conditions.is_empty()).then(|| wire::Conditions {
            exists: mutation.conditions.exists,
            absent: mutation.conditions.absent,
            version: mutation.conditions.version.clone().unwrap_or_default(),
        }),
        key: None,
        control: None,
        op: Some(wire::op_out(&mutation.op)),
    }
}

/// The mutation of a message that is no control record.
pub(crate) fn read(message: wire::Record, key: RecordKey) -> Result<Mutation, MutationInvalid> {
    let conditions = message.conditions.unwrap_or_default();
    if conditions.version.len() > CONDITION_BYTES_MAX {
        return Err(MutationInvalid::Condition);
    }
    Ok(Mutation {
        key,
        id: id(&message.id, message.durable)?,
        conditions: Conditions {
            exists: conditions.exists,
            absent: conditions.absent,
            version: (!conditions.version.is_empty()).then_some(conditions.version),
        },
        op: op(message.op.ok_or(MutationInvalid::NoOperation)?)?,
    })
}

/// An id of 16 bytes; empty or all zero is none.
pub(crate) fn id(bytes: &[u8], durable: bool) -> Result<Option<MutationId>, MutationInvalid> {
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) if bytes == [0; 16] => Ok(None),
        Ok(bytes) => Ok(Some(MutationId { bytes, durable })),
        Err(_) if bytes.is_empty() => Ok(None),
        Err(_) => Err(MutationInvalid::Id("an id has 16 bytes")),
    }
}

fn op(op: wire::record::Op) -> Result<Op, MutationInvalid> {
    use wire::record::Op as In;
    let op = match op {
        In::Put(put) => Op::Put {
            value: put.value,
            content_type: content_type(text(put.content_type)?)?,
            expiry: wire::expiry_in(put.expiry),
        },
        In::Delete(_) => Op::Delete,
        In::Ttl(ttl) => Op::Ttl {
            mode: wire::mode_in(ttl.mode).ok_or(MutationInvalid::Undecodable("ttl.mode is unknown"))?,
            expiry: wire::expiry_in(ttl.expiry),
        },
        In::Increment(increment) => Op::Increment { by: increment.by, initial: increment.initial },
        In::Append(append) => Op::Append { value: append.value },
        In::MergePatch(patch) => {
            json::check(&patch.patch).map_err(MutationInvalid::Patch)?;
            Op::MergePatch { patch: patch.patch }
        }
        In::JsonPatch(patch) => {
            json::check_patch(&patch.patch).map_err(MutationInvalid::Patch)?;
            Op::JsonPatch { patch: patch.patch }
        }
        In::Genesis(_) | In::Claim(_) | In::Sweep(_) | In::Purge(_) | In::Seal(_) => {
            return Err(MutationInvalid::Control);
        }
    };
    check_expiry(&op)?;
    Ok(op)
}

fn text(bytes: Bytes) -> Result<ByteString, MutationInvalid> {
    ByteString::try_from(bytes).map_err(|_| MutationInvalid::Undecodable("not a millpond.v1.Record"))
}

/// A put without a content type has the default one. One that no header or text column could carry is refused.
pub(crate) fn content_type(text: ByteString) -> Result<ByteString, MutationInvalid> {
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(MutationInvalid::ContentType("a content type is printable ASCII"));
    }
    match text.len() {
        0 => Ok(ByteString::from_static(CONTENT_TYPE_DEFAULT)),
        1..=CONTENT_TYPE_BYTES_MAX => Ok(text),
        _ => Err(MutationInvalid::ContentType("the content type is too long")),
    }
}

pub(crate) fn check_expiry(op: &Op) -> Result<(), MutationInvalid> {
    let expiry = match op {
        Op::Ttl { mode: TtlMode::Extend, expiry: Some(Expiry::At(_)) } => {
            return Err(MutationInvalid::Ttl("extend takes a TTL"));
        }
        Op::Ttl { mode, expiry: None } if *mode != TtlMode::Set => {
            return Err(MutationInvalid::Ttl("this mode takes an expiry"));
        }
        Op::Put { expiry, .. } | Op::Ttl { expiry, .. } => *expiry,
        Op::Delete
        | Op::Increment { .. }
        | Op::Append { .. }
        | Op::MergePatch { .. }
        | Op::JsonPatch { .. } => None,
    };
    match expiry {
        Some(expiry) if !expiry.is_valid() => {
            Err(MutationInvalid::Ttl("a TTL is 1 s to 10 years, an expiry before the year 10000"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant() -> Tenant {
        Tenant::new("acme").unwrap()
    }

    fn mutation(op: Op) -> Mutation {
        let key = RecordKey::new(&tenant(), b"other/key").unwrap();
        Mutation { key, id: None, conditions: Conditions::default(), op }
    }

    fn decode(message: &wire::Record) -> Result<Mutation, MutationInvalid> {
        Mutation::decode(message.encode_to_vec().into(), &tenant(), &mut KeyJoiner::default())
    }

    #[test]
    fn a_key_is_the_tenants_own_whatever_it_looks_like() {
        let sent = mutation(Op::Delete);
        let read = Mutation::decode(sent.encode_with_key(), &tenant(), &mut KeyJoiner::default()).unwrap();
        assert_eq!((read.key.tenant(), read.key.key_bytes()), ("acme", &b"other/key"[..]));
        assert_eq!(read, sent);
    }

    #[test]
    fn values_and_patches_are_slices_of_what_was_read() {
        let put = |value| Op::Put { value, content_type: "text/plain".into(), expiry: None };
        let text = Bytes::from(format!("\"{}\"", "v".repeat(300)));
        for op in
            [put(text.clone()), Op::Append { value: text.clone() }, Op::MergePatch { patch: text.clone() }]
        {
            let bytes = mutation(op).encode_with_key();
            let (Op::Put { value, .. } | Op::Append { value } | Op::MergePatch { patch: value }) =
                Mutation::decode(bytes.clone(), &tenant(), &mut KeyJoiner::default()).unwrap().op
            else {
                panic!("another operation");
            };
            assert_eq!(value, text);
            assert!(bytes.as_ptr_range().contains(&value.as_ptr()), "a copy");
        }
    }

    #[test]
    fn what_no_producer_may_say_is_told_apart() {
        let sent = write(&mutation(Op::Delete));
        let keyed = wire::Record { key: Some("k".into()), ..sent.clone() };
        let id = |bytes: &'static [u8], durable| wire::Record { id: bytes.into(), durable, ..keyed.clone() };
        assert!(decode(&keyed).is_ok());
        assert_eq!(decode(&sent), Err(MutationInvalid::Key(KeyInvalid::Key { bytes: 0 })));
        assert_eq!(decode(&wire::Record { format: 200, ..keyed.clone() }), Err(MutationInvalid::Format(200)));
        assert!(decode(&wire::Record { format: 199, ..keyed.clone() }).is_ok());
        assert_eq!(decode(&wire::Record { op: None, ..keyed.clone() }), Err(MutationInvalid::NoOperation));
        let control = Some(wire::Control::default());
        assert_eq!(decode(&wire::Record { control, ..keyed.clone() }), Err(MutationInvalid::Control));
        let sweep = Some(wire::record::Op::Sweep(wire::Sweep { rows_max: 1 }));
        assert_eq!(decode(&wire::Record { op: sweep, ..keyed.clone() }), Err(MutationInvalid::Control));
        assert!(decode(&id(&[7; 16], true)).unwrap().id.unwrap().durable);
        for (bytes, durable) in [(&[7; 15][..], false), (&[], true), (&[0; 16], true)] {
            assert!(matches!(decode(&id(bytes, durable)), Err(MutationInvalid::Id(_))), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _read = Mutation::decode(bytes.into(), &tenant(), &mut KeyJoiner::default());
        }
    }
}
