//! One key of a query's answer, and what is known of a key beside its value.
//!
//! Invariant: key and value are the stored bytes, in whichever form they came.

use bytes::Bytes;
use serde::Deserialize;

use crate::{Error, Position, opaque};

/// A key that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Bytes,
    /// Its value, where values were asked for.
    pub value: Option<Bytes>,
    /// Its version.
    pub version: Position,
    /// What else is known of it, where that was asked for.
    pub meta: Option<Meta>,
}

/// What is known of a key beside its value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Meta {
    /// Bytes of the value.
    pub size: u64,
    /// As it was put.
    pub content_type: String,
    /// Its version.
    pub version: Position,
    /// When the key came to be, RFC 3339.
    pub created_at: String,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
    /// When it expires, RFC 3339; `None`: never.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Its partition.
    #[serde(default)]
    pub partition: Option<u32>,
    /// The shard that holds it.
    #[serde(default)]
    pub shard: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ItemBody {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    version: Position,
    // The rest is only there when it was asked for.
    size: Option<u64>,
    content_type: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    expires_at: Option<String>,
    partition: Option<u32>,
    shard: Option<String>,
}

impl ItemBody {
    pub(super) fn read(mut self) -> Result<Item, Error> {
        let key = opaque::either(self.key.take(), self.key_b64.as_deref())?;
        let key = key.ok_or_else(|| Error::Protocol("an item without a key".into()))?;
        let value = opaque::either(self.value.take(), self.value_b64.as_deref())?;
        Ok(Item { key, value, version: self.version.clone(), meta: self.meta() })
    }

    fn meta(self) -> Option<Meta> {
        Some(Meta {
            size: self.size?,
            content_type: self.content_type?,
            version: self.version,
            created_at: self.created_at?,
            updated_at: self.updated_at?,
            expires_at: self.expires_at,
            partition: self.partition,
            shard: self.shard,
        })
    }
}
