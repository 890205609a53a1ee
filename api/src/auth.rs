//! Who calls, and whether they may: in front of every route, before a byte of a body is read.
//!
//! Not here: where tokens come from. Invariant: a missing, malformed, unknown or expired token takes one way through
//! the code to one answer; nothing that a client says is logged but the name of a tenant.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use axum::{
    extract::{Request, State as Shared},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, header};
use millpond_log::Clock;
use millpond_schemas::{Tenant, UnixMillis};
use tokio::sync::watch;

use crate::{
    call,
    metrics::Metrics,
    problem::{Code, Problem},
    state::App,
    tokens::{Scope, Tenants, Token, TokenHash, Tokens},
};

/// The target of log lines about who was refused.
const AUDIT: &str = "audit";
/// Longest token that is looked at, bytes.
const TOKEN_BYTES_MAX: usize = 512;
/// Least time between two audit lines of a kind: refusals cost the one who is refused, not the log.
const AUDIT_EVERY_MS: i64 = 1000;
/// What may be read without a token, beside all below it: nothing there is of any tenant.
const PUBLIC: [&str; 4] = ["/version", "/openapi.json", "/docs", "/schemas"];
const SCHEME: &str = "Bearer";

/// Checks tokens.
#[derive(Debug)]
pub(crate) struct Auth {
    tokens: watch::Receiver<Arc<Tokens>>,
    clock: Clock,
    metrics: Metrics,
    unauthenticated: Paced,
    foreign: Paced,
    unscoped: Paced,
}

/// Whose keys a call is about, as its token allows.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Every record key of the call begins with it.
    pub(crate) tenant: Tenant,
}

/// Who may reach `/admin`.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    /// Only this machine reaches the listener.
    pub(crate) loopback: bool,
    /// None: there are no tokens.
    pub(crate) auth: Option<Arc<Auth>>,
}

