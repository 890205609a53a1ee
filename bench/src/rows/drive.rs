//! Drives a server over HTTP with calls that are made beforehand, so that it is the server that is measured.
//!
//! Not the load generator: closed loop, nothing offered at a rate. Invariant: an answer other than the expected one ends it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// A call.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How to drive.
#[derive(Clone, Copy)]
pub(crate) struct Drive {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Each has one call under way.
    pub(crate) connections: usize,
    /// Calls begin until then.
    pub(crate) length: Duration,
    /// What every call is answered.
    pub(crate) expected: StatusCode,
}

/// What came of it.
pub(crate) struct Driven {
    /// Waits for answers, µs; as many as calls.
    pub(crate) waits: Histogram<u64>,
    /// From the first call to the last answer.
    pub(crate) wall: Duration,
}

impl Drive {
    /// Makes the calls, each connection from a place of its own on, over and over.
    pub(crate) async fn run(self, calls: &Arc<Vec<Call>>) -> Result<Driven> {
        let mut senders = Vec::new();
        for _ in 0..self.connections {
            senders.push(connect(self.address).await?);
        }
        let (began, mut running) = (Instant::now(), JoinSet::new());
        for (number, sender) in senders.into_iter().enumerate() {
            let first = number * calls.len() / self.connections;
            running.spawn(self.one(sender, Arc::clone(calls), (first, began)));
        }
        let mut waits = Histogram::new(3)?;
        while let Some(one) = running.join_next().await {
            waits.add(one.context("a connection panicked")??)?;
        }
        Ok(Driven { waits, wall: began.elapsed() })
    }

    /// Makes each of the calls once.
    pub(crate) async fn each(self, calls: &Arc<Vec<Call>>) -> Result<()> {
        let mut running = JoinSet::new();
        for number in 0..self.connections {
            let (mut sender, calls) = (connect(self.address).await?, Arc::clone(calls));
            running.spawn(async move {
                for call in calls.iter().skip(number).step_by(self.connections) {
                    self.exchange(&mut sender, call).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(one) = running.join_next().await {
            one.context("a connection panicked")??;
        }
        Ok(())
    }

    async fn one(
        self,
        mut sender: SendRequest<Full<Bytes>>,
        calls: Arc<Vec<Call>>,
        (first, began): (usize, Instant),
    ) -> Result<Histogram<u64>> {
        let mut waits = Histogram::new(3)?;
        for call in calls.iter().cycle().skip(first) {
            if began.elapsed() >= self.length {
                break;
            }
            let asked = Instant::now();
            self.exchange(&mut sender, call).await?;
            waits.record(u64::try_from(asked.elapsed().as_micros())?.max(1))?;
        }
        Ok(waits)
    }

    async fn exchange(self, sender: &mut SendRequest<Full<Bytes>>, call: &Call) -> Result<()> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        *request.headers_mut() = call.headers.clone();
        sender.ready().await?;
        let answer = sender.send_request(request).await.context("call")?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status == self.expected, "answered {status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
