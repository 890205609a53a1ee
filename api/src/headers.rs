//! Names of our headers, and reading a header that may come at most once.
//!
//! Invariant: what is made into a header value here is always a valid one.

use std::fmt::Display;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::{Code, Problem};

pub(crate) static KV_POSITION: HeaderName = HeaderName::from_static("kv-position");
pub(crate) static KV_MIN_POSITION: HeaderName = HeaderName::from_static("kv-min-position");
pub(crate) static KV_STALENESS_MS: HeaderName = HeaderName::from_static("kv-staleness-ms");
pub(crate) static KV_EXPIRES_AT: HeaderName = HeaderName::from_static("kv-expires-at");
pub(crate) static KV_TTL: HeaderName = HeaderName::from_static("kv-ttl");
pub(crate) static KV_TENANT: HeaderName = HeaderName::from_static("kv-tenant");
pub(crate) static KV_DUPLICATE: HeaderName = HeaderName::from_static("kv-duplicate");
pub(crate) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) static PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
pub(crate) static ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
pub(crate) static ACCEPT_QUERY: HeaderName = HeaderName::from_static("accept-query");

/// The one value of a header.
///
/// # Errors
/// A problem of `code`: it came twice, or is not printable ASCII.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    code: Code,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(code, format!("the header {name} came more than once")));
    }
    let text = value.to_str();
    text.map(Some)
        .map_err(|_| Problem::new(code, format!("the header {name} holds more than printable ASCII")))
}

/// A number, a position or a time as a header's value.
pub(crate) fn of_display(value: impl Display) -> HeaderValue {
    HeaderValue::try_from(value.to_string()).expect("numbers, positions and times are printable ASCII")
}

/// A position as a strong `ETag`.
pub(crate) fn etag(position: impl Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{position}\"")).expect("a position is printable ASCII")
}
