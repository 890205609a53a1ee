//! One operation of a batch, and how it is written: a line of NDJSON, or a length-delimited `millpond.v1.Record`.
//!
//! Not here: sending it. Invariant: what both forms can say means the same in both, and keys and values of any bytes
//! survive either.

mod ndjson;
mod protobuf;
mod rfc3339;

use std::time::Duration;

use bytes::Bytes;

use crate::{Position, TtlMode};

/// How operations travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-ndjson`: a JSON object a line.
    #[default]
    Ndjson,
    /// `application/x-protobuf`: the fast path, without escapes and base64.
    Protobuf,
}

impl Encoding {
    /// The media type of a body of such operations.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Protobuf => "application/x-protobuf",
        }
    }
}

/// One intended change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// 1..=1024 bytes of anything.
    pub key: Bytes,
    /// What to do.
    pub change: Change,
    /// What must hold; judged in log order.
    pub condition: Condition,
}

/// What to do with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Replaces value, content type and expiry.
    Put {
        /// Any bytes.
        value: Bytes,
        /// Stored and given back as it is.
        content_type: String,
        /// When it expires.
        expiry: Expiry,
    },
    /// Deletes it, whether or not it exists.
    Delete,
    /// Changes only its expiry.
    Ttl {
        /// To what. A line of NDJSON has no word for never: the server refuses it there.
        expiry: Expiry,
        /// How it meets the present one.
        mode: TtlMode,
    },
    /// Adds to a decimal 64-bit number.
    Increment {
        /// How much.
        by: i64,
        /// What an absent key counts as.
        initial: i64,
    },
    /// Appends bytes.
    Append {
        /// Which.
        value: Bytes,
    },
    /// RFC 7396: the JSON text of the patch.
    MergePatch(String),
    /// RFC 6902: the JSON text of the patch.
    JsonPatch(String),
}

/// When a key expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// So long after the log has it; whole milliseconds, 1 s to 10 years.
    After(Duration),
    /// At a moment, milliseconds since the Unix epoch.
    AtMillis(u64),
}

/// What must hold for an operation to have an effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// The key is at this version.
    Version(Position),
    /// The key does not exist.
    Absent,
}

impl Operation {
    /// Puts bytes under a key, without expiry and condition.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>, content_type: impl Into<String>) -> Self {
        let (value, content_type) = (value.into(), content_type.into());
        Self::plain(key, Change::Put { value, content_type, expiry: Expiry::Never })
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::plain(key, Change::Delete)
    }

    /// A change without a condition.
    pub fn plain(key: impl Into<Bytes>, change: Change) -> Self {
        Self { key: key.into(), change, condition: Condition::None }
    }

    /// Appends it to a body of operations. A body takes 10,000 of them, or 16 MiB.
    pub fn write(&self, encoding: Encoding, body: &mut Vec<u8>) {
        match encoding {
            Encoding::Ndjson => ndjson::write(self, body),
            Encoding::Protobuf => protobuf::write(self, body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind, with bytes that JSON cannot hold.
    pub(super) fn some() -> Vec<Operation> {
        let key = || Bytes::from_static(b"\xff\0");
        let put = |expiry| Change::Put { value: "é".into(), content_type: "text/plain".into(), expiry };
        let after = Expiry::After(Duration::from_millis(1500));
        vec![
            Operation { condition: Condition::Absent, ..Operation::plain(key(), put(after)) },
            Operation::put("a", Bytes::from_static(b"\xfe"), "x/y"),
            Operation {
                condition: Condition::Version(Position::new("1-3-42").unwrap()),
                ..Operation::delete("a")
            },
            Operation::plain("a", put(Expiry::AtMillis(1_767_225_600_123))),
            Operation::plain("a", Change::Ttl { expiry: after, mode: TtlMode::OnlyLonger }),
            Operation::plain("a", Change::Ttl { expiry: Expiry::Never, mode: TtlMode::Set }),
            Operation::plain("a", Change::Increment { by: -3, initial: 7 }),
            Operation::plain("a", Change::Append { value: Bytes::from_static(b"\n") }),
            Operation::plain("a", Change::MergePatch(r#"{"a":1}"#.into())),
            Operation::plain("a", Change::JsonPatch("[]".into())),
        ]
    }
}
