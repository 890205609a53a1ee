//! Keeps other sites' pages in an operator's browser from asking `/admin`: they reach loopback as well as the operator.
//!
//! Not here: tokens. Invariant: where loopback alone lets a call in, the host that it names is this machine, so that no
//! name that somebody points at 127.0.0.1 makes a foreign page one of ours.

use std::net::IpAddr;

use axum::{
    extract::{Request, State as Shared},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::Authority};

use crate::{
    auth::Admission,
    problem::{Code, Problem},
};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// In front of `/admin`, before tokens are looked at.
pub(crate) async fn require(
    Shared(admission): Shared<Admission>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    // A token, which is checked next, is nothing that a browser adds by itself.
    let by_token = admission.auth.is_some() && request.headers().contains_key(header::AUTHORIZATION);
    let by_loopback = admission.loopback && !by_token;
    if let Some(why) = refusal(request.uri(), request.headers(), by_loopback) {
        return Err(Problem::new(Code::Forbidden, why));
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CORP.clone(), HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn refusal(uri: &Uri, headers: &HeaderMap, by_loopback: bool) -> Option<&'static str> {
    let host = host_of(uri, headers);
    if by_loopback && !host.as_ref().is_some_and(|host| is_this_machine(host.host())) {
        return Some("Host is to be localhost or a loopback address here");
    }
    let mut sites = headers.get_all(&SEC_FETCH_SITE).iter();
    if !sites.all(|site| site == "same-origin" || site == "none") {
        return Some("a page of another site may not ask this");
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let own = |origin: &HeaderValue| {
        let named = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        named.is_some_and(|(_, named)| {
            host.as_ref().is_some_and(|host| host.as_str().eq_ignore_ascii_case(named))
        })
    };
    (!origins.all(own)).then_some("a page of another origin may not ask this")
}

/// What the call says that it wants to reach.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let named = || headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    uri.authority().cloned().or_else(named)
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(headers: &[(&str, &str)], by_loopback: bool) -> bool {
        let lines = headers.iter().map(|(name, value)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        });
        refusal(&Uri::from_static("/admin/lag"), &lines.collect(), by_loopback).is_some()
    }

    #[test]
    fn loopback_is_reached_by_its_own_names_only() {
        for good in ["localhost", "LocalHost:7421", "127.0.0.1:7421", "127.8.0.1", "[::1]:7421", "[::1]"] {
            assert!(!is_refused(&[("host", good)], true), "{good}");
        }
        for bad in [
            "evil.example",
            "127.0.0.1.evil.example:7421",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "0.0.0.0",
        ] {
            assert!(is_refused(&[("host", bad)], true), "{bad}");
        }
        assert!(is_refused(&[], true), "HTTP/1.0 without a Host");
        assert!(!is_refused(&[("host", "ops.example")], false), "with a token any name will do");
    }

    #[test]
    fn only_pages_of_this_origin_may_ask() {
        let host = ("host", "localhost:7421");
        for good in [
            &[][..],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:7421")],
            &[("origin", "https://LOCALHOST:7421")],
        ] {
            assert!(!is_refused(&[&[host], good].concat(), true), "{good:?}");
        }
        for bad in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            &[("origin", "null")],
            &[("origin", "http://evil.example")],
            &[("origin", "http://localhost:7420")],
            &[("origin", "http://localhost")],
            &[("origin", "http://localhost:7421"), ("origin", "http://evil.example")],
        ] {
            for by_loopback in [true, false] {
                assert!(is_refused(&[&[host], bad].concat(), by_loopback), "{bad:?}");
            }
        }
    }
}
