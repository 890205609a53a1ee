//! What an api counts. Names end in their unit; labels come from fixed lists, never from a request.
//!
//! Invariant: a call adds to no more series than there are methods, routes and statuses.

use std::sync::atomic::AtomicU64;

use http::{Method, StatusCode};
use millpond_schemas::Outcome;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

/// Upper ends of the latency buckets, seconds.
const LATENCY_BUCKETS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    outcome: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct Latency;

impl MetricConstructor<Histogram> for Latency {
    fn new_metric(&self) -> Histogram {
        Histogram::new(LATENCY_BUCKETS)
    }
}

/// The api's metrics. A clone counts into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    calls: Family<Call, Counter>,
    latency: Family<Route, Histogram, Latency>,
    outcomes: Family<Became, Counter>,
    /// Connections open now.
    pub(crate) connections: Gauge,
    /// Calls being answered now.
    pub(crate) open_calls: Gauge,
    /// Calls waiting for an outcome or a watermark now.
    pub(crate) waiters: Gauge,
    /// Records acked by the log.
    pub(crate) log_records: Counter<u64, AtomicU64>,
    /// Bytes of those records.
    pub(crate) log_bytes: Counter<u64, AtomicU64>,
    /// Times that outcomes were missed and watermarks read from the shards.
    pub(crate) outcome_holes: Counter,
}

impl Metrics {
    /// Makes and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            latency: Family::new_with_constructor(Latency),
            outcomes: Family::default(),
            connections: Gauge::default(),
            open_calls: Gauge::default(),
            waiters: Gauge::default(),
            log_records: Counter::default(),
            log_bytes: Counter::default(),
            outcome_holes: Counter::default(),
        };
        let api = registry.sub_registry_with_prefix("millpond_api");
        api.register("requests", "Requests answered", metrics.calls.clone());
        api.register_with_unit(
            "request_duration",
            "From a request's head to its answer's",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        api.register("outcomes", "Outcomes told to waiting calls", metrics.outcomes.clone());
        api.register("connections", "Connections open now", metrics.connections.clone());
        api.register("open_requests", "Requests being answered now", metrics.open_calls.clone());
        api.register("waiters", "Calls waiting for an outcome or a watermark now", metrics.waiters.clone());
        api.register("log_records", "Records that the log has acked", metrics.log_records.clone());
        api.register_with_unit(
            "log",
            "Bytes of records that the log has acked",
            Unit::Bytes,
            metrics.log_bytes.clone(),
        );
        api.register(
            "outcome_holes",
            "Holes in what was heard of outcomes, filled from a shard",
            metrics.outcome_holes.clone(),
        );
        metrics
    }

    /// Counts one answered call.
    pub(crate) fn answered(&self, method: &Method, route: &'static str, status: StatusCode, seconds: f64) {
        let call = Call { method: method_label(method), route, status: status.as_u16() };
        self.calls.get_or_create(&call).inc();
        self.latency.get_or_create(&Route { route }).observe(seconds);
    }

    /// Counts one outcome that was told.
    pub(crate) fn told(&self, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Applied(_) => "applied",
            Outcome::Rejected(_) => "rejected",
            Outcome::Duplicate { .. } => "duplicate",
            Outcome::DeadLettered(_) => "dead_lettered",
        };
        self.outcomes.get_or_create(&Became { outcome }).inc();
    }
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn names_end_in_their_unit() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.answered(&Method::PUT, "/kv/{key}", StatusCode::ACCEPTED, 0.001);
        metrics.told(&Outcome::Applied(None));
        metrics.log_bytes.inc_by(5);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"millpond_api_requests_total{method="PUT",route="/kv/{key}",status="202"} 1"#,
            r#"millpond_api_request_duration_seconds_count{route="/kv/{key}"} 1"#,
            r#"millpond_api_outcomes_total{outcome="applied"} 1"#,
            "millpond_api_log_bytes_total 5",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
