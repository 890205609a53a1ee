//! `Accept`, where the api chooses the format: JSON, or 406.
//!
//! Not for values: they go out as what they were put as. Invariant: no Accept takes anything.

use http::{HeaderMap, header};

use crate::problem::{Code, Problem};

/// A format of many items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object.
    Json,
    /// A JSON object a line.
    Lines,
}

/// Refuses a client that would not take JSON.
pub(crate) fn json(headers: &HeaderMap) -> Result<(), Problem> {
    if weight(headers, "application/json") > Weight::NOTHING {
        return Ok(());
    }
    Err(Problem::new(Code::NotAcceptable, "the answer is application/json"))
}

/// What a client would rather have; JSON where it does not say.
///
/// # Errors
/// `not-acceptable`: it would take neither.
pub(crate) fn json_or_lines(headers: &HeaderMap) -> Result<Format, Problem> {
    let (json, lines) = (weight(headers, "application/json"), weight(headers, "application/x-ndjson"));
    match (json > Weight::NOTHING, lines > Weight::NOTHING) {
        (false, false) => {
            let detail = "the answer is application/json or application/x-ndjson";
            Err(Problem::new(Code::NotAcceptable, detail))
        }
        (true, true) if json >= lines => Ok(Format::Json),
        (true, false) => Ok(Format::Json),
        (_, true) => Ok(Format::Lines),
    }
}

/// How much a type is wanted: by its weight, then by how closely it was named.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Weight {
    weight: f32,
    named: u8,
}

impl Weight {
    const NOTHING: Self = Self { weight: 0.0, named: u8::MAX };
}

/// The weight of the range that names a type the most closely; nothing where none does.
fn weight(headers: &HeaderMap, wanted: &str) -> Weight {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() {
        return Weight { weight: 1.0, named: 0 };
    }
    let matching = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let named =
            ["*/*", "application/*", wanted].iter().position(|name| essence.eq_ignore_ascii_case(name))?;
        let mut weights = parts.filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(1.0))
        });
        Some(Weight { weight: weights.next().unwrap_or(1.0), named: u8::try_from(named).unwrap_or(0) })
    });
    matching.max_by_key(|weight| weight.named).unwrap_or(Weight::NOTHING)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn takes(text: &str) -> bool {
        json(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(text).unwrap())])).is_ok()
    }

    #[test]
    fn json_is_given_to_whoever_takes_it() {
        assert!(json(&HeaderMap::new()).is_ok());
        for taken in ["", "*/*", "application/json", "text/html, application/*;q=0.1", "Application/JSON;v=1"]
        {
            assert!(takes(taken), "{taken}");
        }
        for not in
            ["text/html", "application/json;q=0", "application/json;q=0, */*", "application/jsonx", "image/*"]
        {
            assert!(!takes(not), "{not}");
        }
    }

    #[test]
    fn lines_are_given_to_whoever_would_rather_have_them() {
        let format = |text: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(text).unwrap())]);
            json_or_lines(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(json_or_lines(&HeaderMap::new()).unwrap(), Format::Json);
        for text in
            ["*/*", "application/*", "application/json, application/x-ndjson", "application/json, */*"]
        {
            assert_eq!(format(text), Ok(Format::Json), "{text}");
        }
        for text in [
            "application/x-ndjson",
            "application/x-ndjson, */*",
            "application/x-ndjson, application/json;q=0.5",
            "*/*, application/json;q=0",
        ] {
            assert_eq!(format(text), Ok(Format::Lines), "{text}");
        }
        assert_eq!(format("text/html"), Err(Code::NotAcceptable));
        assert_eq!(format("*/*;q=0"), Err(Code::NotAcceptable));
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "[ -~]*") {
            let _ = takes(&text);
        }
    }
}
