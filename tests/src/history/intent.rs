//! What a client wanted to write, so that the record that must lie on the log can be made of it again.
//!
//! Invariant: two intents that mean the same mutation are equal as mutations, whichever door they came through.

use bytes::Bytes;
use millpond_schemas::{
    self as schemas, KeyInvalid, Mutation, MutationId, Raw, RecordKey, Tenant, TtlMode, UnixMillis,
};
use serde::{Deserialize, Serialize};

use super::Text;

/// One intended change, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Who owns the key.
    pub tenant: String,
    /// Which key.
    pub key: Text,
    /// What to do.
    pub change: Change,
    /// `*`, or a position without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// Only where the key is absent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub if_absent: bool,
    /// As it was sent, and with `:<line>` where it was a batch's and not the line's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The id that a native producer chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
}

/// An id that its producer chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    /// 32 hexadecimal digits.
    pub hex: String,
    /// Whether it is remembered as an operation.
    pub durable: bool,
}

/// What to do with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Replaces everything.
    Put {
        /// Any bytes.
        value: Text,
        /// As it is stored.
        content_type: String,
        /// None: never expires.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expiry: Option<Expiry>,
    },
    /// Deletes it.
    Delete,
    /// Changes only the expiry.
    Ttl {
        /// `set`, `extend`, `only_longer`, `only_shorter`, `if_none`.
        mode: String,
        /// None: for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expiry: Option<Expiry>,
    },
    /// Adds.
    Increment {
        /// How much.
        by: i64,
        /// What an absent key counts as.
        initial: i64,
    },
    /// Appends bytes.
    Append {
        /// Which.
        value: Text,
    },
    /// RFC 7396.
    MergePatch {
        /// The body.
        patch: Text,
    },
    /// RFC 6902.
    JsonPatch {
        /// The body.
        patch: Text,
    },
    /// A native record that is no mutation, with this key as its record key, tenant and all, or without one where it is
    /// empty: it must become a dead letter.
    Poison {
        /// Names and values.
        headers: Vec<(String, Text)>,
        /// None: a Kafka tombstone.
        value: Option<Text>,
    },
}

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// So many ms after the record's time.
    TtlMs(u64),
    /// At this moment, Unix ms.
    AtMs(i64),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(is: &bool) -> bool {
    !is
}

impl Intent {
    /// Of a key of the tenant `default`, without conditions and ids.
    pub fn new(key: impl Into<Text>, change: Change) -> Self {
        let (tenant, key) = ("default".to_owned(), key.into());
        Self { tenant, key, change, if_match: None, if_absent: false, idempotency_key: None, id: None }
    }

    /// A put of the tenant `default` without a TTL, `application/octet-stream`.
    pub fn put(key: impl Into<Text>, value: impl Into<Text>) -> Self {
        let content_type = schemas::CONTENT_TYPE_DEFAULT.to_owned();
        Self::new(key, Change::Put { value: value.into(), content_type, expiry: None })
    }

    /// What a mutation wants. Its id is kept as a producer's own; put an Idempotency-Key in its place where the id came
    /// of one, and none where the api made a random one.
    pub fn of(mutation: &Mutation) -> Self {
        let if_any = mutation.conditions.exists.then(|| "*".to_owned());
        let id = |id: MutationId| Id { hex: hex(&id.bytes), durable: id.durable };
        Self {
            tenant: mutation.key.tenant().to_owned(),
            key: mutation.key.key().into(),
            change: Change::of(&mutation.op),
            if_match: mutation.conditions.version.clone().or(if_any),
            if_absent: mutation.conditions.absent,
            idempotency_key: None,
            id: mutation.id.map(id),
        }
    }

    /// The record key.
    ///
    /// # Errors
    /// The tenant or the key is none: the intent can only have been refused.
    pub fn record_key(&self) -> Result<RecordKey, KeyInvalid> {
        RecordKey::new(&Tenant::new(self.tenant.clone())?, &self.key.0)
    }

