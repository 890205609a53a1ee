//! One call over pooled HTTP/1.1 connections, and the loop that repeats it.
//!
//! Invariant: a call that may have reached the log is repeated only when [`Call::repeatable`] says that a repetition
//! has no second effect. Connections and their tasks belong to hyper-util's pool and end with it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Instant;

use crate::{
    Error, Options, Problem, Retry, RetryPolicy, Token,
    error::ANSWER_TOO_LARGE,
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
    token: Option<Token>,
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
        let token = options.token.clone();
        Ok(Self { pool, base, tenant, token, answer_timeout: options.answer_timeout })
    }

    /// Which server and whose keys: what an import's progress belongs to.
    pub(crate) fn scope(&self) -> String {
        let tenant = self.tenant.as_ref().and_then(|tenant| tenant.to_str().ok()).map(str::to_owned);
        // Only the server knows whose keys a token means: two tokens must not go on with one another's progress.
        let token = || self.token.as_ref().map(|token| format!("{:016x}", token.fingerprint()));
        format!("{} {}", self.base, tenant.or_else(token).unwrap_or_default())
    }

    /// Makes the call until it has an answer that stands, as the policy says. `notify` hears of every wait.
    pub(crate) async fn send(
        &self,
        call: &Call,
        policy: RetryPolicy,
        notify: &(dyn Fn(Retry<'_>) + Sync),
    ) -> Result<Reply, Error> {
        let mut tries = Tries::of(call, policy, notify);
        loop {
            match self.attempt(call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// As [`Transport::send`], but answers once the head has come: the body, and how long to wait for each part of it.
    pub(crate) async fn stream(
        &self,
        call: &Call,
        policy: RetryPolicy,
    ) -> Result<(Incoming, Duration), Error> {
        let mut tries = Tries::of(call, policy, &|_| {});
        loop {
            match self.begin(call).await {
                Ok(body) => return Ok((body, self.answer_timeout)),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    async fn begin(&self, call: &Call) -> Result<Incoming, Error> {
        let head = async { self.pool.request(self.request(call)?).await.map_err(unanswered) };
        let response = within(self.answer_timeout, head).await?;
        if (call.answers)(response.status()) {
            return Ok(response.into_body());
        }
        let reply = within(self.answer_timeout, whole(response)).await?;
        Err(refused(&reply))
    }

    async fn attempt(&self, call: &Call) -> Result<Reply, Error> {
        let reply = within(self.answer_timeout + call.wait, self.exchange(call)).await?;
        if (call.answers)(reply.status) { Ok(reply) } else { Err(refused(&reply)) }
    }

    async fn exchange(&self, call: &Call) -> Result<Reply, Error> {
        whole(self.pool.request(self.request(call)?).await.map_err(unanswered)?).await
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
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.header().clone());
        }
        Ok(request)
    }
}

/// A call that is made one or more times.
struct Tries<'a> {
    call: &'a Call,
    policy: RetryPolicy,
    notify: &'a (dyn Fn(Retry<'_>) + Sync),
    began: Instant,
    failed: u32,
}

impl<'a> Tries<'a> {
    fn of(call: &'a Call, policy: RetryPolicy, notify: &'a (dyn Fn(Retry<'_>) + Sync)) -> Self {
        Self { call, policy, notify, began: Instant::now(), failed: 0 }
    }

    /// Waits until it may be made again.
    ///
    /// # Errors
    /// The one that was met, when it stands.
    async fn again(&mut self, error: Error) -> Result<(), Error> {
        let asked = match &error {
            Error::Unavailable { retry_after, .. } => *retry_after,
            Error::Unknown { .. } if self.call.repeatable => None,
            _ => return Err(error),
        };
        let delay = self.policy.delay(self.failed, asked, self.began.elapsed(), rand::random());
        let Some(delay) = delay else { return Err(error) };
        tracing::debug!(%error, delay_ms = delay.as_millis(), "call is repeated");
        (self.notify)(Retry { error: &error, delay });
        tokio::time::sleep(delay).await;
        self.failed = self.failed.saturating_add(1);
        Ok(())
    }
}

async fn within<T>(time: Duration, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(time, answer).await.unwrap_or_else(|_| {
        let cause = "no answer within the timeout".into();
        Err(Error::Unknown { problem: None, source: Some(cause) })
    })
}

fn unanswered(error: hyper_util::client::legacy::Error) -> Error {
    let unreachable = error.is_connect();
    let source = Some(error.into());
    if unreachable {
        Error::Unavailable { problem: None, retry_after: None, source }
    } else {
        Error::Unknown { problem: None, source }
    }
}

fn refused(reply: &Reply) -> Error {
    let problem = Problem::parse(reply.status.as_u16(), &reply.body);
    Error::from_problem(problem, retry::retry_after(&reply.headers))
}

async fn whole(response: Response<Incoming>) -> Result<Reply, Error> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|source| {
        if source.is::<LengthLimitError>() {
            Error::Protocol(ANSWER_TOO_LARGE.to_owned())
        } else {
            Error::Unknown { problem: None, source: Some(source) }
        }
    })?;
    let body = body.to_bytes();
    Ok(Reply { status: head.status, headers: head.headers, body })
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
