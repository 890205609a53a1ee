//! Load over HTTP: so many connections, each with one call at a time, as fast as they are answered or at a rate.
//!
//! At a rate, a latency counts from the moment at which the call was to start, so that a server that stalls cannot
//! hide it. Invariant: nothing is reported when less than 99 % of the offered calls were made.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    cpu::{self, Watch},
    keys::{Distribution, Keys},
    server::{Server, Target},
};

/// What to load, and how.
#[derive(Args)]
pub(crate) struct Load {
    #[command(flatten)]
    target: Target,
    /// What each call does; several run one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["put", "wait", "get", "batch"])]
    calls: Vec<Call>,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long each runs, seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Calls per second over all connections; without it, as fast as they are answered.
    #[arg(long)]
    rate: Option<u32>,
    /// Different keys.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// How keys are drawn.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Operations in a batch.
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    /// Seed of keys.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Call {
    /// PUT, answered 202.
    Put,
    /// PUT with `Prefer: wait=10`, answered when it is applied.
    Wait,
    /// GET.
    Get,
    /// POST /batch of puts, answered 202.
    Batch,
}

/// What one connection saw.
struct Seen {
    latency_us: Histogram<u64>,
    offered: u64,
}

impl Load {
    pub(crate) async fn run(&self) -> Result<()> {
        println!(
            "{} connections, {} s each, {:?} over {} keys, {} B, {}, seed {}",
            self.connections,
            self.seconds,
            self.distribution,
            self.keys,
            self.value_bytes,
            self.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate} calls/s offered")),
            self.seed
        );
        let server = self.target.open()?;
        for call in &self.calls {
            println!("{}", self.run_one(*call, &server).await?);
        }
        Ok(())
    }

    async fn run_one(&self, call: Call, server: &Server) -> Result<String> {
        let watch = Watch::start(vec![server.pid, std::process::id()])?;
        let of_server = Watch::start(vec![server.pid])?;
        let mut connections = JoinSet::new();
        let value: Arc<str> = "v".repeat(self.value_bytes).into();
        for number in 0..self.connections {
            let client = Client {
                call,
                sender: connect(server).await?,
                keys: Keys::new(self.distribution, self.keys, self.seed + number as u64),
                value: Arc::clone(&value),
                batch: self.batch,
            };
            let pace = self.pace(number);
            connections.spawn(client.run(pace));
        }
        let mut all = Seen { latency_us: Histogram::new(3)?, offered: 0 };
        while let Some(seen) = connections.join_next().await {
            let seen = seen.context("a connection panicked")??;
            all.latency_us.add(&seen.latency_us)?;
            all.offered += seen.offered;
        }
        let (took, server_took) = (watch.took()?, of_server.took()?);
        let calls = all.latency_us.len();
        ensure!(
            calls * 100 >= all.offered * 99,
            "only {calls} of {} offered calls were made: no report",
            all.offered
        );
        let operations = if call == Call::Batch { calls * self.batch as u64 } else { calls };
        let quantile = |q: f64| Duration::from_micros(all.latency_us.value_at_quantile(q));
        Ok(format!(
            "{} ({:.2} of the server)  p50 {:?} p99 {:?} max {:?}",
            cpu::line(&format!("{call:?}").to_lowercase(), operations, took),
            server_took.cpu.as_secs_f64() * 1e6 / float(operations),
            quantile(0.5),
            quantile(0.99),
            Duration::from_micros(all.latency_us.max()),
        ))
    }

    fn pace(&self, number: usize) -> Pace {
        let began = Instant::now();
        let until = began + Duration::from_secs(self.seconds);
        let every = self
            .rate
            .map(|rate| Duration::from_secs(1) * u32::try_from(self.connections).unwrap_or(1) / rate);
        let first = every.unwrap_or_default() * u32::try_from(number).unwrap_or(0)
            / u32::try_from(self.connections).unwrap_or(1);
        Pace { next: began + first, every, until }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of operations is far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

/// When a connection's calls are to start.
struct Pace {
    next: Instant,
    every: Option<Duration>,
    until: Instant,
}

impl Pace {
    /// Waits for the next call's moment; none when time is over.
    async fn start(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let Some(every) = self.every else { return (now < self.until).then_some(now) };
        let intended = self.next;
        if intended >= self.until {
            return None;
        }
        self.next += every;
        tokio::time::sleep_until(intended.into()).await;
        Some(intended)
    }
}

async fn connect(server: &Server) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(server.address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

struct Client {
    call: Call,
    sender: SendRequest<Full<Bytes>>,
    keys: Keys,
    value: Arc<str>,
    batch: usize,
}

impl Client {
    async fn run(mut self, mut pace: Pace) -> Result<Seen> {
        let mut seen = Seen { latency_us: Histogram::new(3)?, offered: 0 };
        while let Some(intended) = pace.start().await {
            seen.offered += 1;
            self.exchange().await?;
            let us = u64::try_from(intended.elapsed().as_micros()).unwrap_or(u64::MAX);
            seen.latency_us.record(us.max(1))?;
        }
        Ok(seen)
    }

    async fn exchange(&mut self) -> Result<()> {
        let request = self.request()?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await.context("call")?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let expected = match self.call {
            Call::Put | Call::Batch => status == StatusCode::ACCEPTED,
            Call::Wait => status == StatusCode::OK,
            Call::Get => status == StatusCode::OK || status == StatusCode::NOT_FOUND,
        };
        if !expected {
            bail!("{:?} answered {status}: {}", self.call, String::from_utf8_lossy(&body));
        }
        Ok(())
    }

    fn request(&mut self) -> Result<Request<Full<Bytes>>> {
        let request = Request::builder().header("host", "bench");
        let key = format!("key-{:09}", self.keys.next());
        let path = format!("/kv/{key}");
        let value = || Full::new(Bytes::copy_from_slice(self.value.as_bytes()));
        Ok(match self.call {
            Call::Put => request.method(Method::PUT).uri(path).body(value())?,
            Call::Wait => request.method(Method::PUT).uri(path).header("prefer", "wait=10").body(value())?,
            Call::Get => request.uri(path).body(Full::default())?,
            Call::Batch => {
                let request = request.method(Method::POST).uri("/batch");
                let body = self.lines().into();
                request.header("content-type", "application/x-ndjson").body(Full::new(body))?
            }
        })
    }

    fn lines(&mut self) -> String {
        use std::fmt::Write;
        let mut text = String::with_capacity(self.batch * (self.value.len() + 64));
        for _ in 0..self.batch {
            let key = self.keys.next();
            let value = &self.value;
            writeln!(text, "{{\"op\":\"put\",\"key\":\"key-{key:09}\",\"value\":\"{value}\"}}")
                .expect("a string takes all");
        }
        text
    }
}
