//! A key's place in a URL.
//!
//! Invariant: the server's one percent-decode gives the key back, byte for byte, and no proxy finds a `.`, `..` or
//! `//` to tidy up.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::Error;

/// What stays as it is: RFC 3986's unreserved characters and the slash.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.').remove(b'/');
/// The same, with dots and slashes escaped.
const STRICT: &AsciiSet = &PLAIN.add(b'.').add(b'/');

/// Longest key that any server takes, bytes.
const KEY_BYTES_MAX: usize = 1024;

/// `<root><escaped key>`, such as `/kv/a/b`.
///
/// # Errors
/// [`Error::Invalid`]: the key is empty or longer than 1,024 bytes.
pub(crate) fn of_key(root: &str, key: &[u8]) -> Result<String, Error> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Error::invalid(format!("a key is 1 to 1024 bytes; this one has {}", key.len())));
    }
    let fragile = |segment: &[u8]| matches!(segment, b"" | b"." | b"..");
    let set = if key.split(|b| *b == b'/').any(fragile) { STRICT } else { PLAIN };
    Ok(format!("{root}{}", percent_encode(key, set)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_way() {
        let path = |key: &[u8]| of_key("/kv/", key).unwrap();
        assert_eq!(path(b"a/b.json"), "/kv/a/b.json");
        assert_eq!(path(b".."), "/kv/%2E%2E");
        assert_eq!(path(b"a//b"), "/kv/a%2F%2Fb");
        assert_eq!(path(b"a/../b"), "/kv/a%2F%2E%2E%2Fb");
        assert_eq!(path(b"50% +?#\xff\0"), "/kv/50%25%20%2B%3F%23%FF%00");
    }

    #[test]
    fn a_key_out_of_bounds_is_not_sent() {
        assert!(of_key("/kv/", b"").is_err());
        assert!(of_key("/kv/", &[b'a'; 1025]).is_err());
    }
}
