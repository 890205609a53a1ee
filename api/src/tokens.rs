//! Bearer tokens: what a server knows of them, which is never a token itself.
//!
//! Not here: files, headers. Invariant: a token is known by its SHA-256 alone, and is found by it in a time that says
//! nothing about any other token.

use std::{
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use millpond_schemas::{Tenant, UnixMillis};
use sha2::{Digest as _, Sha256};

/// How a hash is written: this and 64 hexadecimal digits.
const HASH_PREFIX: &str = "sha256:";
const HASH_BYTES: usize = 32;

/// The SHA-256 of a token.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; HASH_BYTES]);

/// One thing that a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Calls that change nothing.
    Read,
    /// Calls that put something on the log.
    Write,
    /// `/admin` on the ops listener.
    Admin,
}

/// Whose keys a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// Everybody's. A call that names nobody means `default`.
    Any,
    /// These; a call that names nobody means the first. Empty: no keys at all.
    These(Vec<Tenant>),
}

/// What is known of a token.
pub struct Token {
    /// Its hash.
    pub hash: TokenHash,
    /// Whose keys it is for.
    pub tenants: Tenants,
    /// What it allows; nothing implies anything else.
    pub scopes: Vec<Scope>,
    /// What logs call it.
    pub name: Option<String>,
    /// From then on it is no token any more.
    pub expires_at: Option<UnixMillis>,
}

/// Every token that is known.
#[derive(Default)]
pub struct Tokens(HashMap<TokenHash, Arc<Token>>);

impl TokenHash {
    /// Of a token's bytes.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(HASH_PREFIX)?.as_bytes();
        if digits.len() != 2 * HASH_BYTES {
            return None;
        }
        let mut hash = [0; HASH_BYTES];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }
}

/// In a time that does not depend on the bytes.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |differing, (a, b)| differing | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl Eq for TokenHash {}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// `sha256:…`, as a file holds it.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HASH_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Scope {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Reads it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }
}

impl Token {
    /// Whether it allows this.
    pub(crate) fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it is none any more.
    pub(crate) fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What logs call it.
    pub(crate) fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("unnamed")
    }
}

impl Tokens {
    /// All of these.
    ///
    /// # Errors
    /// A hash that came twice.
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Result<Self, TokenHash> {
        let mut known = HashMap::new();
        for token in tokens {
            let hash = token.hash;
            if known.insert(hash, Arc::new(token)).is_some() {
                return Err(hash);
            }
        }
        Ok(Self(known))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.values().map(AsRef::as_ref)
    }

    /// The one with this hash.
    pub(crate) fn find(&self, hash: TokenHash) -> Option<Arc<Token>> {
        // The table's own hash is keyed at random, so where it looks tells nothing either.
        self.0.get(&hash).cloned()
    }
}

/// Tells how many, and nothing of them.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_every_other_tool_and_reads_back() {
        let hash = TokenHash::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert!(TokenHash::parse(text) == Some(hash));
        assert!(TokenHash::parse(&text.to_uppercase().replace("SHA", "sha")) == Some(hash));
        for bad in ["", "sha256:", "sha256:00", &text[7..], &text.replace('b', "g"), &format!("{text}0")] {
            assert!(TokenHash::parse(bad).is_none(), "{bad}");
        }
        assert!(hash != TokenHash::of(b"abd"));
    }

    #[test]
    fn hashes_that_differ_in_one_bit_differ() {
        let hash = TokenHash::of(b"abc");
        for bit in 0..8 * HASH_BYTES {
            let mut other = hash;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert!(hash != other, "bit {bit}");
        }
    }

    #[test]
    fn a_token_comes_once() {
        let token = || Token {
            hash: TokenHash::of(b"abc"),
            tenants: Tenants::Any,
            scopes: vec![Scope::Read],
            name: None,
            expires_at: Some(UnixMillis(10)),
        };
        assert!(Tokens::new([token(), token()]).is_err());
        let tokens = Tokens::new([token()]).unwrap_or_default();
        let found = tokens.find(TokenHash::of(b"abc")).unwrap();
        assert!(found.allows(Scope::Read) && !found.allows(Scope::Write));
        assert!(!found.is_expired(UnixMillis(9)) && found.is_expired(UnixMillis(10)));
        assert!(tokens.find(TokenHash::of(b"")).is_none());
        assert_eq!(format!("{tokens:?}"), "1 tokens");
    }
}
