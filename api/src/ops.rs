//! The ops listener: probes and metrics for everybody who can reach it, `/admin` only on loopback.
//!
//! Invariant: `/livez` depends on nothing, and no shard that is down makes `/readyz` fail.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State as Shared},
    response::Response,
    routing,
};
use http::{HeaderValue, StatusCode, header};
use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::{
    lag,
    problem::{Code, Problem},
    query::Query,
    routes::{no_method, no_route},
    state::App,
};

/// The media type of `OpenMetrics` text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a part of the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Ok,
    /// Something is wrong that does not keep this process from serving, such as a halted partition.
    Degraded,
    /// The process should not get calls now.
    Failed,
}

/// One line of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which part.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// Why, in words; may be empty. Holds no user bytes.
    pub detail: String,
}

/// Where further checks come from. Called at every probe: quick, and without waiting.
pub type Checks = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;

/// What the ops routes need.
#[derive(Clone)]
pub(crate) struct Ops {
    pub(crate) app: App,
    pub(crate) checks: Vec<Checks>,
    pub(crate) registry: Arc<Registry>,
}

/// The routes. `admin`: whether the listener is one that only this machine reaches.
pub(crate) fn routes(ops: Ops, admin: bool) -> Router {
    let lag = if admin { routing::get(lag::get) } else { routing::get(forbidden) };
    let lag = Router::new().route("/admin/lag", lag).with_state(Arc::clone(&ops.app));
    Router::new()
        .route("/livez", routing::get(live))
        .route("/readyz", routing::get(ready))
        .route("/metrics", routing::get(metrics))
        .with_state(ops)
        .merge(lag)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
}

async fn forbidden() -> Problem {
    Problem::new(Code::Forbidden, "/admin is served on loopback only")
}

async fn live() -> Response {
    text(StatusCode::OK, "ok\n".to_owned())
}

async fn ready(Shared(ops): Shared<Ops>, request: Request) -> Result<Response, Problem> {
    let verbose = Query::of(request.uri(), &["verbose"])?.get("verbose").is_some();
    let mut checks = own_checks(&ops.app);
    checks.extend(ops.checks.iter().flat_map(|check| check()));
    Ok(tell(&checks, verbose))
}

fn own_checks(app: &App) -> Vec<Check> {
    let check = |name: &str, fails: bool, why: &str| Check {
        name: name.to_owned(),
        health: if fails { Health::Failed } else { Health::Ok },
        detail: if fails { why.to_owned() } else { String::new() },
    };
    vec![
        check("serving", app.draining.is_cancelled(), "it is shutting down"),
        check("log", app.has_diverged(), "log-diverged: the log issued an offset again"),
    ]
}

fn tell(checks: &[Check], verbose: bool) -> Response {
    let failed = checks.iter().any(|check| check.health == Health::Failed);
    let mut lines = String::new();
    for check in checks.iter().filter(|check| verbose || check.health == Health::Failed) {
        let (sign, word) = match check.health {
            Health::Ok => ('+', "ok"),
            Health::Degraded => ('~', "degraded"),
            Health::Failed => ('-', "failed"),
        };
        let colon = if check.detail.is_empty() { "" } else { ": " };
        writeln!(lines, "[{sign}]{} {word}{colon}{}", check.name, check.detail)
            .expect("a string takes everything");
    }
    lines.push_str(if failed { "not ready\n" } else { "ok\n" });
    text(if failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, lines)
}

async fn metrics(Shared(ops): Shared<Ops>) -> Result<Response, Problem> {
    let mut exposition = String::new();
    encode(&mut exposition, &ops.registry)
        .map_err(|_| Problem::new(Code::Internal, "the metrics cannot be written"))?;
    let mut response = text(StatusCode::OK, exposition);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
    Ok(response)
}

fn text(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn check(health: Health) -> Check {
        Check { name: "partition-3".into(), health, detail: "log-gap".into() }
    }

    async fn told(checks: &[Check], verbose: bool) -> (u16, String) {
        let response = tell(checks, verbose);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_degraded_part_leaves_it_ready_and_a_failed_one_does_not() {
        assert_eq!(told(&[check(Health::Degraded)], false).await, (200, "ok\n".into()));
        assert_eq!(
            told(&[check(Health::Degraded)], true).await,
            (200, "[~]partition-3 degraded: log-gap\nok\n".into())
        );
        assert_eq!(
            told(&[check(Health::Failed)], false).await,
            (503, "[-]partition-3 failed: log-gap\nnot ready\n".into())
        );
    }
}
