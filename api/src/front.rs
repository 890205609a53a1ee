//! Around every call: its request id, its limits, its problem's body, its metrics.
//!
//! Invariant: every answer carries an X-Request-Id, and a problem's body says the same one; the last answer on a
//! connection says that it is.

use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;
use millpond_trace::{Kind, Span, Tracer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::{
    calling::{self, Call},
    checked,
    headers::X_REQUEST_ID,
    metrics::{self, Metrics},
    problem::{Code, Problem},
    routes, taken,
    traceparent::Parent,
};

/// Longest X-Request-Id that is taken over, bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The outside of a router.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    inner: TowerToHyperService<Router>,
    metrics: Option<Metrics>,
    tracer: Tracer,
}

impl Front {
    /// In front of these routes; with metrics, calls are counted.
    pub(crate) fn new(routes: Router, metrics: Option<Metrics>) -> Self {
        Self { inner: TowerToHyperService::new(routes), metrics, tracer: Tracer::default() }
    }

    /// With a span per call.
    pub(crate) fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Answers one request.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Response {
        let started = Instant::now();
        let _open = self.metrics.as_ref().map(|metrics| Open::new(&metrics.open_calls));
        let method = request.method().clone();
        let route = routes::label(request.uri());
        let id = request_id(request.headers());
        let alone = request.version() != Version::HTTP_2;
        let takes_none = matches!(method, Method::GET | Method::HEAD | Method::DELETE);
        let (mut request, left) =
            if alone || !takes_none { taken::watched(request) } else { taken::without_body(request) };
        let parent = Parent::of(request.headers());
        let caller = parent.as_ref().map(Parent::context);
        if let Some(parent) = parent {
            request.extensions_mut().insert(parent);
        }
        let mut span = self.tracer.span(route, Kind::Server, caller);
        let call = Call { id: id.clone(), span: span.context().or(caller) };
        let mut response = match checked::refuse(&request) {
            Some(problem) => {
                drop(request);
                axum::response::IntoResponse::into_response(problem)
            }
            None => match calling::within(call, self.inner.call(request)).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        // In HTTP/2 what is left is the stream's alone; some clients forget an answer that came before they were done.
        if !left.drained().await && alone {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let (code, request_id) = (problem.code().code(), id.to_str().unwrap_or_default());
            tracing::debug!(request_id, code, %method, route, "a call ends with a problem");
            tell(&problem, is_read(&method, route), &id, &mut response);
            if let Some(metrics) = &self.metrics {
                metrics.refused(problem.code().code());
            }
        }
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            // Where nobody knows better.
            response.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
        }
        if span.is_recorded() {
            tell_span(&mut span, (&method, route), &id, response.status());
        }
        if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            // HTTP/1 leaves it out by itself.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        response.headers_mut().insert(X_REQUEST_ID.clone(), id);
        if let Some(metrics) = &self.metrics {
            metrics.answered(&method, route, response.status(), started.elapsed().as_secs_f64());
        }
        response
    }

    /// For a request whose head cannot be read: its id, and the body of its problem. `begun`: as much as was read.
    pub(crate) fn refused(&self, code: Code, begun: &[u8]) -> (String, Vec<u8>) {
        let id = new_request_id();
        tracing::debug!(request_id = id, code = code.code(), "a head cannot be read");
        if let Some(metrics) = &self.metrics {
            // It is no method that anybody knows.
            metrics.answered(&Method::CONNECT, "other", code.status(), 0.0);
        }
        let problem = Problem::new(code, "");
        let body = serde_json::to_vec(&problem.told(begins_as_read(begun), Some(&id)))
            .expect("a problem is plain JSON");
        (id, body)
    }
}

/// Counts a call while it is open, however it ends.
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

/// The client's id when it is sane, else a random one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
    };
    headers
        .get(&X_REQUEST_ID)
        .filter(sane)
        .cloned()
        .unwrap_or_else(|| crate::headers::of_display(new_request_id()))
}

fn new_request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
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

    #[test]
    fn a_sane_request_id_is_taken_over_and_any_other_replaced() {
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            request_id(&HeaderMap::from_iter([(X_REQUEST_ID.clone(), value)]))
        };
        assert_eq!(of("abc-123_X.y:z/+="), "abc-123_X.y:z/+=");
        for bad in ["", "a b", "<script>", "\"x\"", &"a".repeat(129)] {
            let id = of(bad);
            assert_ne!(id, bad);
            assert_eq!(id.len(), 32);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
