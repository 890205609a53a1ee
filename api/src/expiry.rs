//! When a key expires, as a call says it: `KV-TTL`, `?ttl=`, `KV-Expires-At`, or members of a JSON body.
//!
//! Invariant: one duration or one moment, whole milliseconds, from 1 s to 10 years ahead by the api's clock.

use http::HeaderMap;
use millpond_schemas::{
    Expiry, UnixMillis,
    limits::{TTL_MS_MAX, TTL_MS_MIN},
};
use serde_json::Value;

use crate::{
    duration,
    headers::{self, KV_EXPIRES_AT, KV_TTL},
    problem::{Code, Problem},
    time,
};

/// The expiry of a put: at most one source; two that spell the same duration are one.
pub(crate) fn of_put(
    headers: &HeaderMap,
    ttl_parameter: Option<&str>,
    now: UnixMillis,
) -> Result<Option<Expiry>, Problem> {
    let single = |name| headers::single(headers, name, Code::TtlInvalid);
    let header = single(&KV_TTL)?.map(ttl_of_text).transpose()?;
    let parameter = ttl_parameter.map(ttl_of_text).transpose()?;
    let at = single(&KV_EXPIRES_AT)?.map(|text| at_of_text(text, now)).transpose()?;
    match (header, parameter, at) {
        (None, None, at) => Ok(at),
        (Some(one), Some(other), None) if one != other => {
            Err(invalid("KV-TTL and ?ttl= are different durations"))
        }
        (Some(one), _, None) | (None, Some(one), None) => Ok(Some(one)),
        (_, _, Some(_)) => Err(invalid("a TTL or KV-Expires-At, not both")),
    }
}

/// Refuses a TTL where the operation keeps the present one: it would be lost.
pub(crate) fn refuse(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(&KV_TTL) || headers.contains_key(&KV_EXPIRES_AT) {
        return Err(invalid("only PUT takes a TTL").hint("PUT /ttl/{key} changes the TTL of a key"));
    }
    Ok(())
}

/// The expiry in a JSON body: `ttl` or `expires_at`. None when there is neither.
pub(crate) fn of_members(
    ttl: Option<&Value>,
    expires_at: Option<&Value>,
    now: UnixMillis,
) -> Result<Option<Expiry>, Problem> {
    match (ttl, expires_at) {
        (None, None) => Ok(None),
        (Some(ttl), None) => ttl_of_value(ttl).map_err(|problem| problem.at("/ttl")).map(Some),
        (None, Some(at)) => at_of_value(at, now).map_err(|problem| problem.at("/expires_at")).map(Some),
        (Some(_), Some(_)) => Err(invalid("ttl or expires_at, not both")),
    }
}

fn ttl_of_value(value: &Value) -> Result<Expiry, Problem> {
    match value {
        Value::String(text) => ttl_of_text(text),
        Value::Number(number) => {
            let seconds = number.as_u64().ok_or_else(|| invalid("a TTL in seconds is a whole number"))?;
            in_range(seconds.saturating_mul(1000))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(invalid("a TTL is a duration or a number of seconds"))
        }
    }
}

fn at_of_value(value: &Value, now: UnixMillis) -> Result<Expiry, Problem> {
    let text = value.as_str().ok_or_else(|| invalid("expires_at is an RFC 3339 moment"))?;
    at_of_text(text, now)
}

