//! `Prefer` (RFC 7240): how long a write waits for its outcome.
//!
//! Invariant: what is not understood is passed over, as the RFC wants, and is not said to be applied.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::headers::PREFER;

/// Longest wait that a client can ask for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// What a client prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preference {
    /// Answer once the log has it.
    RespondAsync,
    /// Wait so long for the outcome: 1 to 30 s.
    Wait(Duration),
}

impl Preference {
    /// Reads the headers. The first `wait` counts; `wait=0` is `respond-async`; with both, the wait.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(&PREFER).into_iter().filter_map(|value| value.to_str().ok());
        let preferences = texts.flat_map(|text| text.split(','));
        let mut respond_async = false;
        for preference in preferences {
            // What follows a semicolon are a preference's parameters; these have none.
            let plain = preference.split(';').next().unwrap_or_default();
            let (name, value) = plain.split_once('=').unwrap_or((plain, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                respond_async = true;
            } else if name.eq_ignore_ascii_case("wait")
                && let Some(seconds) = seconds(value)
            {
                return Some(match seconds {
                    0 => Self::RespondAsync,
                    seconds => Self::Wait(Duration::from_secs(seconds).min(WAIT_MAX)),
                });
            }
        }
        respond_async.then_some(Self::RespondAsync)
    }

    /// The value of `Preference-Applied`.
    pub(crate) fn applied(self) -> HeaderValue {
        match self {
            Self::RespondAsync => HeaderValue::from_static("respond-async"),
            Self::Wait(wait) => crate::headers::of_display(format_args!("wait={}", wait.as_secs())),
        }
    }
}

/// A number of seconds; one too large to count is as good as the longest wait.
fn seconds(value: &str) -> Option<u64> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&str]) -> Option<Preference> {
        let headers = lines.iter().map(|line| (PREFER.clone(), HeaderValue::from_str(line).unwrap()));
        Preference::of(&headers.collect())
    }

    #[test]
    fn a_wait_is_clamped_and_zero_is_async() {
        let wait = |seconds| Some(Preference::Wait(Duration::from_secs(seconds)));
        assert_eq!(of(&["wait=10"]), wait(10));
        assert_eq!(of(&["Wait = \"7\""]), wait(7));
        assert_eq!(of(&["wait=99999999999999999999"]), wait(30));
        assert_eq!(of(&["wait=0"]), Some(Preference::RespondAsync));
        assert_eq!(of(&["respond-async"]), Some(Preference::RespondAsync));
        assert_eq!(of(&["respond-async, wait=3"]), wait(3));
        assert_eq!(of(&["handling=lenient;x=wait", "wait=4;y"]), wait(4));
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        for line in ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=5s", "waits=4", "return=minimal"] {
            assert_eq!(of(&[line]), None, "{line}");
        }
        assert_eq!(of(&["wait=x, wait=2"]), Some(Preference::Wait(Duration::from_secs(2))));
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "[ -~]*") {
            let _ = of(&[&text]);
        }
    }
}
