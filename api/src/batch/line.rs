//! One operation of a batch: a JSON object to a checked mutation.
//!
//! Values are slices of the body, not copies, wherever JSON escapes nothing.
//! Invariant: a line that is refused says so with the code that the single call would have got.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millpond_schemas::{
    ByteString, CONTENT_TYPE_DEFAULT, Conditions, Expiry, JsonInvalid, KeyJoiner, Mutation, MutationId, Op,
    RecordKey, json,
    limits::{CONDITION_BYTES_MAX, CONTENT_TYPE_BYTES_MAX},
};
use serde::{Deserialize, Deserializer, de::Visitor};
use serde_json::{Value, value::RawValue};

use super::operations::Context;
use crate::{
    call, expiry,
    problem::{Code, Problem},
    ttl,
};

/// The members that a line may have; which of them depends on `op`. A member that is null is there, and wrong.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line<'a> {
    /// Echoed.
    #[serde(borrow, default, deserialize_with = "there")]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    op: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    key_b64: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    value_b64: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    content_type: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    ttl: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    expires_at: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    mode: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    by: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    initial: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    patch: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    if_version: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "there")]
    if_absent: Option<bool>,
    #[serde(borrow, default, deserialize_with = "text")]
    idempotency_key: Option<Cow<'a, str>>,
}

/// A null is no way to leave a member out: a condition or a TTL would be lost.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// As [`there`], of a string: borrowed where JSON escapes nothing. `Cow` by itself always copies.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    deserializer.deserialize_str(Text).map(Some)
}

struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The id of a line that is otherwise wrong, if it is JSON.
pub(crate) fn id_of(text: &[u8]) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, default, deserialize_with = "there")]
        id: Option<&'a RawValue>,
    }
    text.starts_with(b"{").then(|| serde_json::from_slice::<Named<'_>>(text).ok()?.id)?
}

