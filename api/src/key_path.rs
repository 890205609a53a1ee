//! Keys out of raw paths: decoded exactly once, to bytes, and never normalised.
//!
//! Invariant: `a%2Fb`, `..`, `%2e%2e`, `%252e`, NUL, `//` and bytes that are no UTF-8 are all just keys.

use std::borrow::Cow;

use millpond_schemas::{RecordKey, Tenant};

use crate::problem::{Code, Problem};

/// Decodes `%XX` once; `+` is a plus. None when an escape is broken.
pub(crate) fn decode(raw: &str) -> Option<Cow<'_, [u8]>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw.as_bytes()));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let ([high, low], after) = rest.split_first_chunk()?;
        bytes.push(hex(*high)? << 4 | hex(*low)?);
        rest = after;
    }
    Some(Cow::Owned(bytes))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The key that a raw path names behind `root`, such as `/kv/`.
pub(crate) fn key_of(path: &str, root: &str, tenant: &Tenant) -> Result<RecordKey, Problem> {
    let raw = path.strip_prefix(root).unwrap_or_default();
    let bytes = decode(raw)
        .ok_or_else(|| Problem::new(Code::KeyInvalid, "the path has a % without two hex digits behind it"))?;
    RecordKey::new(tenant, &bytes).map_err(|error| Problem::new(Code::KeyInvalid, error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(path: &str) -> Result<Vec<u8>, Code> {
        let tenant = Tenant::new("default").unwrap();
        key_of(path, "/kv/", &tenant).map(|key| key.key_bytes().to_vec()).map_err(|problem| problem.code())
    }

    #[test]
    fn keys_are_opaque_bytes_after_one_decode() {
        for (path, expected) in [
            ("/kv/a", &b"a"[..]),
            ("/kv/a/b", b"a/b"),
            ("/kv/a%2Fb", b"a/b"),
            ("/kv/a%2fb", b"a/b"),
            ("/kv/..", b".."),
            ("/kv/%2e%2e%2f", b"../"),
            ("/kv/%252e", b"%2e"),
            ("/kv/%00", b"\0"),
            ("/kv/%ff%fe", b"\xff\xfe"),
            ("/kv//", b"/"),
            ("/kv//kv/", b"/kv/"),
            ("/kv/a+b", b"a+b"),
            ("/kv/query", b"query"),
            ("/kv/\u{e9}", "\u{e9}".as_bytes()),
        ] {
            assert_eq!(key(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn empty_long_and_broken_keys_are_refused() {
        for path in ["/kv/", "/kv/%", "/kv/a%2", "/kv/%zz", "/kv/%+1"] {
            assert_eq!(key(path), Err(Code::KeyInvalid), "{path}");
        }
        assert!(key(&format!("/kv/{}", "%61".repeat(1024))).is_ok());
        assert_eq!(key(&format!("/kv/{}", "a".repeat(1025))), Err(Code::KeyInvalid));
    }

    proptest! {
        #[test]
        fn escaping_every_byte_names_the_same_key(bytes in prop::collection::vec(any::<u8>(), 1..64)) {
            let path = bytes.iter().fold("/kv/".to_owned(), |path, byte| format!("{path}%{byte:02x}"));
            prop_assert_eq!(key(&path), Ok(bytes));
        }

        #[test]
        fn any_path_is_decoded_or_refused_without_a_panic(path in ".*") {
            let _ = decode(&path);
        }
    }
}
