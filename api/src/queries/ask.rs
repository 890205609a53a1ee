//! Which rows a query asks for, whichever way it says so: what a cursor carries, and is compared with.
//!
//! Pure. Invariant: two queries that ask for the same rows in the same way in the same order are equal.

use bytes::Bytes;

use super::members::{Members, invalid};
use crate::problem::{Code, Problem};

/// Rows of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    /// Which.
    pub(super) what: What,
    /// From the highest key down.
    pub(super) reverse: bool,
    /// What is told of them.
    pub(super) include: Include,
}

/// Which rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Of these keys: in bytewise order, each once.
    Keys(Vec<Bytes>),
    /// Of every key in a range.
    Range {
        /// Lowest, inclusive.
        start: Bytes,
        /// Highest, exclusive; none: to the last.
        end: Option<Bytes>,
    },
}

impl Default for What {
    fn default() -> Self {
        Self::Range { start: Bytes::new(), end: None }
    }
}

/// What is told of a row beside its key and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Include {
    /// The value.
    pub(super) value: bool,
    /// What `/meta` tells.
    pub(super) meta: bool,
}

impl Default for Include {
    fn default() -> Self {
        Self { value: true, meta: false }
    }
}

impl Ask {
    /// What the members ask for; none where they say nothing of it.
    pub(super) fn of(members: &Members<'_>) -> Result<Option<Self>, Problem> {
        let what = what(members)?;
        let include = members.include.as_ref().map(|words| include(words)).transpose()?;
        if what.is_none() && include.is_none() && members.reverse.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            what: what.unwrap_or_default(),
            reverse: members.reverse.unwrap_or_default(),
            include: include.unwrap_or_default(),
        }))
    }
}

fn what(members: &Members<'_>) -> Result<Option<What>, Problem> {
    let (keys, prefix) = (members.keys()?, members.prefix()?);
    let (start, end) = (members.start()?, members.end()?);
    let is_range = prefix.is_some() || start.is_some() || end.is_some();
    match keys {
        Some(_) if is_range => Err(invalid("keys, or a range, not both")),
        Some(mut keys) => {
            keys.sort_unstable();
            keys.dedup();
            Ok(Some(What::Keys(keys)))
        }
        None if is_range => Ok(Some(range(prefix, start, end))),
        None => Ok(None),
    }
}

/// What is in all of them.
fn range(prefix: Option<Bytes>, start: Option<Bytes>, end: Option<Bytes>) -> What {
    let prefix = prefix.unwrap_or_default();
    let start = prefix.clone().max(start.unwrap_or_default());
    let end = match (behind(&prefix), end) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    What::Range { start, end }
}

/// The first key behind all that begin with `prefix`; none: there is none.
fn behind(prefix: &Bytes) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut behind = prefix.slice(..=last).to_vec();
    behind[last] += 1;
    Some(behind.into())
}

