//! Around every call: its request id, its limits, its problem's body, its metrics.
//!
//! Invariant: every answer carries an X-Request-Id, and a problem's body says the same one; the last answer on a
//! connection says that it is.

use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::{
    headers::X_REQUEST_ID,
    metrics::Metrics,
    problem::{Code, Problem},
    routes, taken,
};

/// Longest URI, bytes: far above any key that is escaped byte by byte.
const URI_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of header names and values.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Longest X-Request-Id that is taken over, bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The outside of a router.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    inner: TowerToHyperService<Router>,
    metrics: Option<Metrics>,
}

impl Front {
    /// In front of these routes; with metrics, calls are counted.
    pub(crate) fn new(routes: Router, metrics: Option<Metrics>) -> Self {
        Self { inner: TowerToHyperService::new(routes), metrics }
    }

    /// Answers one request.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Response {
        let started = Instant::now();
        let _open = self.metrics.as_ref().map(|metrics| Open::new(&metrics.open_calls));
        let method = request.method().clone();
        let route = routes::label(request.uri());
        let id = request_id(request.headers());
        let (request, left) = taken::watched(request);
        let mut response = match too_large(&request) {
            Some(problem) => {
                drop(request);
                axum::response::IntoResponse::into_response(problem)
            }
            None => match self.inner.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        if !left.drained().await {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            tracing::debug!(code = problem.code().code(), %method, route, "a call ends with a problem");
            tell(&problem, &method, &id, &mut response);
        }
        response.headers_mut().insert(X_REQUEST_ID.clone(), id);
        if let Some(metrics) = &self.metrics {
            metrics.answered(&method, route, response.status(), started.elapsed().as_secs_f64());
        }
        response
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

/// Gives a problem its body.
fn tell(problem: &Problem, method: &Method, id: &HeaderValue, response: &mut Response) {
    let read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    let told = problem.told(read, id.to_str().ok());
    let body = serde_json::to_vec(&told).expect("a problem is plain JSON");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    *response.body_mut() = Body::from(body);
}

fn too_large<B>(request: &Request<B>) -> Option<Problem> {
    let uri = request.uri();
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES_MAX {
        return Some(Problem::new(Code::UriTooLong, "").limit(URI_BYTES_MAX));
    }
    let bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (bytes > HEADER_BYTES_MAX).then(|| Problem::new(Code::HeadersTooLarge, "").limit(HEADER_BYTES_MAX))
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
        .unwrap_or_else(|| crate::headers::of_display(format_args!("{:032x}", rand::random::<u128>())))
}

#[cfg(test)]
mod tests {
    use super::*;

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
