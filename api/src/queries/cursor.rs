//! A cursor: the whole query, where it has come to, and what it was read at, sealed with a MAC.
//!
//! Bytes: 16 of the MAC, then version, flags, consistency, tenant, what is asked, the last key answered, positions;
//! in base64url. Lengths come first, integers are big-endian. Invariant: a cursor that opens was made by an api of
//! this deployment, for this tenant.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf, BufMut, Bytes};
use hmac::{Hmac, KeyInit, Mac};
use millpond_schemas::{Generation, Offset, PartitionId, Position, Tenant};
use sha2::Sha256;

use super::ask::{Ask, Include, What};
use crate::{
    consistency::Consistency,
    problem::{Code, Problem},
};

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;
// Bits of the flags.
const REVERSE: u8 = 1;
const VALUE: u8 = 2;
const META: u8 = 4;
const KEYS: u8 = 8;
const END: u8 = 16;
const AFTER: u8 = 32;

/// What seals cursors: the same in every api of a deployment, and after a restart.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

impl CursorKey {
    /// Derived from a secret of the deployment.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(payload);
        mac
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey")
    }
}

/// How fresh a query was asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Eventual,
    Session,
    Strong,
}

impl Word {
    const ALL: [Self; 3] = [Self::Eventual, Self::Session, Self::Strong];

    pub(super) fn of(consistency: &Consistency) -> Self {
        match consistency {
            Consistency::Eventual => Self::Eventual,
            Consistency::Session(_) => Self::Session,
            Consistency::Strong(_) => Self::Strong,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Eventual => "eventual",
            Self::Session => "session",
            Self::Strong => "strong",
        }
    }
}

/// Where a query has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) ask: Ask,
    pub(super) word: Word,
    /// The last key that was answered; none: nothing was.
    pub(super) after: Option<Bytes>,
    /// What was read so far was read at these, where some node may not have come so far.
    pub(super) seen: Vec<Position>,
}

