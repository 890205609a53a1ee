//! Moments as text: RFC 3339, UTC, milliseconds; and HTTP dates.
//!
//! Not here: asking what time it is. Invariant: what is written reads back as the same millisecond.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp, civil};
use millpond_schemas::{UnixMillis, limits::EXPIRES_AT_MS_MAX};

/// `2026-01-31T12:00:00.000Z`. Moments outside the years 0 to 9999 are clamped to them.
pub fn rfc3339(at: UnixMillis) -> String {
    let ms = at.0.clamp(0, EXPIRES_AT_MS_MAX);
    let epoch = civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let moment = epoch.checked_add(SignedDuration::from_millis(ms)).expect("it lies before the year 10000");
    format!("{moment:.3}Z")
}

/// Reads an RFC 3339 moment with any offset; none when it is none, or finer than a millisecond.
pub fn parse(text: &str) -> Option<UnixMillis> {
    // What the library reads beyond RFC 3339 is not taken: annotations, other separators, a missing time.
    let strict =
        text.is_ascii() && !text.contains('[') && matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    let moment: Timestamp = strict.then(|| text.parse().ok())??;
    let ms = moment.as_millisecond();
    (moment.as_nanosecond() == i128::from(ms) * 1_000_000).then_some(UnixMillis(ms))
}

/// An HTTP date, to the second.
pub(crate) fn http_date(at: UnixMillis) -> HeaderValue {
    let ms = at.0.clamp(0, EXPIRES_AT_MS_MAX).unsigned_abs();
    let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
    HeaderValue::try_from(text).expect("an HTTP date is printable ASCII")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_calendar_are_written() {
        assert_eq!(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UnixMillis(EXPIRES_AT_MS_MAX)), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(UnixMillis(i64::MAX)), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(UnixMillis(i64::MIN)), "1970-01-01T00:00:00.000Z");
        assert_eq!(http_date(UnixMillis(i64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn offsets_are_understood_and_finer_times_are_not() {
        assert_eq!(parse("1970-01-01T01:00:00.5+01:00"), Some(UnixMillis(500)));
        for bad in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.0001Z",
            "1970-01-01 00:00:00Z",
            "1970-01-01T00:00:00Z[UTC]",
            "292278994-08-17T07:12:55.807Z",
            "soon",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_reads_back(ms in 0i64..253_402_207_200_000) {
            prop_assert_eq!(parse(&rfc3339(UnixMillis(ms))), Some(UnixMillis(ms)));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
