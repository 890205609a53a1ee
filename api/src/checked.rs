//! What every request is checked for before its route is looked for: its size, its Host, what it expects.
//!
//! Invariant: looks at the head only.

use http::{HeaderMap, Request, Version, header, uri::Authority};

use crate::problem::{Code, Problem};

/// Longest URI, bytes: far above any key that is escaped byte by byte.
const URI_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of header names and values.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Most headers; hyper's own limit in HTTP/1.
const HEADERS_MAX: usize = 100;

/// Why a request is refused; mostly none.
pub(crate) fn refuse<B>(request: &Request<B>) -> Option<Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES_MAX {
        return Some(Problem::new(Code::UriTooLong, "").limit(URI_BYTES_MAX));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        return Some(Problem::new(Code::HeadersTooLarge, "too many bytes").limit(HEADER_BYTES_MAX));
    }
    if headers.len() > HEADERS_MAX {
        return Some(Problem::new(Code::HeadersTooLarge, "too many headers").limit(HEADERS_MAX));
    }
    if request.version() == Version::HTTP_11 && !has_host(headers) {
        return Some(Problem::new(Code::HostInvalid, ""));
    }
    let unmet = request.version() >= Version::HTTP_11 && !can_be_met(headers);
    unmet.then(|| Problem::new(Code::ExpectationFailed, ""))
}

/// Whether there is one Host that could be one, or an empty one (RFC 9112, 3.2).
fn has_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.as_bytes();
    host.is_empty() || (Authority::try_from(host).is_ok() && !host.contains(&b'@'))
}

fn can_be_met(headers: &HeaderMap) -> bool {
    let mut expected = headers.get_all(header::EXPECT).iter();
    expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(version: Version, headers: &[(&str, &str)]) -> Option<Code> {
        let mut request = Request::builder().version(version).uri("/kv/a");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refuse(&request.body(()).unwrap()).map(|problem| problem.code())
    }

    #[test]
    fn http_1_1_names_its_host_once() {
        let of = |headers: &[(&str, &str)]| refused(Version::HTTP_11, headers);
        for good in ["pond", "pond:7420", "127.0.0.1:7420", "[::1]:7420", ""] {
            assert_eq!(of(&[("host", good)]), None, "{good}");
        }
        for bad in ["a b", "a/b", "user@pond", "pond:", "a,b c"] {
            let invalid = of(&[("host", bad)]);
            assert!(invalid == Some(Code::HostInvalid) || bad == "pond:", "{bad}");
        }
        assert_eq!(of(&[]), Some(Code::HostInvalid));
        assert_eq!(of(&[("host", "a"), ("host", "a")]), Some(Code::HostInvalid));
        assert_eq!(refused(Version::HTTP_10, &[]), None);
        assert_eq!(refused(Version::HTTP_2, &[]), None);
    }

    #[test]
    fn only_100_continue_can_be_expected() {
        let of = |value| refused(Version::HTTP_11, &[("host", "pond"), ("expect", value)]);
        assert_eq!(of("100-continue"), None);
        assert_eq!(of("100-Continue"), None);
        assert_eq!(of("tea"), Some(Code::ExpectationFailed));
        assert_eq!(of("100-continue, tea"), Some(Code::ExpectationFailed));
        assert_eq!(refused(Version::HTTP_10, &[("expect", "tea")]), None, "HTTP/1.0 knows no expectations");
    }

    #[test]
    fn a_head_has_a_size() {
        let uri = |bytes: usize| {
            let request =
                Request::builder().uri(format!("/kv/{}", "a".repeat(bytes))).version(Version::HTTP_2);
            refuse(&request.body(()).unwrap()).map(|problem| problem.code())
        };
        assert_eq!((uri(8 * 1024 - 4), uri(8 * 1024 - 3)), (None, Some(Code::UriTooLong)));
        let headers = |count: usize, bytes: usize| {
            let mut request = Request::builder().uri("/").version(Version::HTTP_2);
            for number in 0..count {
                request = request.header(format!("x-{number:03}"), "x".repeat(bytes));
            }
            refuse(&request.body(()).unwrap()).map(|problem| problem.code())
        };
        assert_eq!((headers(100, 1), headers(101, 1)), (None, Some(Code::HeadersTooLarge)));
        assert_eq!(
            (headers(1, 32 * 1024 - 5), headers(1, 32 * 1024 - 4)),
            (None, Some(Code::HeadersTooLarge))
        );
    }
}
