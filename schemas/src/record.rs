//! The envelope: a mutation or a control record, to and from the bytes on the log.
//!
//! Invariant: decoding depends on the bytes, their place, the log's identity and the keyring; on nothing else.

use bytes::Bytes;
use bytestring::ByteString;
use prost::Message;

use crate::{
    Claim, Control, ControlOp, DeadReason as Reason, FORMAT_RECORD, HEADER_FORMAT, HEADER_MAC, KeyMissing,
    Keyring, LogId, Mutation, Offset, PartitionId, Raw, Received, RecordKey, Refusal, envelope,
    limits::{CONTROL_OFFSETS_MAX, FORMAT, HEADER_BYTES_MAX, HEADERS_MAX},
    partition_of, plain, wire,
};

/// What lies on the mutations log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// From a producer.
    Mutation(Mutation),
    /// From Millpond itself.
    Control(Control),
}

/// Why bytes are no record that can be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It can never apply: a dead letter.
    Refused(Refusal),
    /// A major format above this build's. A dead letter, unless the Claim in force announced it.
    FormatUnknown(u32),
    /// A control record by a key that is not held. Forged, unless that key was announced.
    KeyUnknown(KeyMissing),
    /// A genuine Claim announces a key that is not held.
    KeyMissing(KeyMissing),
}

/// What decoding depends on besides the bytes.
#[derive(Clone)]
pub struct Decoder {
    /// The log.
    pub log_id: LogId,
    /// Which partition of it.
    pub partition: PartitionId,
    /// P.
    pub partitions: u32,
    /// To verify control records with.
    pub keyring: Keyring,
}

impl Mutation {
    /// The bytes of this mutation in the record form.
    pub fn encode(&self) -> Raw {
        Raw { key: Some(self.key.bytes().clone()), ..record_form(envelope::write(self).encode_to_vec()) }
    }
}

impl Control {
    /// The bytes of this control record, with its MAC.
    pub fn encode(&self, keyring: &Keyring) -> Result<Raw, KeyMissing> {
        let message = wire::Record {
            format: FORMAT,
            id: Bytes::copy_from_slice(&self.id),
            control: Some(wire::Control {
                log_id: Bytes::copy_from_slice(&self.log_id.0),
                partition: self.partition.0,
                end_seen: self.end_seen.0,
                mac_key_id: self.mac_key_id,
            }),
            op: Some(control_op_out(&self.op)),
            ..wire::Record::default()
        };
        let value = message.encode_to_vec();
        let mac = keyring.sign(self.mac_key_id, &value)?;
        let mut raw = record_form(value);
        raw.headers.push((ByteString::from_static(HEADER_MAC), Bytes::copy_from_slice(&mac)));
        Ok(raw)
    }
}

impl Claim {
    /// Protobuf bytes of `millpond.v1.Claim`, as a watermark keeps them.
    pub fn encode(&self) -> Bytes {
        wire::claim_out(self).encode_to_vec().into()
    }

    /// Reads what [`Claim::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Option<Self> {
        wire::claim_in(wire::Claim::decode(bytes).ok()?)
    }
}

fn record_form(value: Vec<u8>) -> Raw {
    Raw {
        key: None,
        headers: vec![(ByteString::from_static(HEADER_FORMAT), Bytes::from_static(FORMAT_RECORD))],
        value: Some(value.into()),
    }
}

fn control_op_out(op: &ControlOp) -> wire::record::Op {
    use wire::record::Op as Out;
    match op {
        ControlOp::Genesis { generation, partitions } => {
            Out::Genesis(wire::Genesis { generation: generation.0.into(), partitions: *partitions })
        }
        ControlOp::Claim(claim) => Out::Claim(wire::claim_out(claim)),
        ControlOp::Sweep { rows_max } => Out::Sweep(wire::Sweep { rows_max: *rows_max }),
        ControlOp::Purge { rows_max } => Out::Purge(wire::Purge { rows_max: *rows_max }),
        ControlOp::Seal { next_generation } => {
            Out::Seal(wire::Seal { next_generation: next_generation.0.into() })
        }
    }
}

pub(crate) fn refused(reason: Reason, detail: impl Into<String>) -> DecodeError {
    DecodeError::Refused(Refusal::new(reason, detail))
}

impl Decoder {
    /// Reads one record in either form.
    pub fn decode(&self, received: &Received) -> Result<Record, DecodeError> {
        let raw = &received.raw;
        if raw.headers.len() > HEADERS_MAX || raw.header_bytes() > HEADER_BYTES_MAX {
            let limit = format!(
                "a record carries at most {HEADERS_MAX} headers and {HEADER_BYTES_MAX} bytes of them"
            );
            return Err(refused(Reason::TooLarge, limit));
        }
        match raw.header(HEADER_FORMAT) {
            None => Ok(Record::Mutation(plain::decode(raw, self.key_of(raw)?)?)),
            Some(format) if format.as_ref() == FORMAT_RECORD => self.decode_record(received),
            Some(_) => {
                Err(refused(Reason::UnsupportedFormat, "the header kv-format is `record` or not there"))
            }
        }
    }

