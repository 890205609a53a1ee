//! Around every call: its request id, its limits, its problem's body, its metrics.
//!
//! Invariant: every answer carries an X-Request-Id, and a problem's body says the same one; the last answer on a
//! connection says that it is.

use std::{future::ready, sync::Arc};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;
use millpond_trace::{Kind, Span, Tracer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::{
    answering::{Answering, Work},
    calling::{self, Call},
    checked,
    headers::X_REQUEST_ID,
    metrics::{self, Metrics},
    problem::{Code, Problem},
    read,
    request_id::RequestId,
    routes::{self, OfKey},
    state::App,
    taken::{self, Watched},
    traceparent::Parent,
    write,
};

/// The outside of a router. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Front(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    inner: TowerToHyperService<Router>,
    /// Where a put and a get of a key go without the router, which costs as much again as a put. None: all go through it.
    direct: Option<App>,
    metrics: Option<Metrics>,
    tracer: Tracer,
}

impl Front {
    /// In front of these routes.
    pub(crate) fn new(routes: Router) -> Self {
        let inner = TowerToHyperService::new(routes);
        Self(Arc::new(Inside { inner, direct: None, metrics: None, tracer: Tracer::default() }))
    }

    /// In front of the api: calls are counted, with a span each.
    pub(crate) fn of_api(app: &App) -> Self {
        Self(Arc::new(Inside {
            inner: TowerToHyperService::new(routes::api(Arc::clone(app))),
            // Where there are tokens, every call passes them first.
            direct: app.auth.is_none().then(|| Arc::clone(app)),
            metrics: Some(app.metrics.clone()),
            tracer: app.tracer.clone(),
        }))
    }

    /// Answers one request.
    pub(crate) fn answer(&self, request: Request<Incoming>) -> Answering {
        let inside = &*self.0;
        let open = inside.metrics.as_ref().map(|metrics| Open::new(&metrics.open_calls));
        let started = Instant::now();
        let method = request.method().clone();
        let route = routes::label(request.uri());
        let id = RequestId::of(request.headers());
        let alone = request.version() != Version::HTTP_2;
        let takes_none = matches!(method, Method::GET | Method::HEAD | Method::DELETE);
        let (mut request, left) =
            if alone || !takes_none { taken::watched(request) } else { taken::without_body(request) };
        let parent = Parent::of(request.headers());
        let caller = parent.as_ref().map(Parent::context);
        if let Some(parent) = parent {
            request.extensions_mut().insert(parent);
        }
        let span = inside.tracer.span(route, Kind::Server, caller);
        let call = Call { id: id.clone(), span: span.context().or(caller).map(Box::new) };
        let work: Work = match checked::refuse(&request) {
            Some(problem) => Box::pin(ready(problem.into_response())),
            None => inside.work(call, request),
        };
        let around = Around { front: self.clone(), started, method, route, id, alone, span, _open: open };
        Answering::new(around, work, left)
    }

    /// For a request whose head cannot be read: its id, and the body of its problem. `begun`: as much as was read.
    pub(crate) fn refused(&self, code: Code, begun: &[u8]) -> (String, Vec<u8>) {
        let id = RequestId::new().to_string();
        tracing::debug!(request_id = id, code = code.code(), "a head cannot be read");
        if let Some(metrics) = &self.0.metrics {
            // It is no method that anybody knows.
            metrics.answered(&Method::CONNECT, "other", code.status(), 0.0);
        }
        let problem = Problem::new(code, "");
        let body = serde_json::to_vec(&problem.told(begins_as_read(begun), Some(&id)))
            .expect("a problem is plain JSON");
        (id, body)
    }
}

impl Inside {
    /// What answers a request that nothing is wrong with at first sight.
    fn work(&self, call: Call, request: Request<Watched>) -> Work {
        if let Some(app) = &self.direct
            && let Some(of_key) = OfKey::of(&request)
        {
            let request = request.map(Body::new);
            return match of_key {
                OfKey::Put => Box::pin(calling::within(call, write::put_key(app, request))),
                OfKey::Get => Box::pin(calling::within(call, read::get_key(app, request))),
            };
        }
        let routed = self.inner.call(request).map(|answer| match answer {
            Ok(response) => response,
            Err(never) => match never {},
        });
        Box::pin(calling::within(call, routed))
    }
}

