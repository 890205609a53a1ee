//! `Accept`, where the api chooses the format: JSON, or 406.
//!
//! Not for values: they go out as what they were put as. Invariant: no Accept takes anything.

use http::{HeaderMap, header};

use crate::problem::{Code, Problem};

/// Refuses a client that would not take JSON.
pub(crate) fn json(headers: &HeaderMap) -> Result<(), Problem> {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() || ranges.any(takes_json) {
        return Ok(());
    }
    Err(Problem::new(Code::NotAcceptable, "the answer is application/json"))
}

fn takes_json(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let named =
        ["application/json", "application/*", "*/*"].iter().any(|name| essence.eq_ignore_ascii_case(name));
    let mut weights = parts.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(1.0))
    });
    named && weights.next().unwrap_or(1.0) > 0.0
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
        for not in ["text/html", "application/json;q=0", "application/jsonx", "image/*"] {
            assert!(!takes(not), "{not}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "[ -~]*") {
            let _ = takes(&text);
        }
    }
}
