//! An OpenTelemetry collector for tests: takes OTLP over HTTP and remembers every span.
//!
//! Invariant: decodes with a protobuf library, by the field numbers of opentelemetry-proto; what is no such message is
//! answered 400.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use prost::Message;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// How long spans may take to come.
const PATIENCE: Duration = Duration::from_mins(1);

/// A span, as a test looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process that made it.
    pub service: String,
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub id: String,
    /// 16 hex digits; empty: it is a root.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Nanoseconds since the epoch.
    pub start: u64,
    /// The same, of its end.
    pub end: u64,
    /// As text, numbers too.
    pub attributes: BTreeMap<String, String>,
    /// Trace and span of each.
    pub links: Vec<(String, String)>,
    /// Whether it failed.
    pub failed: bool,
}

/// A running collector.
pub struct Collector {
    address: std::net::SocketAddr,
    spans: watch::Receiver<Vec<Span>>,
    _tasks: JoinSet<()>,
}

impl Collector {
    /// Listens on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (told, spans) = watch::channel(Vec::new());
        let told = Arc::new(told);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let told = Arc::clone(&told);
                connections.spawn(async move {
                    if let Err(error) = serve(stream, &told).await {
                        println!("collector: {error:#}");
                    }
                });
            }
        });
        Ok(Self { address, spans, _tasks: tasks })
    }

    /// What a process needs to export to it, soon after each span.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.address)),
            ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
            ("OTEL_TRACES_SAMPLER", "parentbased_always_off".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.borrow().clone()
    }

    /// Waits until the spans so far show it.
    ///
    /// # Errors
    /// They do not, within a minute.
    pub async fn until<T>(&self, what: &str, shown: impl Fn(&[Span]) -> Option<T>) -> Result<T> {
        let mut spans = self.spans.clone();
        let found = timeout(PATIENCE, async {
            loop {
                if let Some(found) = shown(&spans.borrow_and_update()) {
                    return Ok(found);
                }
                spans.changed().await.context("the collector goes on")?;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_late) => bail!("{what}: not among {:#?}", self.spans()),
        }
    }
}

/// Answers requests on one connection until it ends.
async fn serve(stream: TcpStream, told: &watch::Sender<Vec<Span>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        let mut is_protobuf = false;
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let is_traces = line.starts_with("POST /v1/traces HTTP/1.1");
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let header = line.trim_end().to_ascii_lowercase();
            match header.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => length = value.parse()?,
                Some(("content-type", value)) => is_protobuf = value == "application/x-protobuf",
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let request = Request::decode(body.as_slice());
        let status = match request {
            Ok(request) if is_traces && is_protobuf => {
                told.send_modify(|spans| spans.extend(request.resource_spans.into_iter().flat_map(spans_of)));
                "200 OK"
            }
            refused => {
                println!("collector: {refused:?}");
                "400 Bad Request"
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn spans_of(resource: ResourceSpans) -> Vec<Span> {
    let attributes = attributes(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
    let service = attributes.get("service.name").cloned().unwrap_or_default();
    let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(|span| Span { service: service.clone(), ..span_of(span) }).collect()
}

fn span_of(span: WireSpan) -> Span {
    let links = span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
    Span {
        service: String::new(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name,
        kind: span.kind,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        links,
        failed: span.status.is_some_and(|status| status.code == 2),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: AnyValue| match value.value {
        Some(Value::Text(text)) => text,
        Some(Value::Integer(number)) => number.to_string(),
        None => String::new(),
    };
    pairs.into_iter().map(|pair| (pair.key, pair.value.map(text).unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct WireSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Integer(i64),
}
