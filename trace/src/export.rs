//! Takes finished spans to the collector, in batches: the library's processor and exporter, counted and bounded.
//!
//! Invariant: every finished span is counted once, and the end waits for a bounded time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, trace::TracerProvider};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter,
        SpanProcessor,
    },
};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{LINKS_MAX, Settings, sampler::Following};

/// Longest that the end waits for the last spans to be taken.
const END_MAX: Duration = Duration::from_secs(3);
/// Longest that the library's thread may then take to see that it is over.
const GRACE: Duration = Duration::from_secs(3);
/// The instrumentation scope: who has made the spans.
const SCOPE: &str = "millpond";

/// What became of finished spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) exported: AtomicU64,
    /// The queue was full.
    pub(crate) dropped: AtomicU64,
    /// The collector did not take them.
    pub(crate) failed: AtomicU64,
    /// In the queue.
    waiting: AtomicUsize,
}

/// Takes finished spans to the collector until it has run.
#[derive(Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
    late: CancellationToken,
}

/// What makes spans, and the exporter that they go to.
pub(crate) fn start(settings: Settings, counts: &Arc<Counts>) -> (SdkTracer, Exporter) {
    let library = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(settings.endpoint.to_string())
        .with_timeout(settings.timeout)
        .build()
        .expect("the endpoint is a URI");
    let late = CancellationToken::new();
    let counted = Counted {
        library: Arc::new(library),
        runtime: Handle::current(),
        endpoint: settings.endpoint.to_string(),
        counts: Arc::clone(counts),
        late: late.clone(),
        failing: AtomicBool::new(false),
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(settings.queue_max)
        .with_scheduled_delay(settings.delay)
        .build();
    let processor = Bounded {
        library: BatchSpanProcessor::new(counted, batches),
        counts: Arc::clone(counts),
        queue_max: settings.queue_max,
    };
    let provider = SdkTracerProvider::builder()
        .with_sampler(Following(settings.sampler))
        .with_max_links_per_span(u32::try_from(LINKS_MAX).expect("it is 64"))
        .with_resource(settings.resource)
        .with_span_processor(processor)
        .build();
    (provider.tracer(SCOPE), Exporter { provider, late })
}

impl Exporter {
    /// Exports until `shutdown` is cancelled; then what has ended by then, for at most 3 s.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        let Self { provider, late } = self;
        let mut ended = spawn_blocking(move || provider.shutdown_with_timeout(END_MAX + GRACE));
        let ended = match timeout(END_MAX, &mut ended).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                late.cancel();
                ended.await
            }
        };
        if let Err(error) = ended.expect("it never panics, and nobody aborts it") {
            tracing::debug!("the exporter of spans does not end: {error}");
        }
    }
}

/// Drops what does not fit the queue, as the library would, but counts it.
#[derive(Debug)]
struct Bounded {
    library: BatchSpanProcessor,
    counts: Arc<Counts>,
    /// As many as the library's own queue takes; so that one is never full.
    queue_max: usize,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _span: &mut Span, _around: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.counts.waiting.fetch_add(1, Ordering::Relaxed) < self.queue_max {
            self.library.on_end(span);
        } else {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.library.force_flush()
    }

    fn shutdown_with_timeout(&self, most: Duration) -> OTelSdkResult {
        self.library.shutdown_with_timeout(most)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.library.set_resource(resource);
    }
}

/// Exports on the runtime, which the library's own thread is not part of, and counts.
#[derive(Debug)]
struct Counted {
    library: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    endpoint: String,
    counts: Arc<Counts>,
    /// What is not taken by now is lost.
    late: CancellationToken,
    failing: AtomicBool,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
        let (library, late) = (Arc::clone(&self.library), self.late.clone());
        let taking = self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = late.cancelled() => Err(OTelSdkError::Timeout(END_MAX)),
                taken = library.export(batch) => taken,
            }
        });
        let taken = taking.await.unwrap_or_else(|gone| Err(OTelSdkError::InternalFailure(gone.to_string())));
        let counter = if taken.is_ok() { &self.counts.exported } else { &self.counts.failed };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
        let was_failing = self.failing.swap(taken.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (&taken, was_failing) {
            tracing::warn!(endpoint = self.endpoint, "the collector takes no spans: {error}");
        }
        taken
    }

    fn set_resource(&mut self, resource: &Resource) {
        Arc::get_mut(&mut self.library).expect("nothing is exported yet").set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Kind, Tracer};

    fn settings(address: std::net::SocketAddr) -> Settings {
        let variable = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(format!("http://{address}")),
            "OTEL_BSP_MAX_QUEUE_SIZE" => Some("4".to_owned()),
            // An hour.
            "OTEL_EXPORTER_OTLP_TIMEOUT" | "OTEL_BSP_SCHEDULE_DELAY" => Some("3600000".to_owned()),
            _ => None,
        };
        Settings::read("test", "0", variable).unwrap().unwrap()
    }

    fn counts(tracer: &Tracer) -> [u64; 3] {
        let counts = &tracer.0.as_ref().unwrap().counts;
        [&counts.exported, &counts.dropped, &counts.failed].map(|count| count.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_collector_that_hangs_holds_up_no_end_and_every_span_is_counted() {
        // It takes the first request, and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tracer, exporter) = Tracer::start(settings(listener.local_addr().unwrap()));
        let fill = |spans| (0..spans).for_each(|_| drop(tracer.span("x", Kind::Internal, None)));
        fill(4);
        let _connection =
            timeout(Duration::from_mins(1), listener.accept()).await.expect("it calls").unwrap();
        fill(7);
        assert_eq!(counts(&tracer), [0, 3, 0], "four are on their way, four wait");
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        timeout(Duration::from_mins(1), exporter.run(shutdown)).await.expect("its end is bounded");
        assert_eq!(counts(&tracer), [0, 3, 8]);
        assert!(!tracer.span("x", Kind::Internal, None).is_recorded(), "it is over");
    }

    #[test]
    fn what_is_off_records_nothing() {
        let tracer = Tracer::default();
        let span = tracer.span("x", Kind::Internal, None);
        assert_eq!((tracer.is_on(), span.is_recorded(), span.context()), (false, false, None));
    }
}