    /// The mutation. Its id is that of the Idempotency-Key or the producer's own; none where the api makes a random one.
    /// None: poison, or nothing that could be encoded.
    pub fn mutation(&self) -> Option<Mutation> {
        let key = self.record_key().ok()?;
        let idempotent = self.idempotency_key.as_ref().map(|text| MutationId::of_idempotency_key(&key, text));
        let conditions = schemas::Conditions {
            exists: self.if_match.as_deref() == Some("*"),
            absent: self.if_absent,
            version: self.if_match.clone().filter(|version| version != "*"),
        };
        let op = self.change.op()?;
        Some(Mutation { id: idempotent.or_else(|| self.id.as_ref()?.mutation_id()), key, conditions, op })
    }

    /// The bytes of poison.
    pub fn poison(&self) -> Option<Raw> {
        let Change::Poison { headers, value } = &self.change else { return None };
        Some(Raw {
            key: (!self.key.0.is_empty()).then(|| self.key.0.clone()),
            headers: headers.iter().map(|(name, value)| (name.clone().into(), value.0.clone())).collect(),
            value: value.as_ref().map(|value| value.0.clone()),
        })
    }
}

impl Id {
    fn mutation_id(&self) -> Option<MutationId> {
        let number = u128::from_str_radix(&self.hex, 16).ok().filter(|number| *number != 0)?;
        Some(MutationId { bytes: number.to_be_bytes(), durable: self.durable })
    }
}

impl Change {
    fn of(op: &schemas::Op) -> Self {
        use schemas::Op;
        let text = |bytes: &Bytes| Text(bytes.clone());
        match op {
            Op::Put { value, content_type, expiry } => Self::Put {
                value: text(value),
                content_type: content_type.to_string(),
                expiry: expiry.map(Expiry::of),
            },
            Op::Delete => Self::Delete,
            Op::Ttl { mode, expiry } => {
                Self::Ttl { mode: mode_name(*mode).to_owned(), expiry: expiry.map(Expiry::of) }
            }
            Op::Increment { by, initial } => Self::Increment { by: *by, initial: *initial },
            Op::Append { value } => Self::Append { value: text(value) },
            Op::MergePatch { patch } => Self::MergePatch { patch: text(patch) },
            Op::JsonPatch { patch } => Self::JsonPatch { patch: text(patch) },
        }
    }

    fn op(&self) -> Option<schemas::Op> {
        use schemas::Op;
        Some(match self {
            Self::Put { value, content_type, expiry } => Op::Put {
                value: value.0.clone(),
                content_type: content_type.clone().into(),
                expiry: expiry.map(Expiry::expiry),
            },
            Self::Delete => Op::Delete,
            Self::Ttl { mode, expiry } => {
                Op::Ttl { mode: mode_of(mode)?, expiry: expiry.map(Expiry::expiry) }
            }
            Self::Increment { by, initial } => Op::Increment { by: *by, initial: *initial },
            Self::Append { value } => Op::Append { value: value.0.clone() },
            Self::MergePatch { patch } => Op::MergePatch { patch: patch.0.clone() },
            Self::JsonPatch { patch } => Op::JsonPatch { patch: patch.0.clone() },
            Self::Poison { .. } => return None,
        })
    }
}

impl Expiry {
    fn of(expiry: schemas::Expiry) -> Self {
        match expiry {
            schemas::Expiry::TtlMs(ms) => Self::TtlMs(ms),
            schemas::Expiry::At(at) => Self::AtMs(at.0),
        }
    }

    fn expiry(self) -> schemas::Expiry {
        match self {
            Self::TtlMs(ms) => schemas::Expiry::TtlMs(ms),
            Self::AtMs(ms) => schemas::Expiry::At(UnixMillis(ms)),
        }
    }
}

const MODES: [(TtlMode, &str); 5] = [
    (TtlMode::Set, "set"),
    (TtlMode::Extend, "extend"),
    (TtlMode::OnlyLonger, "only_longer"),
    (TtlMode::OnlyShorter, "only_shorter"),
    (TtlMode::IfNone, "if_none"),
];

fn mode_name(mode: TtlMode) -> &'static str {
    MODES.iter().find(|(one, _)| *one == mode).expect("every mode is listed").1
}

fn mode_of(name: &str) -> Option<TtlMode> {
    MODES.iter().find(|(_, one)| *one == name).map(|(mode, _)| *mode)
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
