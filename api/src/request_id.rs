//! The name of a call, in its answer and in log lines: the client's own, or a random one.
//!
//! Invariant: whatever a client sends, it is short and of harmless characters.

use std::fmt;

use http::{HeaderMap, HeaderValue};

use crate::headers::X_REQUEST_ID;

/// Longest X-Request-Id that is taken over, bytes.
const BYTES_MAX: usize = 128;

/// A call's id.
#[derive(Clone, Debug)]
pub(crate) enum RequestId {
    /// As the client says it; apart, for nearly all calls leave it to us.
    Given(Box<HeaderValue>),
    /// Ours, which nobody needs as text before the answer.
    Random([u8; 16]),
}

impl RequestId {
    /// A random one.
    pub(crate) fn new() -> Self {
        Self::Random(rand::random())
    }

    /// The client's id when it is sane, else a random one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let sane = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=BYTES_MAX).contains(&bytes.len())
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
        };
        headers
            .get(&X_REQUEST_ID)
            .filter(sane)
            .cloned()
            .map_or_else(Self::new, |value| Self::Given(Box::new(value)))
    }

    /// As a header.
    pub(crate) fn value(&self) -> HeaderValue {
        match self {
            Self::Given(value) => HeaderValue::clone(value),
            Self::Random(bytes) => {
                HeaderValue::from_bytes(&digits(*bytes)).expect("hexadecimal digits are printable ASCII")
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.value().to_str().unwrap_or_default())
    }
}

fn digits(bytes: [u8; 16]) -> [u8; 32] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    std::array::from_fn(|at| {
        let byte = bytes[at / 2];
        DIGITS[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_taken_over_and_any_other_replaced() {
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            RequestId::of(&HeaderMap::from_iter([(X_REQUEST_ID.clone(), value)])).value()
        };
        assert_eq!(of("abc-123_X.y:z/+="), "abc-123_X.y:z/+=");
        for bad in ["", "a b", "<script>", "\"x\"", &"a".repeat(129)] {
            let id = of(bad);
            assert_ne!(id, bad);
            assert_eq!(id.len(), 32);
        }
        let random = || RequestId::of(&HeaderMap::new());
        assert_ne!(random().value(), random().value());
    }

    #[test]
    fn a_random_id_is_told_as_digits() {
        let id = RequestId::Random(std::array::from_fn(|at| u8::try_from(at * 17).unwrap()));
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
    }
}