/// What is known of a call beside its work.
#[derive(Debug)]
pub(crate) struct Around {
    front: Front,
    started: Instant,
    method: Method,
    route: &'static str,
    id: RequestId,
    /// HTTP/1: it has its connection to itself.
    alone: bool,
    span: Span,
    _open: Option<Open>,
}

impl Around {
    /// Makes an answer one of ours. `drained`: nothing is left of its request.
    pub(crate) fn end(&mut self, mut response: Response, drained: bool) -> Response {
        // In HTTP/2 what is left is the stream's alone; some clients forget an answer that came before they were done.
        if !drained && self.alone {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let id = self.id.value();
        let metrics = self.front.0.metrics.as_ref();
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let (code, request_id) = (problem.code().code(), id.to_str().unwrap_or_default());
            let (method, route) = (&self.method, self.route);
            tracing::debug!(request_id, code, %method, route, "a call ends with a problem");
            tell(&problem, is_read(method, route), &id, &mut response);
            if let Some(metrics) = metrics {
                metrics.refused(problem.code().code());
            }
        }
        let status = response.status();
        let headers = response.headers_mut();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            // Where nobody knows better.
            headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
        }
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            // HTTP/1 leaves it out by itself.
            headers.remove(header::CONTENT_LENGTH);
        }
        if self.span.is_recorded() {
            tell_span(&mut self.span, (&self.method, self.route), &id, status);
        }
        headers.insert(X_REQUEST_ID.clone(), id);
        if let Some(metrics) = metrics {
            metrics.answered(&self.method, self.route, status, self.started.elapsed().as_secs_f64());
        }
        response
    }
}

/// Counts a call while it is open, however it ends.
#[derive(Debug)]
struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether a call could not have logged anything.
fn is_read(method: &Method, route: &str) -> bool {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::QUERY];
    safe.contains(method) || (*method == Method::POST && route == "/kv/query")
}

/// By the conventions of OpenTelemetry; no path, as a key is in it.
fn tell_span(
    span: &mut Span,
    (method, route): (&Method, &'static str),
    id: &HeaderValue,
    status: StatusCode,
) {
    let method = metrics::method_label(method);
    span.rename(|| format!("{method} {route}"));
    span.set("http.request.method", method);
    span.set("http.route", route);
    span.set("http.response.status_code", i64::from(status.as_u16()));
    span.set("millpond.request_id", id.to_str().unwrap_or_default());
    if status.is_server_error() {
        span.fail("");
    }
}

/// Whether a head begins as a call that could not have logged anything.
fn begins_as_read(begun: &[u8]) -> bool {
    let mut words = begun.split(|byte| matches!(byte, b' ' | b'?' | b'\r' | b'\n'));
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let route = if words.next() == Some(b"/kv/query") { "/kv/query" } else { "other" };
    method.is_some_and(|method| is_read(&method, route))
}

/// Gives a problem its body.
fn tell(problem: &Problem, read: bool, id: &HeaderValue, response: &mut Response) {
    let told = problem.told(read, id.to_str().ok());
    let body = serde_json::to_vec(&told).expect("a problem is plain JSON");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    *response.body_mut() = Body::from(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_begins_as_a_read_is_one() {
        for read in
            ["GET /kv/a", "HEAD /kv/a", "QUERY /kv HTTP/1.1\r\n", "POST /kv/query?x", "POST /kv/query HTTP"]
        {
            assert!(begins_as_read(read.as_bytes()), "{read}");
        }
        for other in
            ["", "PUT /kv/a", "POST /kv/queryx", "POST /batch", "GE", "get /kv/a", "\u{16}\u{3}\u{1}"]
        {
            assert!(!begins_as_read(other.as_bytes()), "{other}");
        }
    }
}