impl Cursor {
    /// As a client gets it.
    pub(super) fn seal(&self, key: &CursorKey, tenant: &Tenant) -> String {
        let payload = self.encode(tenant);
        let mac = key.mac(&payload).finalize().into_bytes();
        let mut sealed = mac[..MAC_BYTES].to_vec();
        sealed.extend(payload);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// From what a client sent.
    ///
    /// # Errors
    /// `cursor-invalid`: it was not made here, or for another tenant.
    pub(super) fn open(text: &str, key: &CursorKey, tenant: &Tenant) -> Result<Self, Problem> {
        let invalid =
            || Problem::new(Code::CursorInvalid, "the cursor was not made here, or not for this tenant");
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let (mac, payload) = sealed.split_at_checked(MAC_BYTES).ok_or_else(invalid)?;
        key.mac(payload).verify_truncated_left(mac).map_err(|_| invalid())?;
        decode(Bytes::copy_from_slice(payload), tenant).ok_or_else(invalid)
    }

    fn encode(&self, tenant: &Tenant) -> Vec<u8> {
        let mut out = Vec::new();
        let Ask { what, reverse, include } = &self.ask;
        let end = match what {
            What::Keys(_) => None,
            What::Range { end, .. } => end.as_ref(),
        };
        let set = [
            (*reverse, REVERSE),
            (include.value, VALUE),
            (include.meta, META),
            (matches!(what, What::Keys(_)), KEYS),
            (end.is_some(), END),
            (self.after.is_some(), AFTER),
        ];
        out.put_u8(VERSION);
        out.put_u8(set.iter().filter(|(is, _)| *is).map(|(_, flag)| flag).sum());
        out.put_u8(self.word as u8);
        put(&mut out, tenant.as_str().as_bytes());
        match what {
            What::Keys(keys) => {
                out.put_u16(length(keys.len()));
                for key in keys {
                    put(&mut out, key);
                }
            }
            What::Range { start, .. } => put(&mut out, start),
        }
        for bytes in [end, self.after.as_ref()].into_iter().flatten() {
            put(&mut out, bytes);
        }
        out.put_u16(length(self.seen.len()));
        for position in &self.seen {
            out.put_u16(position.generation.0);
            out.put_u32(position.partition.0);
            out.put_i64(position.offset.0);
        }
        out
    }
}

fn decode(mut from: Bytes, tenant: &Tenant) -> Option<Cursor> {
    let from = &mut from;
    if from.try_get_u8().ok()? != VERSION {
        return None;
    }
    let flags = from.try_get_u8().ok()?;
    let has = |flag: u8| flags & flag != 0;
    let word = *Word::ALL.get(usize::from(from.try_get_u8().ok()?))?;
    if take(from)? != tenant.as_str() {
        return None;
    }
    let what = if has(KEYS) {
        let keys = from.try_get_u16().ok()?;
        What::Keys((0..keys).map(|_| take(from)).collect::<Option<_>>()?)
    } else {
        let start = take(from)?;
        What::Range { start, end: if has(END) { Some(take(from)?) } else { None } }
    };
    let after = if has(AFTER) { Some(take(from)?) } else { None };
    let positions = from.try_get_u16().ok()?;
    let seen = (0..positions).map(|_| position(from)).collect::<Option<_>>()?;
    let include = Include { value: has(VALUE), meta: has(META) };
    let cursor = Cursor { ask: Ask { what, reverse: has(REVERSE), include }, word, after, seen };
    from.is_empty().then_some(cursor)
}

fn position(from: &mut Bytes) -> Option<Position> {
    Some(Position {
        generation: Generation(from.try_get_u16().ok()?),
        partition: PartitionId(from.try_get_u32().ok()?),
        offset: Offset(from.try_get_i64().ok()?),
    })
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u16(length(bytes.len()));
    out.put_slice(bytes);
}

fn take(from: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(from.try_get_u16().ok()?);
    (length <= from.len()).then(|| from.split_to(length))
}

fn length(length: usize) -> u16 {
    u16::try_from(length).expect("keys, their number and that of partitions are limited")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(name: &'static str) -> Tenant {
        Tenant::new(name).unwrap()
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    fn what() -> impl Strategy<Value = What> {
        prop_oneof![
            prop::collection::vec(bytes(), 0..5).prop_map(What::Keys),
            (bytes(), prop::option::of(bytes())).prop_map(|(start, end)| What::Range { start, end }),
        ]
    }

    prop_compose! {
        fn cursor()(
            what in what(),
            [reverse, value, meta] in any::<[bool; 3]>(),
            word in prop::sample::select(&Word::ALL[..]),
            after in prop::option::of(bytes()),
            seen in prop::collection::vec((1u16..9, 0u32..4096, -1i64..1 << 47), 0..9),
        ) -> Cursor {
            let position = |(generation, partition, offset)| Position {
                generation: Generation(generation),
                partition: PartitionId(partition),
                offset: Offset(offset),
            };
            let ask = Ask { what, reverse, include: Include { value, meta } };
            Cursor { ask, word, after, seen: seen.into_iter().map(position).collect() }
        }
    }

    proptest! {
        #[test]
        fn a_cursor_opens_as_it_was_sealed_with_its_key_and_for_its_tenant_alone(cursor in cursor()) {
            let key = CursorKey::new([7; 32]);
            let sealed = cursor.seal(&key, &tenant("a"));
            prop_assert_eq!(Cursor::open(&sealed, &key, &tenant("a")).unwrap(), cursor);
            for (key, of) in [(&key, "b"), (&CursorKey::new([8; 32]), "a")] {
                let refused = Cursor::open(&sealed, key, &tenant(of)).unwrap_err();
                prop_assert_eq!(refused.code(), Code::CursorInvalid);
            }
        }

        #[test]
        fn a_cursor_that_was_touched_does_not_open(
            cursor in cursor(),
            at in any::<prop::sample::Index>(),
            bit in 0u8..6,
        ) {
            let key = CursorKey::new([7; 32]);
            let mut raw = URL_SAFE_NO_PAD.decode(cursor.seal(&key, &tenant("a"))).unwrap();
            let at = at.index(raw.len());
            raw[at] ^= 1 << bit;
            let refused = Cursor::open(&URL_SAFE_NO_PAD.encode(&raw), &key, &tenant("a")).unwrap_err();
            prop_assert_eq!(refused.code(), Code::CursorInvalid);
            raw.truncate(at);
            prop_assert!(Cursor::open(&URL_SAFE_NO_PAD.encode(&raw), &key, &tenant("a")).is_err());
        }

        #[test]
        fn foreign_text_is_refused_without_a_panic(text in ".{0,80}", raw in bytes()) {
            let key = CursorKey::new([7; 32]);
            prop_assert!(Cursor::open(&text, &key, &tenant("a")).is_err());
            let _ = decode(raw, &tenant("a"));
        }
    }
}
