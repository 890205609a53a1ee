//! Queries: which keys, and pages of what was found, in bytewise key order.
//!
//! Not a snapshot: each page is the state of each partition at one offset, the next page a later one. A key that nobody
//! touches comes exactly once and exactly as it is. Invariant: a page that is not complete says so; it never looks whole.

mod item;
mod stream;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Consistency, Error, Position, opaque, transport::Reply};

pub use item::{Item, Meta};
pub use stream::Items;

/// Most rows of a page.
pub const PAGE_ROWS_MAX: u32 = 1000;

/// What to look for, and how.
#[derive(Clone, Debug)]
pub struct Query {
    /// Which keys.
    pub select: Select,
    /// Most items of a page, 1..=1000; `None`: the server's default, and for a stream all there are.
    pub limit: Option<u32>,
    /// From the highest key down.
    pub reverse: bool,
    /// Whether items carry their values.
    pub values: bool,
    /// Whether items carry content type, size and times.
    pub meta: bool,
    /// `None`: session when `min_position` says something, else the server's default.
    pub consistency: Option<Consistency>,
    /// Positions that the answer must cover.
    pub min_position: Vec<Position>,
}

/// Which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// These; at most 1,000.
    Keys(Vec<Bytes>),
    /// Those that begin with it; empty: all.
    Prefix(Bytes),
    /// Those in a range.
    Range {
        /// Lowest, inclusive; `None`: from the first.
        start: Option<Bytes>,
        /// Highest, exclusive; `None`: to the last.
        end: Option<Bytes>,
    },
}

impl Query {
    /// Values of these keys, with the defaults of everything else.
    pub fn new(select: Select) -> Self {
        Self {
            select,
            limit: None,
            reverse: false,
            values: true,
            meta: false,
            consistency: None,
            min_position: Vec::new(),
        }
    }

    /// The request's body. `cursor` goes on where a page ended.
    pub(crate) fn body(&self, cursor: Option<&str>) -> Bytes {
        let mut body = Map::new();
        match &self.select {
            Select::Keys(keys) => drop(body.insert("keys".to_owned(), keys.iter().map(key).collect())),
            Select::Prefix(prefix) => opaque::insert(&mut body, "prefix", prefix),
            Select::Range { start, end } => {
                opaque::insert(&mut body, "start", start.as_deref().unwrap_or_default());
                if let Some(end) = end {
                    opaque::insert(&mut body, "end", end);
                }
            }
        }
        if let Some(limit) = self.limit {
            body.insert("limit".to_owned(), limit.into());
        }
        if self.reverse {
            body.insert("reverse".to_owned(), true.into());
        }
        let include = [("value", self.values), ("meta", self.meta)];
        let include: Value =
            include.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect();
        body.insert("include".to_owned(), include);
        if let Some(cursor) = cursor {
            body.insert("cursor".to_owned(), cursor.into());
        }
        Value::Object(body).to_string().into()
    }
}

fn key(key: &Bytes) -> Value {
    match std::str::from_utf8(key) {
        Ok(text) => text.into(),
        Err(_) => {
            let mut object = Map::new();
            opaque::insert(&mut object, "key", key);
            Value::Object(object)
        }
    }
}

/// What a query found, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In key order, each key once.
    pub items: Vec<Item>,
    /// Keys that were asked for by name and are not there.
    pub missing: Vec<Bytes>,
    /// Goes on after this page, or, when it is not complete, asks for this page again; `None`: this was the last.
    pub next_cursor: Option<String>,
    /// Whether every shard answered. If not, its items are some of the page's and may leave out any.
    pub complete: bool,
    /// Names of the shards that did not answer.
    pub unreachable: Vec<String>,
    /// The state that was read: one position a partition; together a token to read from.
    pub positions: Vec<Position>,
}

/// A page, or the last line of a stream, which has no items.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    items: Vec<item::ItemBody>,
    complete: bool,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    missing: Vec<MissingBody>,
    #[serde(default)]
    shards: Vec<ShardBody>,
    #[serde(default)]
    positions: Vec<Position>,
}

#[derive(Debug, Deserialize)]
struct ShardBody {
    name: String,
    status: String,
}

/// A key in either form.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum MissingBody {
    Text(String),
    Base64 { key_b64: String },
}

impl ShardBody {
    fn unless_answered(self) -> Option<String> {
        (self.status != "answered").then_some(self.name)
    }
}

impl MissingBody {
    fn read(self) -> Result<Bytes, Error> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Base64 { key_b64 } => {
                Ok(opaque::either(None, Some(&key_b64))?.expect("one of the two was given"))
            }
        }
    }
}

impl Page {
    pub(crate) fn read(reply: &Reply) -> Result<Self, Error> {
        crate::answer::json::<Body>(reply)?.page()
    }
}

impl Body {
    fn page(self) -> Result<Page, Error> {
        Ok(Page {
            items: self.items.into_iter().map(item::ItemBody::read).collect::<Result<_, _>>()?,
            missing: self.missing.into_iter().map(MissingBody::read).collect::<Result<_, _>>()?,
            next_cursor: self.next_cursor,
            unreachable: self.shards.into_iter().filter_map(ShardBody::unless_answered).collect(),
            complete: self.complete,
            positions: self.positions,
        })
    }
}

#[cfg(test)]
mod tests;
