//! The plain form: the record's value is the value itself, and headers say the rest.
//!
//! Invariant: a record without any `kv-` header is a put of its bytes, or a delete when it has none.

use bytes::Bytes;

use crate::{
    Conditions, DeadReason as Reason, DecodeError, Expiry, Mutation, MutationId, Op, Raw, RecordKey,
    UnixMillis,
    envelope::{check_expiry, content_type},
    limits::CONDITION_BYTES_MAX,
    record::refused,
};

/// Reads a record in the plain form.
pub(crate) fn decode(raw: &Raw, key: RecordKey) -> Result<Mutation, DecodeError> {
    let op = match &raw.value {
        None => Op::Delete,
        Some(value) => Op::Put {
            value: value.clone(),
            content_type: content_type(text(raw, "content-type")?.unwrap_or_default().into())?,
            expiry: expiry(raw)?,
        },
    };
    check_expiry(&op)?;
    Ok(Mutation { key, id: id(raw)?, conditions: conditions(raw)?, op })
}

fn text<'a>(raw: &'a Raw, name: &str) -> Result<Option<&'a str>, DecodeError> {
    let utf8 = |bytes: &'a Bytes| std::str::from_utf8(bytes).map_err(|_| invalid(name, "is not UTF-8"));
    raw.header(name).map(utf8).transpose()
}

fn invalid(name: &str, what: &str) -> DecodeError {
    refused(Reason::HeaderInvalid, format!("the header {name} {what}"))
}

fn expiry(raw: &Raw) -> Result<Option<Expiry>, DecodeError> {
    let number = |name: &str| -> Result<Option<i64>, DecodeError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| refused(Reason::TtlInvalid, format!("{name} is no integer")))
        };
        text(raw, name)?.map(parse).transpose()
    };
    match (number("kv-ttl-ms")?, number("kv-expires-at-ms")?) {
        (None, None) => Ok(None),
        (Some(ttl), None) => Ok(Some(Expiry::TtlMs(u64::try_from(ttl).unwrap_or(0)))),
        (None, Some(at)) => Ok(Some(Expiry::At(UnixMillis(at)))),
        (Some(_), Some(_)) => Err(refused(Reason::TtlInvalid, "kv-ttl-ms or kv-expires-at-ms, not both")),
    }
}

fn conditions(raw: &Raw) -> Result<Conditions, DecodeError> {
    let absent = match text(raw, "kv-if-none-match")? {
        None => false,
        Some("*") => true,
        Some(_) => return Err(invalid("kv-if-none-match", "is * or not there")),
    };
    let (exists, version) = match text(raw, "kv-if-match")? {
        None => (false, None),
        Some("*") => (true, None),
        Some(etag) => {
            let quoted = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let version = quoted.unwrap_or(etag);
            if version.is_empty() || version.len() > CONDITION_BYTES_MAX {
                return Err(invalid("kv-if-match", "is * or a position"));
            }
            (false, Some(version.to_owned()))
        }
    };
    Ok(Conditions { exists, absent, version })
}

fn id(raw: &Raw) -> Result<Option<MutationId>, DecodeError> {
    let durable = match text(raw, "kv-durable")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(invalid("kv-durable", "is true or false")),
    };
    let Some(bytes) = raw.header("kv-id") else {
        return if durable { Err(invalid("kv-durable", "needs a kv-id")) } else { Ok(None) };
    };
    let bytes = match bytes.len() {
        16 => <[u8; 16]>::try_from(bytes.as_ref()).ok(),
        32 => from_hex(bytes),
        _ => None,
    };
    let bytes = bytes.ok_or_else(|| invalid("kv-id", "is 16 bytes or 32 hex digits"))?;
    Ok((bytes != [0; 16]).then_some(MutationId { bytes, durable }))
}

fn from_hex(text: &[u8]) -> Option<[u8; 16]> {
    if !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let number = u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()?;
    Some(number.to_be_bytes())
}
