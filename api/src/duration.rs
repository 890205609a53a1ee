//! Durations as people write them: `90`, `90s`, `15m`, `1500ms`, `2h`, `7d`.
//!
//! Invariant: every accepted spelling is a whole number of milliseconds.

use std::time::Duration;

/// Reads a duration: digits, and `ms`, `s`, `m`, `h` or `d`; none is seconds.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    Some(Duration::from_millis(ms))
}

/// A duration in a configuration: a string as above, or an integer of seconds.
pub(crate) mod text {
    use std::{fmt, time::Duration};

    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}ms", duration.as_millis()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(Visitor)
    }

    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as 90, \"90s\", \"15m\" or \"1500ms\"")
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_secs(seconds))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            let seconds =
                u64::try_from(seconds).map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self));
            Ok(Duration::from_secs(seconds?))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            super::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_spellings_are_read() {
        for (text, ms) in [
            ("90", 90_000),
            ("90s", 90_000),
            ("15m", 900_000),
            ("1500ms", 1500),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "s",
            "-1",
            "+5",
            "1e30",
            "5 fortnights",
            "1.5s",
            " 5s",
            "5S",
            "18446744073709551615d",
            "99999999999999999999",
            "\u{661}s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn every_unit_scales(number in 0u64..1_000_000) {
            let ms = |text: String| parse(&text).unwrap().as_millis();
            prop_assert_eq!(ms(format!("{number}ms")), u128::from(number));
            prop_assert_eq!(ms(format!("{number}")), ms(format!("{number}s")));
            prop_assert_eq!(ms(format!("{number}d")), ms(format!("{number}h")) * 24);
            prop_assert_eq!(ms(format!("{number}h")), ms(format!("{number}m")) * 60);
        }
    }
}
