//! `If-Match` and `If-None-Match`: on writes judged in log order, on reads here.
//!
//! Invariant: a condition that a client sent is in the mutation or the call is refused; it is never dropped.

use http::{HeaderMap, header};
use millpond_schemas::{Conditions, limits::CONDITION_BYTES_MAX};

use crate::{
    headers,
    problem::{Code, Problem},
};

/// The conditions of a write: `If-Match` takes one strong `ETag` or `*`, `If-None-Match` only `*`.
pub(crate) fn of_write(headers: &HeaderMap) -> Result<Conditions, Problem> {
    let single = |name| headers::single(headers, name, Code::ConditionInvalid);
    let mut conditions = Conditions::default();
    match single(&header::IF_MATCH)? {
        None => {}
        Some("*") => conditions.exists = true,
        Some(text) => conditions.version = Some(strong(text)?.to_owned()),
    }
    if headers.contains_key(header::IF_UNMODIFIED_SINCE) {
        return Err(invalid("seconds are too coarse to judge a write by: If-Match takes the ETag of a GET"));
    }
    match single(&header::IF_NONE_MATCH)? {
        None => {}
        Some("*") => conditions.absent = true,
        Some(_) => return Err(invalid("on a write, If-None-Match takes only *")),
    }
    Ok(conditions)
}

/// The inside of one strong `ETag`.
fn strong(text: &str) -> Result<&str, Problem> {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inside {
        Some(inside) if is_opaque(inside) && inside.len() <= CONDITION_BYTES_MAX => Ok(inside),
        _ if text.starts_with("W/") => Err(invalid("If-Match compares strongly: a weak ETag never matches")),
        _ => Err(invalid("If-Match takes * or one ETag in double quotes").hint("If-Match: \"1-0-42\"")),
    }
}

/// Not empty: a version that is empty means none.
fn is_opaque(inside: &str) -> bool {
    !inside.is_empty() && inside.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::ConditionInvalid, detail)
}

/// Whether a read's `If-None-Match` names the present version: a list of them or `*`, compared weakly.
///
/// # Errors
/// `condition-invalid` when it is neither.
pub(crate) fn none_match_hits(headers: &HeaderMap, version: &str) -> Result<bool, Problem> {
    let mut hit = false;
    for value in headers.get_all(header::IF_NONE_MATCH) {
        let text = value.to_str().map_err(|_| invalid("If-None-Match holds more than printable ASCII"))?;
        if text.trim() == "*" {
            return Ok(true);
        }
        hit |= list_hits(text, version).ok_or_else(|| invalid("If-None-Match is * or a list of ETags"))?;
    }
    Ok(hit)
}

/// None when it is no list of entity tags.
fn list_hits(text: &str, version: &str) -> Option<bool> {
    let mut rest = text.trim_matches([' ', '\t', ',']);
    let mut hit = false;
    while !rest.is_empty() {
        let opaque = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (inside, after) = opaque.split_once('"')?;
        hit |= inside == version;
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Some(hit)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_write_takes_one_strong_etag_or_a_star() {
        let of = |lines: &[(HeaderName, &str)]| of_write(&map(lines)).map_err(|problem| problem.code());
        assert_eq!(of(&[]), Ok(Conditions::default()));
        let version = |text: &str| Conditions { version: Some(text.into()), ..Conditions::default() };
        assert_eq!(of(&[(header::IF_MATCH, "\"1-3-42\"")]), Ok(version("1-3-42")));
        assert_eq!(of(&[(header::IF_MATCH, "\"a,b\"")]), Ok(version("a,b")));
        assert_eq!(
            of(&[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")]),
            Ok(Conditions { exists: true, absent: true, version: None })
        );
        for bad in ["", "\"\"", "1-3-42", "\"a\", \"b\"", "W/\"a\"", "\"a", "a\"", "\"", "\"a b\""] {
            assert_eq!(of(&[(header::IF_MATCH, bad)]), Err(Code::ConditionInvalid), "{bad}");
        }
        for bad in ["", "\"a\"", "**"] {
            assert_eq!(of(&[(header::IF_NONE_MATCH, bad)]), Err(Code::ConditionInvalid), "{bad}");
        }
        let date = "Tue, 24 Nov 2026 07:00:18 GMT";
        assert_eq!(of(&[(header::IF_UNMODIFIED_SINCE, date)]), Err(Code::ConditionInvalid));
        let twice = [(header::IF_MATCH, "*"), (header::IF_MATCH, "\"a\"")];
        assert_eq!(of(&twice), Err(Code::ConditionInvalid));
    }

    #[test]
    fn a_read_compares_a_list_weakly() {
        let hits = |text: &str| none_match_hits(&map(&[(header::IF_NONE_MATCH, text)]), "1-0-7").ok();
        assert_eq!(none_match_hits(&HeaderMap::new(), "1-0-7").ok(), Some(false));
        for hit in ["*", "\"1-0-7\"", "W/\"1-0-7\"", "\"a\", W/\"1-0-7\"", "\"a\",\"1-0-7\",", ",\"1-0-7\""] {
            assert_eq!(hits(hit), Some(true), "{hit}");
        }
        for miss in ["\"1-0-8\"", "\"1-0-70\"", "\"a,1-0-7\"", ""] {
            assert_eq!(hits(miss), Some(false), "{miss}");
        }
        for bad in ["1-0-7", "\"1-0-7", "\"a\" \"b\"", "w/\"a\"", "\"a\"x"] {
            assert_eq!(hits(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_judged_without_a_panic(text in "[ -~]*") {
            let _ = of_write(&map(&[(header::IF_MATCH, &text)]));
            let _ = none_match_hits(&map(&[(header::IF_NONE_MATCH, &text)]), "1-0-7");
        }

        #[test]
        fn an_etag_always_hits_itself(version in "[!#-~]{1,40}") {
            let headers = map(&[(header::IF_NONE_MATCH, &format!("\"x\", \"{version}\""))]);
            prop_assert!(none_match_hits(&headers, &version).unwrap());
        }
    }
}
