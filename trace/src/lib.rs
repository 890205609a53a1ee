//! Spans, and their way to an OpenTelemetry collector: OTLP over HTTP, as protobuf, without TLS.
//!
//! The work is done by the OpenTelemetry libraries; here is what Millpond asks of them.
//! Off unless an endpoint is set; then nothing is recorded and every call here costs a comparison.
//! Not here: log lines and metrics of others. Invariant: nobody ever waits for a collector; what does not fit the
//! queue, or what the collector does not take, is dropped and counted.

mod context;
mod export;
mod sampler;
mod settings;
mod span;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::trace::{Link, SpanBuilder, TraceContextExt, Tracer as _};
use opentelemetry_sdk::trace::SdkTracer;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

pub use context::{Context, TRACEPARENT};
pub use export::Exporter;
/// What a span is to the other end.
pub use opentelemetry::trace::SpanKind as Kind;
pub use settings::{Invalid, Settings};
pub use span::{LINKS_MAX, Links, Span, Value};

use export::Counts;

/// Makes spans. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    tracer: SdkTracer,
    counts: Arc<Counts>,
}

impl Tracer {
    /// With the exporter that its spans go to; to be run beside whatever makes them.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(settings: Settings) -> (Self, Exporter) {
        let counts = Arc::new(Counts::default());
        let (tracer, exporter) = export::start(settings, &counts);
        (Self(Some(Arc::new(Inner { tracer, counts }))), exporter)
    }

    /// Whether anything can be recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span, of the parent's trace or of a new one. It is recorded if the sampler says so.
    pub fn span(&self, name: &'static str, kind: Kind, parent: Option<Context>) -> Span {
        let Some(inner) = &self.0 else { return Span::none() };
        // Only who calls us is elsewhere.
        let is_remote = kind == Kind::Server;
        let mut around = opentelemetry::Context::new();
        if let Some(parent) = parent {
            around = around.with_remote_span_context(parent.to_library(is_remote));
        }
        Span::begin(&inner.tracer, inner.builder(name, kind), &around)
    }

    /// Begins a span of a new trace because of others; without any it is not recorded.
    pub fn linked(&self, name: &'static str, kind: Kind, links: Links) -> Span {
        let Some(inner) = self.0.as_ref().filter(|_| !links.is_empty()) else { return Span::none() };
        let Links { contexts, dropped } = links;
        let library = contexts.into_iter().map(|context| Link::with_context(context.to_library(true)));
        let builder = inner.builder(name, kind).with_links(library.collect());
        let mut span = Span::begin(&inner.tracer, builder, &opentelemetry::Context::new());
        span.left_out(dropped);
        span
    }
}

impl Inner {
    fn builder(&self, name: &'static str, kind: Kind) -> SpanBuilder {
        self.tracer.span_builder(name).with_kind(kind)
    }
}

impl Collector for Tracer {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Finished spans: exported, dropped before a full queue, or not taken by the collector";
        let mut family =
            encoder.encode_descriptor("millpond_trace_spans", help, None, MetricType::Counter)?;
        let of = |pick: fn(&Counts) -> &AtomicU64| {
            self.0.as_ref().map_or(0, |inner| pick(&inner.counts).load(Ordering::Relaxed))
        };
        for (result, spans) in [
            ("exported", of(|counts| &counts.exported)),
            ("dropped", of(|counts| &counts.dropped)),
            ("failed", of(|counts| &counts.failed)),
        ] {
            ConstCounter::new(spans).encode(family.encode_family(&[("result", result)])?)?;
        }
        Ok(())
    }
}
