//! What an api counts. Names end in their unit; labels come from fixed lists, never from a request.
//!
//! Invariant: a call adds to no more series than there are methods, routes and statuses.

use http::{Method, StatusCode};
use millpond_schemas::{Op, Outcome};
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Unauthenticated {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    op: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: &'static str,
}

/// Names of the operations, as [`place`] orders them.
const OPS: [&str; 7] = ["put", "delete", "ttl", "increment", "append", "merge_patch", "json_patch"];

/// Where an operation stands in [`OPS`].
pub(crate) fn place(op: &Op) -> usize {
    match op {
        Op::Put { .. } => 0,
        Op::Delete => 1,
        Op::Ttl { .. } => 2,
        Op::Increment { .. } => 3,
        Op::Append { .. } => 4,
        Op::MergePatch { .. } => 5,
        Op::JsonPatch { .. } => 6,
    }
}

/// Mutations that the log has acked, and bytes of their records, by [`place`].
pub(crate) type Ingested = [(u64, u64); OPS.len()];

/// Each reason is there from the first, so that its increase can be told.
fn unauthenticated() -> Family<Unauthenticated, Counter> {
    let family = Family::default();
    for reason in ["missing", "malformed", "unknown", "expired"] {
        drop(family.get_or_create(&Unauthenticated { reason }));
    }
    family
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
    problems: Family<Refused, Counter>,
    mutations: Family<Operation, Counter>,
    mutation_bytes: Family<Operation, Counter>,
    /// Those of the two families, by [`place`].
    ingested: [(Counter, Counter); OPS.len()],
    unauthenticated: Family<Unauthenticated, Counter>,
    /// Connections open now.
    pub(crate) connections: Gauge,
    /// Calls being answered now.
    pub(crate) open_calls: Gauge,
    /// Calls waiting for an outcome or a watermark now.
    pub(crate) waiters: Gauge,
    /// Times that outcomes were missed and watermarks read from the shards.
    pub(crate) outcome_holes: Counter,
    /// Reads of kept outcomes from a primary.
    pub(crate) outcome_reads: Counter,
}

impl Metrics {
    /// Makes and registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let (mutations, mutation_bytes) = (Family::default(), Family::default());
        let of = |family: &Family<Operation, Counter>, op| family.get_or_create_owned(&Operation { op });
        let metrics = Self {
            ingested: OPS.map(|op| (of(&mutations, op), of(&mutation_bytes, op))),
            mutations,
            mutation_bytes,
            calls: Family::default(),
            latency: Family::new_with_constructor(Latency),
            outcomes: Family::default(),
            problems: Family::default(),
            unauthenticated: unauthenticated(),
            connections: Gauge::default(),
            open_calls: Gauge::default(),
            waiters: Gauge::default(),
            outcome_holes: Counter::default(),
            outcome_reads: Counter::default(),
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
        api.register(
            "unauthenticated",
            "Calls refused for want of a valid token",
            metrics.unauthenticated.clone(),
        );
        api.register("connections", "Connections open now", metrics.connections.clone());
        api.register("open_requests", "Requests being answered now", metrics.open_calls.clone());
        api.register("waiters", "Calls waiting for an outcome or a watermark now", metrics.waiters.clone());
        api.register("problems", "Answers that tell a problem, by its code", metrics.problems.clone());
        api.register("mutations", "Mutations that the log has acked", metrics.mutations.clone());
        let help = "Bytes of their records";
        api.register_with_unit("mutations", help, Unit::Bytes, metrics.mutation_bytes.clone());
        api.register(
            "outcome_holes",
            "Holes in what was heard of outcomes, filled from a shard",
            metrics.outcome_holes.clone(),
        );
        api.register(
            "outcome_reads",
            "Reads of the outcomes that a primary keeps",
            metrics.outcome_reads.clone(),
        );
        metrics
    }

    /// Counts one answered call.
    pub(crate) fn answered(&self, method: &Method, route: &'static str, status: StatusCode, seconds: f64) {
        let call = Call { method: method_label(method), route, status: status.as_u16() };
        self.calls.get_or_create(&call).inc();
        self.latency.get_or_create(&Route { route }).observe(seconds);
    }

    /// Counts one call without a valid token. `reason`: one of a few.
    pub(crate) fn unauthenticated(&self, reason: &'static str) {
        self.unauthenticated.get_or_create(&Unauthenticated { reason }).inc();
    }

    /// Counts one answer that tells a problem.
    pub(crate) fn refused(&self, code: &'static str) {
        self.problems.get_or_create(&Refused { code }).inc();
    }

    /// Counts what one call has brought onto the log.
    pub(crate) fn ingested(&self, ingested: &Ingested) {
        for ((mutations, bytes), (count, of_them)) in self.ingested.iter().zip(ingested) {
            if *count > 0 {
                mutations.inc_by(*count);
                bytes.inc_by(*of_them);
            }
        }
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

/// As metrics and spans name it.
pub(crate) fn method_label(method: &Method) -> &'static str {
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
        metrics.ingested(&std::array::from_fn(|at| if at == place(&Op::Delete) { (2, 5) } else { (0, 0) }));
        metrics.refused("not-found");
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"millpond_api_requests_total{method="PUT",route="/kv/{key}",status="202"} 1"#,
            r#"millpond_api_request_duration_seconds_count{route="/kv/{key}"} 1"#,
            r#"millpond_api_outcomes_total{outcome="applied"} 1"#,
            r#"millpond_api_mutations_total{op="delete"} 2"#,
            r#"millpond_api_mutations_total{op="json_patch"} 0"#,
            r#"millpond_api_mutations_bytes_total{op="delete"} 5"#,
            r#"millpond_api_problems_total{code="not-found"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
