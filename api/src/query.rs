//! Query parameters: each known, each at most once.
//!
//! Invariant: a parameter that nobody reads is refused, never passed over.

use http::Uri;

use crate::{
    key_path,
    problem::{Code, Problem},
};

/// The parameters of one call.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the parameters, all of which are among `known`.
    pub(crate) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        let text = uri.query().unwrap_or_default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name)?;
            if !known.contains(&name.as_str()) {
                return Err(Problem::new(Code::UnknownField, unknown(known)));
            }
            if parameters.iter().any(|(before, _)| *before == name) {
                return Err(Problem::new(Code::UnknownField, "a query parameter came more than once"));
            }
            parameters.push((name, decoded(value)?));
        }
        Ok(Self(parameters))
    }

    /// The value of one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn unknown(known: &[&str]) -> String {
    match known {
        [] => "this call takes no query parameter".to_owned(),
        known => format!("this call takes no query parameter but {}", known.join(", ")),
    }
}

fn decoded(raw: &str) -> Result<String, Problem> {
    let bytes = key_path::decode(raw);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes.into_owned()).ok());
    text.ok_or_else(|| Problem::new(Code::UnknownField, "the query is not percent-encoded UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Query, Code> {
        let uri: Uri = format!("/kv/a{query}").parse().unwrap();
        Query::of(&uri, &["ttl", "wait"]).map_err(|problem| problem.code())
    }

    #[test]
    fn known_parameters_are_decoded() {
        let query = of("?ttl=15%6d&wait=10s").unwrap();
        assert_eq!((query.get("ttl"), query.get("wait")), (Some("15m"), Some("10s")));
        assert_eq!(of("?ttl=a+b").unwrap().get("ttl"), Some("a+b"));
        assert_eq!(of("?ttl").unwrap().get("ttl"), Some(""));
        assert_eq!(of("").unwrap().get("ttl"), None);
    }

    #[test]
    fn unknown_repeated_and_broken_parameters_are_refused() {
        for query in ["?TTL=5", "?x", "?ttl=1&ttl=1", "?ttl=%", "?ttl=%ff", "?ttl=1&%74tl=2"] {
            assert_eq!(of(query).unwrap_err(), Code::UnknownField, "{query}");
        }
    }
}
