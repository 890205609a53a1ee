//! The ops listener: probes, metrics and an empty page for everybody who can reach it, `/admin` on loopback or with a
//! token.
//!
//! Invariant: `/livez` depends on nothing, and no shard that is down makes `/readyz` fail.

use std::{fmt::Write as _, sync::Arc, time::Instant};

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
    admin::{self, console, decisions::Decide, hot::HotKeys},
    auth::Admission,
    problem::{Code, Problem},
    query::Query,
    refreshes::Read,
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

impl Health {
    /// As it is told.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
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

/// What a process shows on its ops listener, whatever its role.
#[derive(Clone)]
pub struct Shown {
    /// What it is, such as `api`.
    pub role: &'static str,
    /// Besides the api's own.
    pub checks: Vec<Checks>,
    /// Its metrics.
    pub registry: Arc<Registry>,
    /// When it was started.
    pub started: Instant,
    /// The keys that are written most; none: the process does not write.
    pub hot: Option<HotKeys>,
    /// Makes operators' decisions; none: the process does not hold the control topic.
    pub decide: Option<Decide>,
}

impl Shown {
    /// Of a process that starts now.
    pub fn new(role: &'static str, checks: Vec<Checks>, registry: Registry) -> Self {
        Self { role, checks, registry: Arc::new(registry), started: Instant::now(), hot: None, decide: None }
    }

    /// Of a process that writes.
    #[must_use]
    pub fn writing(self, hot: HotKeys) -> Self {
        Self { hot: Some(hot), ..self }
    }

    /// Of a process that holds the control topic.
    #[must_use]
    pub fn deciding(self, decide: Decide) -> Self {
        Self { decide: Some(decide), ..self }
    }
}

/// What the ops routes need.
#[derive(Clone)]
pub(crate) struct Ops {
    /// None: the process has no api.
    pub(crate) app: Option<App>,
    pub(crate) shown: Shown,
}

impl Ops {
    /// Every check, as it is now.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let mut checks = self.app.as_ref().map(own_checks).unwrap_or_default();
        checks.extend(self.shown.checks.iter().flat_map(|check| check()));
        checks
    }
}

/// The routes; those of `/admin` for whom `admission` lets in.
pub(crate) fn routes(ops: Ops, admission: &Admission) -> Router {
    let admin = admin::routes(&ops, admission);
    Router::new()
        .route("/livez", routing::get(live))
        .route("/readyz", routing::get(ready))
        .route("/metrics", routing::get(metrics))
        .with_state(ops)
        .merge(admin)
        .merge(console::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
}

async fn live() -> Response {
    text(StatusCode::OK, "ok\n".to_owned())
}

async fn ready(Shared(ops): Shared<Ops>, request: Request) -> Result<Response, Problem> {
    let verbose = Query::of(request.uri(), &["verbose"])?.get("verbose").is_some();
    Ok(tell(&ops.checks(), verbose))
}

fn own_checks(app: &App) -> Vec<Check> {
    let check = |name: &str, fails: bool, why: &str| Check {
        name: name.to_owned(),
        health: if fails { Health::Failed } else { Health::Ok },
        detail: if fails { why.to_owned() } else { String::new() },
    };
    let outcomes = Check { name: "outcomes".to_owned(), ..of_shards(app) };
    // Reads go on, so it stays ready.
    let backlog = match app.backlog_full() {
        None => check("backlog", false, ""),
        Some(why) => Check {
            name: "backlog".to_owned(),
            health: Health::Degraded,
            detail: format!("backlog-full: nothing is accepted: {why}"),
        },
    };
    vec![
        check("serving", app.draining.is_cancelled(), "it is shutting down"),
        of_log(app),
        of_clock(app),
        outcomes,
        backlog,
    ]
}

/// Brokers that do not answer leave it ready: reads go on. A producer that has died is replaced in a moment, or has to be
/// looked at.
fn of_log(app: &App) -> Check {
    let (health, detail) = if app.has_diverged() {
        (Health::Failed, "log-diverged: the log is not the one that was written before")
    } else {
        match app.log.shut() {
            None => (Health::Ok, ""),
            Some(shut) => (if shut.dead { Health::Failed } else { Health::Degraded }, shut.reason),
        }
    };
    Check { name: "log".to_owned(), health, detail: detail.to_owned() }
}

/// Other writes go on.
fn of_clock(app: &App) -> Check {
    let (health, detail) = match app.clocks.count_apart() {
        0 => (Health::Ok, String::new()),
        count => {
            (Health::Degraded, format!("clock-skew: {count} partitions' clocks are more than 10 minutes off"))
        }
    };
    Check { name: "clock".to_owned(), health, detail }
}

/// At the start, and after outcomes were missed, calls wait for what only the shards can tell: the api is ready once
/// every shard was read since then, or did not answer. One that is down must not keep the api from taking writes; its
/// own calls wait for it alone.
fn of_shards(app: &App) -> Check {
    let named = |read: Read| {
        let names = app.refreshes.of(read).into_iter().filter_map(|index| app.shards.get(index));
        names.map(|shard| shard.name().to_owned()).collect::<Vec<_>>().join(", ")
    };
    let (open, unreachable) = (named(Read::Open), named(Read::Unreachable));
    let (health, detail) = match (open.is_empty(), unreachable.is_empty()) {
        (false, _) => (Health::Failed, format!("watermarks are being read: {open}")),
        (true, false) => (Health::Degraded, format!("no answer: {unreachable}")),
        (true, true) => (Health::Ok, String::new()),
    };
    Check { name: String::new(), health, detail }
}

fn tell(checks: &[Check], verbose: bool) -> Response {
    let failed = checks.iter().any(|check| check.health == Health::Failed);
    let mut lines = String::new();
    for check in checks.iter().filter(|check| verbose || check.health == Health::Failed) {
        let word = check.health.word();
        let sign = match check.health {
            Health::Ok => '+',
            Health::Degraded => '~',
            Health::Failed => '-',
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
    encode(&mut exposition, &ops.shown.registry)
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