fn include(words: &[std::borrow::Cow<'_, str>]) -> Result<Include, Problem> {
    let mut include = Include { value: false, meta: false };
    for word in words {
        match word.as_ref() {
            "value" => include.value = true,
            "meta" => include.meta = true,
            _ => return Err(Problem::new(Code::UnknownField, "`include` is out of value, meta")),
        }
    }
    Ok(include)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(body: &str) -> Result<Option<Ask>, Code> {
        let members = Members::parse(body.as_bytes()).map_err(|problem| problem.code())?;
        Ask::of(&members).map_err(|problem| problem.code())
    }

    fn bounds(body: &str) -> (Bytes, Option<Bytes>) {
        match of(body).unwrap().unwrap().what {
            What::Range { start, end } => (start, end),
            What::Keys(_) => panic!("{body} is a range"),
        }
    }

    #[test]
    fn a_query_that_says_nothing_asks_for_nothing_of_its_own() {
        assert_eq!(of("{}"), Ok(None));
        assert_eq!(of(r#"{"limit":5,"cursor":null,"consistency":"strong"}"#), Ok(None));
        assert_eq!(of(r#"{"prefix":""}"#), Ok(Some(Ask::default())));
        assert_eq!(of(r#"{"reverse":false}"#), Ok(Some(Ask::default())));
    }

    #[test]
    fn a_prefix_is_a_range_and_bounds_narrow_it() {
        let (start, end) = bounds(r#"{"prefix":"a"}"#);
        assert_eq!((&start[..], end.as_deref()), (&b"a"[..], Some(&b"b"[..])));
        let (start, end) = bounds(r#"{"prefix_b64":"Yf//"}"#);
        assert_eq!((&start[..], end.as_deref()), (&b"a\xff\xff"[..], Some(&b"b"[..])));
        assert_eq!(bounds(r#"{"prefix_b64":"//8="}"#).1, None);
        let (start, end) = bounds(r#"{"prefix":"a","start":"am","end":"c"}"#);
        assert_eq!((&start[..], end.as_deref()), (&b"am"[..], Some(&b"b"[..])));
    }

    #[test]
    fn keys_are_in_order_and_each_once() {
        let keys = of(r#"{"keys":["b","a",{"key_b64":"YQ=="},{"key_b64":"/w=="}]}"#).unwrap().unwrap().what;
        assert_eq!(
            keys,
            What::Keys(vec![b"a".as_slice().into(), b"b".as_slice().into(), b"\xff".as_slice().into()])
        );
        assert_eq!(of(r#"{"keys":[]}"#).unwrap().unwrap().what, What::Keys(Vec::new()));
    }

    #[test]
    fn what_is_no_query_is_refused_by_name() {
        let long = format!(r#"{{"keys":["{}"]}}"#, "k".repeat(1025));
        let many = format!(r#"{{"keys":[{}"x"]}}"#, r#""x","#.repeat(1000));
        let bound = format!(r#"{{"start":"{}"}}"#, "k".repeat(1026));
        for (body, code) in [
            ("", Code::BodyInvalid),
            ("[]", Code::BodyInvalid),
            ("{\"prefix\":1}", Code::BodyInvalid),
            ("{\"prefix\":null}", Code::BodyInvalid),
            ("{\"prefix\":\"a\",\"prefix\":\"b\"}", Code::BodyInvalid),
            ("{\"prefix\":\"a\",\"prefix_b64\":\"YQ==\"}", Code::BodyInvalid),
            ("{\"prefix_b64\":\"YQ\"}", Code::BodyInvalid),
            ("{\"keys\":[\"a\"],\"prefix\":\"a\"}", Code::BodyInvalid),
            ("{\"keys\":\"a\"}", Code::BodyInvalid),
            ("{\"keys\":[1]}", Code::KeyInvalid),
            ("{\"keys\":[\"\"]}", Code::KeyInvalid),
            ("{\"keys\":[{\"key\":\"a\"}]}", Code::KeyInvalid),
            ("{\"keys\":[{\"key_b64\":\"YQ\"}]}", Code::KeyInvalid),
            ("{\"include\":[\"values\"]}", Code::UnknownField),
            ("{\"include\":\"value\"}", Code::BodyInvalid),
            ("{\"index\":{}}", Code::UnknownField),
            (&long, Code::KeyInvalid),
            (&many, Code::TooManyKeys),
            (&bound, Code::KeyInvalid),
        ] {
            assert_eq!(of(body), Err(code), "{body}");
        }
    }

    #[test]
    fn a_limit_is_a_whole_number_and_clamped() {
        let limit = |text: &str| {
            let body = format!(r#"{{"limit":{text}}}"#);
            Members::parse(body.as_bytes()).unwrap().limit().map_err(|problem| problem.code())
        };
        for (text, expected) in [("1", 1), ("1000", 1000), ("1001", 1000), ("1000000000", 1000)] {
            assert_eq!(limit(text), Ok(Some(expected)), "{text}");
        }
        assert_eq!(limit(&"9".repeat(60)), Ok(Some(1000)));
        for bad in ["0", "-1", "1.5", "1e3", "\"5\"", "null", "[]", "true"] {
            assert_eq!(limit(bad), Err(Code::LimitInvalid), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_bounds_exactly_what_begins_with_it(
            prefix in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..4),
            key in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..6),
        ) {
            let What::Range { start, end } = range(Some(prefix.clone().into()), None, None) else {
                unreachable!("a prefix is a range")
            };
            let inside = key[..] >= start[..] && end.is_none_or(|end| key[..] < end[..]);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(members) = Members::parse(&bytes) {
                let _ = (Ask::of(&members), members.limit());
            }
        }
    }
}