fn ttl_of_text(text: &str) -> Result<Expiry, Problem> {
    let duration = duration::parse(text).ok_or_else(|| {
        invalid("a TTL is a whole number with ms, s, m, h or d, or of seconds").hint("KV-TTL: 15m")
    })?;
    in_range(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn in_range(ms: u64) -> Result<Expiry, Problem> {
    if !(TTL_MS_MIN..=TTL_MS_MAX).contains(&ms) {
        return Err(invalid("a TTL is 1 s to 10 years"));
    }
    Ok(Expiry::TtlMs(ms))
}

fn at_of_text(text: &str, now: UnixMillis) -> Result<Expiry, Problem> {
    let at = time::parse(text)
        .ok_or_else(|| invalid("an expiry is an RFC 3339 moment, no finer than milliseconds"))?;
    ahead(Expiry::At(at), now)
}

/// An expiry that is not read here: the same range for it.
pub(crate) fn ahead(expiry: Expiry, now: UnixMillis) -> Result<Expiry, Problem> {
    match expiry {
        Expiry::TtlMs(ms) => in_range(ms),
        Expiry::At(at) if at < now.plus_ms(TTL_MS_MIN) || at > now.plus_ms(TTL_MS_MAX) => {
            Err(invalid("an expiry lies 1 s to 10 years ahead"))
        }
        Expiry::At(_) => Ok(expiry),
    }
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::TtlInvalid, detail)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn put(lines: &[(&HeaderName, &str)], parameter: Option<&str>) -> Result<Option<Expiry>, Code> {
        let headers =
            lines.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_str(value).unwrap()));
        of_put(&headers.collect(), parameter, NOW).map_err(|problem| problem.code())
    }

    #[test]
    fn one_source_is_enough_and_two_agree_or_are_refused() {
        let ms = |ms| Ok(Some(Expiry::TtlMs(ms)));
        assert_eq!(put(&[], None), Ok(None));
        assert_eq!(put(&[(&KV_TTL, "90")], None), ms(90_000));
        assert_eq!(put(&[], Some("15m")), ms(900_000));
        assert_eq!(put(&[(&KV_TTL, "90")], Some("90s")), ms(90_000));
        assert_eq!(put(&[(&KV_TTL, "90")], Some("91s")), Err(Code::TtlInvalid));
        let at = time::rfc3339(NOW.plus_ms(5000));
        assert_eq!(put(&[(&KV_EXPIRES_AT, &at)], None), Ok(Some(Expiry::At(NOW.plus_ms(5000)))));
        assert_eq!(put(&[(&KV_EXPIRES_AT, &at), (&KV_TTL, "5")], None), Err(Code::TtlInvalid));
        assert_eq!(put(&[(&KV_EXPIRES_AT, &at)], Some("5")), Err(Code::TtlInvalid));
        assert_eq!(put(&[(&KV_TTL, "5"), (&KV_TTL, "5")], None), Err(Code::TtlInvalid));
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for text in ["", "-1", "0", "999ms", "1e30", "5 fortnights", "3653d", "99999999999999999999"] {
            assert_eq!(put(&[(&KV_TTL, text)], None), Err(Code::TtlInvalid), "{text}");
        }
        assert_eq!(put(&[(&KV_TTL, "315576000")], None), Ok(Some(Expiry::TtlMs(TTL_MS_MAX))));
        for text in
            ["", "soon", "292278994-08-17T07:12:55.807Z", "2001-01-01T00:00:00Z", "2500-01-01T00:00:00Z"]
        {
            assert_eq!(put(&[(&KV_EXPIRES_AT, text)], None), Err(Code::TtlInvalid), "{text}");
        }
    }

    #[test]
    fn in_json_a_plain_integer_is_seconds() {
        let of = |ttl: Value| of_members(Some(&ttl), None, NOW).map_err(|problem| problem.code());
        assert_eq!(of(json!(90)), Ok(Some(Expiry::TtlMs(90_000))));
        assert_eq!(of(json!("1500ms")), Ok(Some(Expiry::TtlMs(1500))));
        for bad in [json!(0), json!(-5), json!(1.5), json!(null), json!(true), json!(1e30), json!("")] {
            assert_eq!(of(bad.clone()), Err(Code::TtlInvalid), "{bad}");
        }
        assert!(of_members(Some(&json!(5)), Some(&json!("2023-11-15T00:00:00Z")), NOW).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_valid_on_the_log(text in "[ -~]{0,24}") {
            if let Ok(Some(expiry)) = put(&[(&KV_TTL, &text)], None) {
                prop_assert!(expiry.is_valid());
            }
        }
    }
}