impl<'a> Line<'a> {
    /// Reads the members of one object, without space around it.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Problem> {
        // An array of the members' values would do for the reader.
        if text.first() != Some(&b'{') {
            return Err(Problem::new(Code::BodyInvalid, NO_OBJECT));
        }
        serde_json::from_slice(text).map_err(|error| {
            let unknown = error.to_string().starts_with("unknown field");
            let (code, detail) = match (unknown, error.is_data()) {
                (true, _) => (Code::UnknownField, "a member of the operation is unknown"),
                (false, true) => (Code::BodyInvalid, "a member of the operation has the wrong type"),
                (false, false) => (Code::BodyInvalid, NO_OBJECT),
            };
            Problem::new(code, detail)
        })
    }

    /// The mutation that the line asks for. `number` counts from 1.
    pub(crate) fn mutation(
        &self,
        number: usize,
        context: &Context<'_>,
        keys: &mut KeyJoiner,
    ) -> Result<Mutation, Problem> {
        let key = self.key(context, keys)?;
        let op = self.op(context)?;
        let conditions = self.conditions()?;
        let id = self.id(&key, number, context)?;
        Ok(Mutation { key, id: Some(id), conditions, op })
    }

    fn key(&self, context: &Context<'_>, keys: &mut KeyJoiner) -> Result<RecordKey, Problem> {
        let invalid = |detail: &'static str| Problem::new(Code::KeyInvalid, detail);
        let key = match (self.key, &self.key_b64) {
            (Some(key), None) => string(key, context.body).ok_or_else(|| invalid("`key` is a string"))?,
            (None, Some(text)) => base64(text).ok_or_else(|| invalid("`key_b64` is base64"))?,
            _ => return Err(invalid("an operation has a `key` or a `key_b64`")),
        };
        keys.join(context.tenant, &key).map_err(|error| Problem::new(Code::KeyInvalid, error.to_string()))
    }

    fn op(&self, context: &Context<'_>) -> Result<Op, Problem> {
        let op =
            self.op.as_deref().ok_or_else(|| Problem::new(Code::BodyInvalid, "an operation has an `op`"))?;
        self.check_members(op)?;
        Ok(match op {
            "put" => Op::Put {
                value: self.value(context)?,
                content_type: self.content_type()?,
                expiry: self.expiry(context)?,
            },
            "delete" => Op::Delete,
            "ttl" => self.ttl(context)?,
            "increment" => Op::Increment {
                by: integer(self.by, "/by")?.unwrap_or(1),
                initial: integer(self.initial, "/initial")?.unwrap_or(0),
            },
            "append" => Op::Append { value: self.value(context)? },
            "merge-patch" => Op::MergePatch { patch: self.patch(context, json::check)? },
            "json-patch" => Op::JsonPatch { patch: self.patch(context, json::check_patch)? },
            _ => return Err(Problem::new(Code::BodyInvalid, OPS)),
        })
    }

    /// A member that the operation does not have is as unknown as any other.
    fn check_members(&self, op: &str) -> Result<(), Problem> {
        let (put, ttl) = (op == "put", op == "ttl");
        let members = [
            ("value", self.value.is_some(), put || op == "append"),
            ("value_b64", self.value_b64.is_some(), put || op == "append"),
            ("content_type", self.content_type.is_some(), put),
            ("ttl", self.ttl.is_some(), put || ttl),
            ("expires_at", self.expires_at.is_some(), put || ttl),
            ("mode", self.mode.is_some(), ttl),
            ("by", self.by.is_some(), op == "increment"),
            ("initial", self.initial.is_some(), op == "increment"),
            ("patch", self.patch.is_some(), op == "merge-patch" || op == "json-patch"),
        ];
        match members.into_iter().find(|(_, is_there, belongs)| *is_there && !belongs) {
            Some((name, ..)) => {
                Err(Problem::new(Code::UnknownField, format!("this operation has no `{name}`")))
            }
            None => Ok(()),
        }
    }

    fn value(&self, context: &Context<'_>) -> Result<Bytes, Problem> {
        let invalid = |detail: &'static str| Problem::new(Code::ValueNotText, detail);
        let value = match (self.value, &self.value_b64) {
            (Some(value), None) => string(value, context.body).ok_or_else(|| {
                invalid("`value` is a string, stored as its UTF-8 bytes; other bytes go in `value_b64`")
            })?,
            (None, Some(text)) => base64(text).ok_or_else(|| invalid("`value_b64` is base64"))?,
            _ => return Err(invalid("this operation has a `value` or a `value_b64`")),
        };
        context.within_limit(value.len())?;
        Ok(value)
    }

    fn content_type(&self) -> Result<ByteString, Problem> {
        let Some(text) = self.content_type.as_deref() else {
            return Ok(ByteString::from_static(CONTENT_TYPE_DEFAULT));
        };
        let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if text.is_empty() || text.len() > CONTENT_TYPE_BYTES_MAX || !printable {
            return Err(Problem::new(Code::ContentTypeInvalid, "1 to 255 bytes of printable ASCII"));
        }
        Ok(text.into())
    }

    fn expiry(&self, context: &Context<'_>) -> Result<Option<Expiry>, Problem> {
        let (ttl, expires_at) = (self.ttl.map(scalar), self.expires_at.map(scalar));
        expiry::of_members(ttl.as_ref(), expires_at.as_ref(), context.now)
    }

    fn ttl(&self, context: &Context<'_>) -> Result<Op, Problem> {
        ttl::of_mode(ttl::mode(self.mode.as_deref())?, self.expiry(context)?)
    }

    fn patch(
        &self,
        context: &Context<'_>,
        check: fn(&[u8]) -> Result<(), JsonInvalid>,
    ) -> Result<Bytes, Problem> {
        let patch =
            self.patch.ok_or_else(|| Problem::new(Code::BodyInvalid, "this operation has a `patch`"))?;
        context.within_limit(patch.get().len())?;
        check(patch.get().as_bytes()).map_err(|mut error| {
            error.pointer = format!("/patch{}", error.pointer);
            Problem::of_json(error)
        })?;
        Ok(slice(patch.get(), context.body))
    }

    fn conditions(&self) -> Result<Conditions, Problem> {
        let version = self.if_version.as_deref().map(str::to_owned);
        if version.as_ref().is_some_and(|version| version.is_empty() || version.len() > CONDITION_BYTES_MAX) {
            return Err(Problem::new(Code::ConditionInvalid, "`if_version` is a position"));
        }
        Ok(Conditions { exists: false, absent: self.if_absent.unwrap_or(false), version })
    }

    /// Of the line's own Idempotency-Key, else as the request has it.
    fn id(&self, key: &RecordKey, number: usize, context: &Context<'_>) -> Result<MutationId, Problem> {
        match self.idempotency_key.as_deref() {
            Some(own) if call::is_idempotency_key(own) => Ok(MutationId::of_idempotency_key(key, own)),
            Some(_) => Err(Problem::new(Code::IdempotencyKeyInvalid, "1 to 255 printable ASCII characters")),
            None => Ok(context.id(key, number)),
        }
    }
}

const NO_OBJECT: &str = "the operation is not a JSON object";
const OPS: &str = "`op` is put, delete, ttl, increment, append, merge-patch or json-patch";

/// An integer of 64 bits.
fn integer(raw: Option<&RawValue>, pointer: &str) -> Result<Option<i64>, Problem> {
    let read = |raw: &RawValue| {
        let wrong = |_| Problem::new(Code::ValueInvalid, "this is an integer of 64 bits").at(pointer);
        raw.get().parse().map_err(wrong)
    };
    raw.map(read).transpose()
}

/// A value, but for what an array or an object holds: read, that may take many times the memory of its text. What is
/// JSON and yet no value, such as a number beyond every float, is null.
fn scalar(raw: &RawValue) -> Value {
    match raw.get().as_bytes().first() {
        Some(b'[') => Value::Array(Vec::new()),
        Some(b'{') => Value::Object(serde_json::Map::new()),
        _ => serde_json::from_str(raw.get()).unwrap_or_default(),
    }
}

/// A JSON string's bytes, without a copy where it holds no escape.
fn string(raw: &RawValue, body: &Bytes) -> Option<Bytes> {
    let text = raw.get();
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    if !inside.contains('\\') {
        return Some(slice(inside, body));
    }
    serde_json::from_str::<String>(text).ok().map(Bytes::from)
}

/// The part of the body that `text` is.
fn slice(text: &str, body: &Bytes) -> Bytes {
    if text.is_empty() { Bytes::new() } else { body.slice_ref(text.as_bytes()) }
}

fn base64(text: &str) -> Option<Bytes> {
    STANDARD.decode(text).ok().map(Bytes::from)
}
