//! Tokens in headers, and what each is let do.

use http::StatusCode;
use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;

struct Door {
    auth: Auth,
    tokens: watch::Sender<Arc<Tokens>>,
    registry: Registry,
}

fn token(secret: &str, tenants: Tenants, scopes: &[Scope]) -> Token {
    let hash = TokenHash::of(secret.as_bytes());
    Token { hash, tenants, scopes: scopes.to_vec(), name: Some(secret.to_owned()), expires_at: None }
}

fn these(names: &[&'static str]) -> Tenants {
    Tenants::These(names.iter().map(|name| Tenant::new(*name).unwrap()).collect())
}

fn door() -> Door {
    use Scope::{Admin, Read, Write};
    let known = [
        token("reader", these(&["a"]), &[Read]),
        token("writer", these(&["b", "c"]), &[Read, Write]),
        token("any", Tenants::Any, &[Read]),
        token("operator", these(&[]), &[Read, Admin]),
        Token { expires_at: Some(UnixMillis(1000)), ..token("old", these(&["a"]), &[Read]) },
        // Whoever writes down the hash of nothing lets nobody in.
        token("", Tenants::Any, &[Read]),
    ];
    let (tokens, receiver) = watch::channel(Arc::new(Tokens::new(known).ok().unwrap()));
    let mut registry = Registry::default();
    let auth = Auth::new(receiver, Clock::System, Metrics::register(&mut registry));
    Door { auth, tokens, registry }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    lines.iter().map(line).collect()
}

fn bearing(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

/// What a refusal tells its client: status, members, headers.
fn told(problem: Problem) -> (StatusCode, String, HeaderMap) {
    let members = serde_json::to_string(&problem.told(true, None)).unwrap();
    let response = axum::response::IntoResponse::into_response(problem);
    (response.status(), members, response.headers().clone())
}

#[test]
fn missing_malformed_unknown_and_expired_tokens_are_told_the_same() {
    let door = door();
    let refused = |headers: &HeaderMap| told(door.auth.caller(headers, Scope::Read).unwrap_err());
    let first = refused(&HeaderMap::new());
    assert_eq!(first.0, 401);
    assert_eq!(first.2["www-authenticate"], "Bearer realm=\"millpond\"");
    let twice = headers(&[("authorization", "Bearer reader"), ("authorization", "Bearer reader")]);
    for same in [
        bearing("nobody"),
        bearing("old"),
        bearing(""),
        bearing("reader x"),
        bearing("read\"er"),
        bearing(&"x".repeat(TOKEN_BYTES_MAX + 1)),
        headers(&[("authorization", "Bearer")]),
        headers(&[("authorization", "reader")]),
        headers(&[("authorization", "Basic reader")]),
        headers(&[("authorization", " Bearer reader")]),
        headers(&[("authorization", "Bearer ré")]),
        twice,
    ] {
        assert_eq!(refused(&same), first, "{same:?}");
    }
    let mut text = String::new();
    encode(&mut text, &door.registry).unwrap();
    for (reason, calls) in [("missing", 1), ("unknown", 1), ("expired", 1), ("malformed", 10)] {
        let line = format!("millpond_api_unauthenticated_total{{reason=\"{reason}\"}} {calls}\n");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn the_tenant_is_the_tokens_and_kv_tenant_only_selects() {
    let door = door();
    let of = |token: &str, named: Option<&str>| {
        let mut headers = bearing(token);
        if let Some(named) = named {
            headers.insert("kv-tenant", HeaderValue::from_str(named).unwrap());
        }
        let caller = door.auth.caller(&headers, Scope::Read);
        caller.map(|caller| caller.tenant.to_string()).map_err(|problem| problem.code())
    };
    let ok = |name: &str| Ok(name.to_owned());
    assert_eq!(of("reader", None), ok("a"));
    assert_eq!(of("reader", Some("a")), ok("a"));
    assert_eq!(of("reader", Some("b")), Err(Code::TenantUnknown));
    assert_eq!(of("reader", Some("default")), Err(Code::TenantUnknown));
    assert_eq!(of("reader", Some("A b")), Err(Code::TenantInvalid));
    assert_eq!(of("writer", None), ok("b"));
    assert_eq!(of("writer", Some("c")), ok("c"));
    assert_eq!(of("any", None), ok("default"));
    assert_eq!(of("any", Some("z")), ok("z"));
    assert_eq!(of("operator", None), Err(Code::TenantUnknown));
    assert_eq!(of("bEaReR", None), Err(Code::Unauthenticated));
    let odd = headers(&[("authorization", "bEaReR   reader")]);
    assert!(door.auth.caller(&odd, Scope::Read).is_ok(), "a scheme has no case");
}

#[test]
fn a_scope_that_is_missing_is_named() {
    let door = door();
    let refused = door.auth.caller(&bearing("reader"), Scope::Write).unwrap_err();
    let (status, members, headers) = told(refused);
    assert_eq!(status, 403);
    assert!(members.contains("\"forbidden\"") && members.contains("scope write"), "{members}");
    let challenge = "Bearer realm=\"millpond\", error=\"insufficient_scope\", scope=\"write\"";
    assert_eq!(headers["www-authenticate"], challenge);
    assert!(door.auth.caller(&bearing("writer"), Scope::Write).is_ok());
    let admin = door.auth.token(&bearing("writer")).unwrap();
    assert!(door.auth.allow(&admin, Scope::Admin).is_err(), "nothing implies admin");
}

#[test]
fn only_what_is_known_to_change_nothing_is_a_read() {
    let of = |method: &str, path: &str| scope_of(&Method::from_bytes(method.as_bytes()).unwrap(), path);
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"] {
        assert_eq!(of(method, "/kv/a"), Scope::Read, "{method}");
    }
    for method in ["PUT", "POST", "PATCH", "DELETE", "MOVE"] {
        assert_eq!(of(method, "/kv/a"), Scope::Write, "{method}");
    }
    assert_eq!(of("POST", "/kv/query"), Scope::Read);
    assert_eq!(of("PUT", "/kv/query"), Scope::Write);
    assert_eq!(of("POST", "/batch"), Scope::Write);
}

#[test]
fn only_what_is_of_no_tenant_is_public() {
    for path in ["/version", "/openapi.json", "/docs", "/docs/", "/docs/a", "/schemas/mutation.proto"] {
        assert!(is_public(&Method::GET, path), "{path}");
        assert!(!is_public(&Method::PUT, path), "{path}");
    }
    for path in ["/", "/versions", "/kv/version", "/docsx", "/kv/docs/", "/%76ersion", "//version"] {
        assert!(!is_public(&Method::GET, path), "{path}");
    }
}

#[test]
fn a_token_that_is_taken_away_stops_at_once() {
    let door = door();
    assert!(door.auth.caller(&bearing("reader"), Scope::Read).is_ok());
    door.tokens.send_replace(Arc::default());
    assert!(door.auth.caller(&bearing("reader"), Scope::Read).is_err());
}

#[test]
fn lines_of_a_kind_are_a_second_apart_and_count_what_they_leave_out() {
    let paced = Paced::default();
    let of = |ms| paced.turn(UnixMillis(ms));
    assert_eq!([of(5000), of(5001), of(5999), of(6000)], [Some(0), None, None, Some(2)]);
    assert_eq!([of(6001), of(1000), of(1001)], [None, Some(1), None]);
}
