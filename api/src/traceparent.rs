//! The trace that a call belongs to, as W3C Trace Context tells it: `traceparent` and `tracestate`.
//!
//! Not here: spans. Invariant: what is malformed is as if it had not come, and what is written is valid.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use millpond_trace::Context;

/// Names the trace and the caller's span.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems on the way keep for themselves.
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is passed on, bytes; a longer one is left out.
const STATE_BYTES_MAX: usize = 512;
/// Most members of a `tracestate`.
const STATE_MEMBERS_MAX: usize = 32;

/// The caller's span. Lies in the extensions of a request that named one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    context: Context,
    state: Option<HeaderValue>,
}

impl Parent {
    /// Reads the headers. None: there is no `traceparent`, more than one, or it is malformed.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let parent = Self::parse(value.to_str().ok()?)?;
        Some(Self { state: state(headers), ..parent })
    }

    /// Reads a `traceparent`; without a `tracestate`. None: it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self { context: Context::parse(text)?, state: None })
    }

    /// The trace and the span.
    pub fn context(&self) -> Context {
        self.context
    }

    /// The trace; not 0.
    pub fn trace_id(&self) -> u128 {
        self.context.trace_id()
    }

    /// The span; not 0.
    pub fn span_id(&self) -> u64 {
        self.context.span_id()
    }

    /// Whether the caller may have recorded its span.
    pub fn is_sampled(&self) -> bool {
        self.context.is_sampled()
    }

    /// The `tracestate` to pass on.
    pub fn state(&self) -> Option<&HeaderValue> {
        self.state.as_ref()
    }
}

/// As a `traceparent` of version 0.
impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}

/// All `tracestate` headers as one. None: none, too long, or malformed.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut keys: Vec<&str> = Vec::new();
    let mut joined = String::new();
    for value in headers.get_all(&TRACESTATE) {
        for member in value.to_str().ok()?.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == STATE_MEMBERS_MAX {
                return None;
            }
            keys.push(key);
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(member);
            if joined.len() > STATE_BYTES_MAX {
                return None;
            }
        }
    }
    (!keys.is_empty()).then(|| HeaderValue::try_from(joined).ok()).flatten()
}

fn is_key(key: &str) -> bool {
    let starts = key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    starts && key.len() <= 256 && key.bytes().all(rest) && key.matches('@').count() <= 1
}

fn is_value(value: &str) -> bool {
    let printable = |b: u8| matches!(b, 0x20..=0x7e) && b != b',' && b != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(printable) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(headers: &[(&HeaderName, &str)]) -> Option<Parent> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Parent::of(&map)
    }

    #[test]
    fn what_is_written_reads_back() {
        let parent = of(&[(&TRACEPARENT, GOOD)]).unwrap();
        assert_eq!(parent.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((parent.span_id(), parent.is_sampled()), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!((parent.to_string().as_str(), parent.state()), (GOOD, None));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GOOD.replacen("00", "cc", 1);
        for text in [later.clone(), format!("{later}-more"), format!("{later}-")] {
            assert_eq!(Parent::parse(&text).unwrap().to_string(), GOOD, "{text}");
        }
        assert_eq!(Parent::parse(&format!("{later}.more")), None);
        let flags = Parent::parse(&GOOD.replace("-01", "-fe")).unwrap();
        assert_eq!((flags.is_sampled(), flags.to_string()), (false, GOOD.replace("-01", "-02")));
    }

    #[test]
    fn what_is_malformed_is_as_if_it_had_not_come() {
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &format!("{GOOD}-more"),
            &format!("{GOOD} "),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace("b7-01", "b-701"),
            &GOOD.replace('4', "+"),
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(of(&[(&TRACEPARENT, bad)]), None, "{bad}");
        }
        assert_eq!(of(&[(&TRACEPARENT, GOOD), (&TRACEPARENT, GOOD)]), None);
        assert_eq!(of(&[(&TRACESTATE, "a=b")]), None, "no state without a parent");
    }

    #[test]
    fn a_state_is_joined_and_passed_on_when_it_is_valid() {
        let state = |values: &[&str]| {
            let mut headers = vec![(&TRACEPARENT, GOOD)];
            headers.extend(values.iter().map(|value| (&TRACESTATE, *value)));
            let parent = of(&headers).unwrap();
            parent.state().map(|state| state.to_str().unwrap().to_owned())
        };
        assert_eq!(state(&["rojo=1, congo=t61 x", "a@b=*"]).as_deref(), Some("rojo=1,congo=t61 x,a@b=*"));
        assert_eq!(state(&["a=1,,b=2"]).as_deref(), Some("a=1,b=2"));
        let members = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&[&members(32)]).is_some());
        for bad in [
            "a",
            "A=1",
            "a=",
            "=1",
            "a=1,a=2",
            "a=b=c",
            "a@b@c=1",
            &members(33),
            &format!("a={}", "x".repeat(257)),
            &format!("a={0},b={0},c={0}", "x".repeat(200)),
        ] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
    }
}