/// In front of the api's routes.
pub(crate) async fn require(
    Shared(app): Shared<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(auth) = &app.auth
        && !is_public(request.method(), request.uri().path())
    {
        let scope = scope_of(request.method(), request.uri().path());
        let caller = auth.caller(request.headers(), scope)?;
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

/// In front of `/admin`.
pub(crate) async fn require_admin(
    Shared(admission): Shared<Admission>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Admission { loopback, auth } = &admission;
    match auth {
        None if !loopback => return Err(Problem::new(Code::Forbidden, "/admin is served on loopback only")),
        Some(auth) if !loopback || request.headers().contains_key(header::AUTHORIZATION) => {
            let token = auth.token(request.headers())?;
            auth.allow(&token, Scope::Admin)?;
        }
        None | Some(_) => {}
    }
    Ok(next.run(request).await)
}

/// What a call of this method and path needs to be allowed. What is not known to change nothing, changes something.
fn scope_of(method: &Method, path: &str) -> Scope {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::QUERY => Scope::Read,
        Method::POST if path == "/kv/query" => Scope::Read,
        _ => Scope::Write,
    }
}

fn is_public(method: &Method, path: &str) -> bool {
    let below =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    matches!(*method, Method::GET | Method::HEAD) && PUBLIC.into_iter().any(below)
}

impl Auth {
    pub(crate) fn new(tokens: watch::Receiver<Arc<Tokens>>, clock: Clock, metrics: Metrics) -> Self {
        let paced = Paced::default;
        Self { tokens, clock, metrics, unauthenticated: paced(), foreign: paced(), unscoped: paced() }
    }

    /// The caller of a call that needs `scope`.
    ///
    /// # Errors
    /// 401: no valid token. 403: its scope is missing. 404: another tenant was named, whether it has keys or not.
    /// 400: what was named is no tenant.
    fn caller(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, Problem> {
        let token = self.token(headers)?;
        self.allow(&token, scope)?;
        Ok(Caller { tenant: self.tenant_of(&token, call::named_tenant(headers)?)? })
    }

    /// Whose keys a call to `/admin` may read: as [`Self::caller`], but for where the tenant was named.
    pub(crate) fn tenant_to_read(
        &self,
        headers: &HeaderMap,
        named: Option<Tenant>,
    ) -> Result<Tenant, Problem> {
        let token = self.token(headers)?;
        self.allow(&token, Scope::Read)?;
        self.tenant_of(&token, named)
    }

    fn tenant_of(&self, token: &Token, named: Option<Tenant>) -> Result<Tenant, Problem> {
        let tenant = match (&token.tenants, named) {
            (Tenants::Any, named) => named.unwrap_or_else(call::tenant_default),
            (Tenants::These(tenants), None) => tenants.first().cloned().ok_or_else(no_tenant)?,
            (Tenants::These(tenants), Some(named)) if tenants.contains(&named) => named,
            (Tenants::These(_), Some(named)) => return Err(self.is_foreign(token, &named)),
        };
        Ok(tenant)
    }

    /// The token that came with a call.
    fn token(&self, headers: &HeaderMap) -> Result<Arc<Token>, Problem> {
        let now = self.clock.now();
        let presented = presented(headers);
        // What is no token is looked up like one, so that nobody can time which of the four it was.
        let hash = TokenHash::of(presented.unwrap_or_default().as_bytes());
        let found = self.tokens.borrow().find(hash);
        let reason = match (presented, found) {
            (Ok(_), Some(token)) if !token.is_expired(now) => return Ok(token),
            (Ok(_), Some(_)) => "expired",
            (Ok(_), None) => "unknown",
            (Err(reason), _) => reason,
        };
        self.metrics.unauthenticated(reason);
        if let Some(unsaid) = self.unauthenticated.turn(now) {
            tracing::warn!(target: AUDIT, reason, unsaid, "a call without a valid token was refused");
        }
        Err(Problem::new(Code::Unauthenticated, "send Authorization: Bearer with a valid token")
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"millpond\"")))
    }

    fn allow(&self, token: &Token, scope: Scope) -> Result<(), Problem> {
        if token.allows(scope) {
            return Ok(());
        }
        let (word, name) = (scope.word(), token.label());
        if let Some(unsaid) = self.unscoped.turn(self.clock.now()) {
            tracing::warn!(target: AUDIT, token = name, scope = word, unsaid, "a token lacks a scope");
        }
        let challenge = format!("Bearer realm=\"millpond\", error=\"insufficient_scope\", scope=\"{word}\"");
        let challenge = HeaderValue::try_from(challenge).expect("a scope is a word");
        Err(Problem::new(Code::Forbidden, format!("this needs a token with the scope {word}"))
            .header(header::WWW_AUTHENTICATE, challenge))
    }

    fn is_foreign(&self, token: &Token, named: &Tenant) -> Problem {
        let (name, tenant) = (token.label(), named.as_str());
        if let Some(unsaid) = self.foreign.turn(self.clock.now()) {
            tracing::warn!(target: AUDIT, token = name, tenant, unsaid, "a token named a tenant that is not its own");
        }
        no_tenant()
    }
}

fn no_tenant() -> Problem {
    Problem::new(Code::TenantUnknown, "")
}

/// The token in a request's headers, or why there is none.
fn presented(headers: &HeaderMap) -> Result<&str, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err("missing"),
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Err("malformed"),
    };
    let (scheme, token) = value.split_once(' ').unwrap_or_default();
    let token = token.trim_start_matches(' ');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let sound = scheme.eq_ignore_ascii_case(SCHEME)
        && (1..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(plain);
    if sound { Ok(token) } else { Err("malformed") }
}

/// Lets one line through now and then.
#[derive(Debug)]
struct Paced {
    last_ms: AtomicI64,
    unsaid: AtomicU64,
}

impl Default for Paced {
    fn default() -> Self {
        Self { last_ms: AtomicI64::new(i64::MIN), unsaid: AtomicU64::new(0) }
    }
}

impl Paced {
    /// Whether it is time for a line, and how many were left out since the last one.
    fn turn(&self, now: UnixMillis) -> Option<u64> {
        let last = self.last_ms.load(Ordering::Relaxed);
        // Also when the clock went back.
        let due = now.0.abs_diff(last) >= AUDIT_EVERY_MS.unsigned_abs();
        let swap = || self.last_ms.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed);
        if due && swap().is_ok() {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests;
