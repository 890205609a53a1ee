//! One call over pooled HTTP/1.1 connections, and the loop that repeats it.
//!
//! Invariant: a call that may have reached the log is repeated only when [`Call::repeatable`] says that a repetition
//! has no second effect. Connections and their tasks belong to hyper-util's pool and end with it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Instant;

use crate::{
    Error, Options, Problem, Retry, RetryPolicy,
    options::{KV_TENANT, insert},
    retry,
};

/// Largest answer that is read, bytes: far above a batch's own bound.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Idle connections kept.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long an idle connection is kept: below the server's 60 s, so that it is not met while closing.
const IDLE_MAX: Duration = Duration::from_secs(45);

/// One call, to be made one or more times.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What the server was asked to wait, on top of the answer timeout.
    pub(crate) wait: Duration,
    /// Reads, and writes with an Idempotency-Key.
    pub(crate) repeatable: bool,
    /// Whether a status is an answer; any other is a problem.
    pub(crate) answers: fn(StatusCode) -> bool,
}

/// An answer, read whole.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct Transport {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
    tenant: Option<HeaderValue>,
    answer_timeout: Duration,
}

impl Transport {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let base = base_of(&options.server)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.connect_timeout));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        let mut tenant = HeaderMap::new();
        if let Some(name) = &options.tenant {
            insert(&mut tenant, KV_TENANT, name)?;
        }
        let tenant = tenant.remove(KV_TENANT);
        Ok(Self { pool, base, tenant, answer_timeout: options.answer_timeout })
    }

    /// Which server and whose keys: what an import's progress belongs to.
    pub(crate) fn scope(&self) -> String {
        let tenant = self.tenant.as_ref().and_then(|tenant| tenant.to_str().ok()).unwrap_or_default();
        format!("{} {tenant}", self.base)
    }

    /// Makes the call until it has an answer that stands, as the policy says. `notify` hears of every wait.
    pub(crate) async fn send(
        &self,
        call: &Call,
        policy: RetryPolicy,
        notify: &(dyn Fn(Retry<'_>) + Sync),
    ) -> Result<Reply, Error> {
        let began = Instant::now();
        let mut attempt = 0;
        loop {
            let error = match self.attempt(call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let asked = match &error {
                Error::Unavailable { retry_after, .. } => *retry_after,
                Error::Unknown { .. } if call.repeatable => None,
                _ => return Err(error),
            };
            let Some(delay) = policy.delay(attempt, asked, began.elapsed(), rand::random()) else {
                return Err(error);
            };
            tracing::debug!(%error, delay_ms = delay.as_millis(), "call is repeated");
            notify(Retry { error: &error, delay });
            tokio::time::sleep(delay).await;
            attempt = attempt.saturating_add(1);
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Reply, Error> {
        let answer = tokio::time::timeout(self.answer_timeout + call.wait, self.exchange(call));
        let reply = answer.await.unwrap_or_else(|_| {
            let cause = "no answer within the timeout".into();
            Err(Error::Unknown { problem: None, source: Some(cause) })
        })?;
        if (call.answers)(reply.status) {
            return Ok(reply);
        }
        let problem = Problem::parse(reply.status.as_u16(), &reply.body);
        Err(Error::from_problem(problem, retry::retry_after(&reply.headers)))
    }

    async fn exchange(&self, call: &Call) -> Result<Reply, Error> {
        let response = self.pool.request(self.request(call)?).await.map_err(|error| {
            let unreachable = error.is_connect();
            let source = Some(error.into());
            if unreachable {
                Error::Unavailable { problem: None, retry_after: None, source }
            } else {
                Error::Unknown { problem: None, source }
            }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|source| Error::Unknown { problem: None, source: Some(source) })?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = format!("{}{}", self.base, call.path)
            .parse()
            .map_err(|error| Error::invalid(format!("no such address: {error}")))?;
        *request.headers_mut() = call.headers.clone();
        if let Some(tenant) = &self.tenant {
            request.headers_mut().insert(KV_TENANT, tenant.clone());
        }
        Ok(request)
    }
}

/// Checks a server's address and strips the slash at its end.
fn base_of(server: &str) -> Result<String, Error> {
    let with_scheme = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let uri: Uri = with_scheme
        .parse()
        .map_err(|error| Error::invalid(format!("the server's address is no URL: {error}")))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(Error::invalid("https is not in this build; use http:// to a trusted address"));
        }
        _ => return Err(Error::invalid("the server's address begins with http://")),
    }
    if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
        return Err(Error::invalid("the server's address is http://host:port"));
    }
    Ok(with_scheme.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_its_scheme() {
        assert_eq!(base_of("127.0.0.1:7420").unwrap(), "http://127.0.0.1:7420");
        assert_eq!(base_of("http://h:1/pond/").unwrap(), "http://h:1/pond");
    }

    #[test]
    fn an_address_that_cannot_be_reached_is_refused() {
        for bad in ["https://h", "ftp://h", "http://", "http://h/?q", "a b"] {
            assert!(matches!(base_of(bad), Err(Error::Invalid(_))), "{bad}");
        }
    }
}
