//! A query's members, from a JSON body or from query parameters.
//!
//! Not here: what they mean together (`ask.rs`). Invariant: a member that nobody reads is refused, and a body is never
//! turned into more memory than a small multiple of it.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millpond_schemas::limits::{KEY_BYTES_MAX, PAGE_ROWS_MAX};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    problem::{Code, Problem},
    query::Query,
};

/// Most keys of one query.
pub(super) const KEYS_MAX: usize = 1000;
/// The members, which are also the parameters of `GET /kv`.
pub(super) const NAMES: &[&str] = &[
    "keys",
    "prefix",
    "prefix_b64",
    "start",
    "start_b64",
    "end",
    "end_b64",
    "limit",
    "cursor",
    "reverse",
    "include",
    "consistency",
];
const TOO_MANY: &str = "too many keys";
const NO_OBJECT: &str = "the query is not a JSON object";

/// What a query may say. None: it does not. A member that is null is there, and wrong, but for the cursor: the last
/// page's is null.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "there")]
    keys: Option<Entries<'a>>,
    #[serde(borrow, default, deserialize_with = "there")]
    prefix: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    prefix_b64: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    start: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    start_b64: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    end: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "there")]
    end_b64: Option<Cow<'a, str>>,
    /// As it is written.
    #[serde(borrow, default, deserialize_with = "as_written")]
    limit: Option<&'a str>,
    #[serde(borrow, default)]
    pub(super) cursor: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "there")]
    pub(super) reverse: Option<bool>,
    #[serde(borrow, default, deserialize_with = "there")]
    pub(super) include: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default, deserialize_with = "there")]
    pub(super) consistency: Option<Cow<'a, str>>,
}

fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn as_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de str>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|raw| Some(raw.get()))
}

/// The entries of `keys`, not looked into yet.
#[derive(Debug)]
struct Entries<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counted;
        impl<'de> Visitor<'de> for Counted {
            type Value = Vec<&'de RawValue>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of keys")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = array.next_element()? {
                    if entries.len() == KEYS_MAX {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_seq(Counted).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded<'a> {
    #[serde(borrow)]
    key_b64: Cow<'a, str>,
}

impl<'a> Members<'a> {
    /// Of a body.
    ///
    /// # Errors
    /// `body-invalid`, `unknown-field`, `too-many-keys`.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Problem> {
        // Serde would take an array, too, as the members in their order.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(invalid(NO_OBJECT));
        }
        serde_json::from_slice(text).map_err(|error| of_json(&error))
    }

    /// Of query parameters: `keys` is a JSON array as in a body, `include` a list with commas.
    pub(super) fn of_parameters(query: &'a Query) -> Result<Self, Problem> {
        let text = |name| query.get(name).map(Cow::Borrowed);
        let keys = query.get("keys").map(serde_json::from_str).transpose();
        let reverse = query.get("reverse").map(str::parse).transpose();
        Ok(Self {
            keys: keys.map_err(|error| of_json(&error))?,
            prefix: text("prefix"),
            prefix_b64: text("prefix_b64"),
            start: text("start"),
            start_b64: text("start_b64"),
            end: text("end"),
            end_b64: text("end_b64"),
            limit: query.get("limit"),
            cursor: text("cursor"),
            reverse: reverse.map_err(|_| invalid("`reverse` is true or false"))?,
            include: query
                .get("include")
                .map(|list| list.split(',').filter(|word| !word.is_empty()).map(Cow::Borrowed).collect()),
            consistency: text("consistency"),
        })
    }

    /// The rows that are asked for, at most [`PAGE_ROWS_MAX`].
    ///
    /// # Errors
    /// `limit-invalid`: it is 0, or no whole number.
    pub(super) fn limit(&self) -> Result<Option<usize>, Problem> {
        let Some(text) = self.limit else { return Ok(None) };
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number || text.bytes().all(|b| b == b'0') {
            return Err(Problem::new(Code::LimitInvalid, "`limit` is a whole number from 1 on"));
        }
        // What does not fit is more than there may be, too.
        Ok(Some(text.parse().unwrap_or(usize::MAX).min(PAGE_ROWS_MAX)))
    }

    /// The keys, in their order.
    ///
    /// # Errors
    /// `key-invalid`, with which one.
    pub(super) fn keys(&self) -> Result<Option<Vec<Bytes>>, Problem> {
        let Some(Entries(entries)) = &self.keys else { return Ok(None) };
        let key = |(index, entry): (usize, &&RawValue)| {
            let wrong = || {
                let detail =
                    format!("keys[{index}] is a string or {{\"key_b64\":…}} of 1 to {KEY_BYTES_MAX} bytes");
                Problem::new(Code::KeyInvalid, detail)
            };
            let key = key_of(entry.get()).ok_or_else(wrong)?;
            if (1..=KEY_BYTES_MAX).contains(&key.len()) { Ok(key) } else { Err(wrong()) }
        };
        entries.iter().enumerate().map(key).collect::<Result<_, _>>().map(Some)
    }

    /// `prefix` or `prefix_b64`.
    pub(super) fn prefix(&self) -> Result<Option<Bytes>, Problem> {
        bound(self.prefix.as_deref(), self.prefix_b64.as_deref(), "prefix")
    }

    /// `start` or `start_b64`.
    pub(super) fn start(&self) -> Result<Option<Bytes>, Problem> {
        bound(self.start.as_deref(), self.start_b64.as_deref(), "start")
    }

    /// `end` or `end_b64`.
    pub(super) fn end(&self) -> Result<Option<Bytes>, Problem> {
        bound(self.end.as_deref(), self.end_b64.as_deref(), "end")
    }
}

fn key_of(entry: &str) -> Option<Bytes> {
    if entry.starts_with('"') {
        return serde_json::from_str::<String>(entry).ok().map(Bytes::from);
    }
    let encoded: Encoded<'_> = serde_json::from_str(entry).ok()?;
    STANDARD.decode(encoded.key_b64.as_ref()).ok().map(Bytes::from)
}

/// One byte more than a key, so that what follows the longest key can be named.
fn bound(text: Option<&str>, b64: Option<&str>, name: &'static str) -> Result<Option<Bytes>, Problem> {
    let bytes = match (text, b64) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(invalid(format!("{name} or {name}_b64, not both"))),
        (Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
        (None, Some(b64)) => STANDARD
            .decode(b64)
            .map(Bytes::from)
            .map_err(|_| invalid(format!("{name}_b64 is standard base64 with padding")))?,
    };
    if bytes.len() > KEY_BYTES_MAX + 1 {
        let detail = format!("{name} has at most {} bytes", KEY_BYTES_MAX + 1);
        return Err(Problem::new(Code::KeyInvalid, detail));
    }
    Ok(Some(bytes))
}

pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Code::BodyInvalid, detail)
}

fn of_json(error: &serde_json::Error) -> Problem {
    let told = error.to_string();
    if told.starts_with(TOO_MANY) {
        return Problem::new(Code::TooManyKeys, "").limit(KEYS_MAX);
    }
    if told.starts_with("unknown field") {
        return Problem::new(Code::UnknownField, format!("the members of a query are {}", NAMES.join(", ")));
    }
    invalid(if error.is_data() {
        "a member of the query is there twice, or has the wrong type"
    } else {
        NO_OBJECT
    })
}