    fn decode_record(&self, received: &Received) -> Result<Record, DecodeError> {
        let value = received.raw.value.clone().unwrap_or_default();
        if value.is_empty() {
            return Err(refused(Reason::EmptyMutation, "the value of a kv-format: record is empty"));
        }
        let message = wire::record(value)
            .ok_or_else(|| refused(Reason::Undecodable, "the value is not a millpond.v1.Record"))?;
        if message.format / 100 > FORMAT / 100 {
            return Err(DecodeError::FormatUnknown(message.format));
        }
        if message.control.is_some() || message.op.as_ref().is_some_and(is_control) {
            return self.decode_control(received, message).map(Record::Control);
        }
        let key = self.key_of(&received.raw)?;
        if message.key.as_ref().is_some_and(|envelope| envelope != key.key_bytes()) {
            return Err(refused(
                Reason::KeyMismatch,
                "the record's key and its envelope name different keys",
            ));
        }
        Ok(Record::Mutation(envelope::read(message, key)?))
    }

    fn key_of(&self, raw: &Raw) -> Result<RecordKey, DecodeError> {
        let bytes =
            raw.key.clone().ok_or_else(|| refused(Reason::MissingKey, "a record key is <tenant>/<key>"))?;
        let key = RecordKey::parse(bytes).map_err(|error| refused(Reason::KeyInvalid, error.to_string()))?;
        let partition = partition_of(key.bytes(), self.partitions);
        if partition != self.partition {
            return Err(refused(
                Reason::WrongPartition,
                format!(
                    "the key belongs to partition {partition}, not {}: set the client's partitioner to murmur2 \
                     (librdkafka: partitioner=murmur2_random)",
                    self.partition
                ),
            ));
        }
        Ok(key)
    }

    fn decode_control(&self, received: &Received, message: wire::Record) -> Result<Control, DecodeError> {
        let forged = |detail: &str| refused(Reason::ForgedControlRecord, detail);
        let control = message.control.ok_or_else(|| forged("it carries no control part"))?;
        let mac = received.raw.header(HEADER_MAC).ok_or_else(|| forged("it carries no MAC"))?;
        let value = received.raw.value.as_deref().unwrap_or_default();
        if !self.keyring.verify(control.mac_key_id, value, mac).map_err(DecodeError::KeyUnknown)? {
            return Err(forged("its MAC is wrong"));
        }
        if received.raw.key.is_some() {
            return Err(forged("a control record has no key"));
        }
        if control.log_id.as_ref() != self.log_id.0 || control.partition != self.partition.0 {
            return Err(forged("it was made for another log or partition"));
        }
        let lag = received.offset.0.saturating_sub(control.end_seen);
        if !(0..=CONTROL_OFFSETS_MAX).contains(&lag) {
            return Err(forged("it was made for another place in the log"));
        }
        let id = envelope::id(&message.id, false)?.ok_or_else(|| forged("it has no id"))?;
        let op = message.op.and_then(control_op_in).ok_or_else(|| forged("it says nothing that is known"))?;
        if let ControlOp::Claim(claim) = &op {
            self.keyring.holds(claim.mac_key_id).map_err(DecodeError::KeyMissing)?;
        }
        Ok(Control {
            id: id.bytes,
            log_id: self.log_id,
            partition: self.partition,
            end_seen: Offset(control.end_seen),
            mac_key_id: control.mac_key_id,
            op,
        })
    }
}

pub(crate) fn is_control(op: &wire::record::Op) -> bool {
    use wire::record::Op;
    match op {
        Op::Genesis(_) | Op::Claim(_) | Op::Sweep(_) | Op::Purge(_) | Op::Seal(_) => true,
        Op::Put(_)
        | Op::Delete(_)
        | Op::Ttl(_)
        | Op::Increment(_)
        | Op::Append(_)
        | Op::MergePatch(_)
        | Op::JsonPatch(_) => false,
    }
}

fn control_op_in(op: wire::record::Op) -> Option<ControlOp> {
    use wire::record::Op;
    Some(match op {
        Op::Genesis(genesis) => ControlOp::Genesis {
            generation: wire::generation_in(genesis.generation)?,
            partitions: genesis.partitions,
        },
        Op::Claim(claim) => ControlOp::Claim(wire::claim_in(claim)?),
        Op::Sweep(sweep) => ControlOp::Sweep { rows_max: sweep.rows_max },
        Op::Purge(purge) => ControlOp::Purge { rows_max: purge.rows_max },
        Op::Seal(seal) => ControlOp::Seal { next_generation: wire::generation_in(seal.next_generation)? },
        Op::Put(_)
        | Op::Delete(_)
        | Op::Ttl(_)
        | Op::Increment(_)
        | Op::Append(_)
        | Op::MergePatch(_)
        | Op::JsonPatch(_) => return None,
    })
}
