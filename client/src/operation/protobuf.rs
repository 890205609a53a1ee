//! An operation as a length-delimited `millpond.v1.Record`, written by hand: the few fields of a mutation need no
//! generated code, and the SDK builds without the server's.
//!
//! Not here: reading. Invariant: fields and their numbers are those of `record.proto`, which are fixed for ever.

use super::{Change, Condition, Expiry, Operation};
use crate::TtlMode;

/// Field numbers of `Record`.
const CONDITIONS: u32 = 4;
const KEY: u32 = 5;
const PUT: u32 = 16;
const DELETE: u32 = 17;
const TTL: u32 = 18;
const INCREMENT: u32 = 19;
const APPEND: u32 = 20;
const MERGE_PATCH: u32 = 21;
const JSON_PATCH: u32 = 22;

/// Wire types.
const VARINT: u32 = 0;
const DELIMITED: u32 = 2;

/// Appends the record behind its length.
pub(super) fn write(operation: &Operation, body: &mut Vec<u8>) {
    let mut record = Vec::with_capacity(64);
    match &operation.condition {
        Condition::None => {}
        Condition::Version(version) => {
            message(&mut record, CONDITIONS, |conditions| bytes(conditions, 3, version.as_str().as_bytes()));
        }
        Condition::Absent => message(&mut record, CONDITIONS, |conditions| number(conditions, 2, 1)),
    }
    bytes(&mut record, KEY, &operation.key);
    change(&mut record, &operation.change);
    varint(body, record.len() as u64);
    body.extend_from_slice(&record);
}

fn change(record: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Put { value, content_type, expiry } => message(record, PUT, |put| {
            bytes(put, 1, value);
            bytes(put, 2, content_type.as_bytes());
            expire(put, 3, *expiry);
        }),
        Change::Delete => message(record, DELETE, |_| {}),
        Change::Ttl { expiry, mode } => message(record, TTL, |ttl| {
            number(ttl, 1, mode_number(*mode));
            expire(ttl, 2, *expiry);
        }),
        Change::Increment { by, initial } => message(record, INCREMENT, |increment| {
            number(increment, 1, zigzag(*by));
            number(increment, 2, zigzag(*initial));
        }),
        Change::Append { value } => message(record, APPEND, |append| bytes(append, 1, value)),
        Change::MergePatch(patch) => message(record, MERGE_PATCH, |to| bytes(to, 1, patch.as_bytes())),
        Change::JsonPatch(patch) => message(record, JSON_PATCH, |to| bytes(to, 1, patch.as_bytes())),
    }
}

fn expire(to: &mut Vec<u8>, field: u32, expiry: Expiry) {
    match expiry {
        Expiry::Never => {}
        Expiry::After(ttl) => {
            let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            message(to, field, |expiry| number(expiry, 1, ms));
        }
        Expiry::AtMillis(ms) => message(to, field, |expiry| number(expiry, 2, ms)),
    }
}

fn mode_number(mode: TtlMode) -> u64 {
    match mode {
        TtlMode::Set => 0,
        TtlMode::Extend => 1,
        TtlMode::OnlyLonger => 2,
        TtlMode::OnlyShorter => 3,
        TtlMode::IfNone => 4,
    }
}

/// `sint64`: small numbers of either sign are short.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn message(to: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    bytes(to, field, &inner);
}

/// Written also when it is empty: a key, and a oneof, are told apart from none.
fn bytes(to: &mut Vec<u8>, field: u32, value: &[u8]) {
    varint(to, u64::from(field << 3 | DELIMITED));
    varint(to, value.len() as u64);
    to.extend_from_slice(value);
}

/// Written also when it is zero: in a oneof that is a value.
fn number(to: &mut Vec<u8>, field: u32, value: u64) {
    varint(to, u64::from(field << 3 | VARINT));
    varint(to, value);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while let low @ 0x80.. = value {
        to.push((low & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push((value & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use millpond_schemas as schemas;

    use super::{super::Encoding, *};

    /// Splits a body as the server does.
    fn records(mut body: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !body.is_empty() {
            let (mut length, mut shift) = (0usize, 0);
            loop {
                let (first, rest) = body.split_first().unwrap();
                body = rest;
                length |= usize::from(first & 0x7f) << shift;
                shift += 7;
                if first & 0x80 == 0 {
                    break;
                }
            }
            let (record, rest) = body.split_at(length);
            body = rest;
            records.push(record.to_vec());
        }
        records
    }

    /// Decoded by the server's own code, in the form in which it lies on the log.
    fn decoded(record: Vec<u8>, key: &[u8]) -> schemas::Mutation {
        let tenant = schemas::Tenant::new("t").unwrap();
        let key = schemas::RecordKey::new(&tenant, key).unwrap();
        let raw = schemas::Raw {
            key: Some(key.bytes().clone()),
            headers: vec![("kv-format".into(), "record".into())],
            value: Some(record.into()),
        };
        let received = schemas::Received { offset: schemas::Offset(1), time: schemas::UnixMillis(0), raw };
        let decoder = schemas::Decoder {
            log_id: schemas::LogId([0; 16]),
            partition: key.partition(1),
            partitions: 1,
            keyring: schemas::Keyring::new(1, [7; 32]),
        };
        match decoder.decode(&received) {
            Ok(schemas::Record::Mutation(mutation)) => mutation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_server_reads_every_kind_as_it_was_meant() {
        let operations = super::super::tests::some();
        let mut body = Vec::new();
        for operation in &operations {
            operation.write(Encoding::Protobuf, &mut body);
        }
        let records = records(&body);
        assert_eq!(records.len(), operations.len());
        let read: Vec<_> = operations
            .iter()
            .zip(records)
            .map(|(operation, record)| decoded(record, &operation.key))
            .collect();
        for (operation, mutation) in operations.iter().zip(&read) {
            assert_eq!(mutation.key.key_bytes(), operation.key);
            assert_eq!(mutation.conditions.absent, operation.condition == Condition::Absent);
        }
        assert_eq!(read[2].conditions.version.as_deref(), Some("1-3-42"));
        let ops: Vec<_> = read.into_iter().map(|mutation| mutation.op).collect();
        let put = |expiry| schemas::Op::Put { value: "é".into(), content_type: "text/plain".into(), expiry };
        let after = Some(schemas::Expiry::TtlMs(1500));
        let at = Some(schemas::Expiry::At(schemas::UnixMillis(1_767_225_600_123)));
        let other = || schemas::Op::Put {
            value: bytes::Bytes::from_static(b"\xfe"),
            content_type: "x/y".into(),
            expiry: None,
        };
        let expected = [
            put(after),
            other(),
            schemas::Op::Delete,
            put(at),
            schemas::Op::Ttl { mode: schemas::TtlMode::OnlyLonger, expiry: after },
            schemas::Op::Ttl { mode: schemas::TtlMode::Set, expiry: None },
            schemas::Op::Increment { by: -3, initial: 7 },
            schemas::Op::Append { value: bytes::Bytes::from_static(b"\n") },
            schemas::Op::MergePatch { patch: r#"{"a":1}"#.into() },
            schemas::Op::JsonPatch { patch: "[]".into() },
        ];
        assert_eq!(ops, expected);
    }
}
