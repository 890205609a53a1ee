//! The bare server that others are compared with: hyper alone, which answers every call with nothing.
//!
//! Invariant: it does no more than read a request whole and answer it.

use std::{
    convert::Infallible,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::net::TcpListener;

/// How to answer.
#[derive(Args)]
pub(crate) struct Echo {
    /// Hold every PUT for ever, and answer a GET with how many are held.
    #[arg(long)]
    hold: bool,
}

impl Echo {
    /// Serves until the process ends.
    pub(crate) async fn run(&self) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
        writeln!(std::io::stdout(), "echo on http://{}", listener.local_addr()?)?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http2().max_concurrent_streams(1_000);
        let builder = Arc::new(builder);
        let held = self.hold.then(|| Arc::new(AtomicU64::new(0)));
        loop {
            let (stream, _from) = listener.accept().await.context("accept")?;
            stream.set_nodelay(true)?;
            let (builder, held) = (Arc::clone(&builder), held.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, held.clone()));
                // A client that goes away is no news.
                let _gone = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    held: Option<Arc<AtomicU64>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_put = request.method() == http::Method::PUT;
    let status = status(&request);
    let mut body = request.into_body();
    while let Some(Ok(_frame)) = body.frame().await {}
    let Some(held) = held else { return Ok(respond(status, Bytes::new())) };
    if is_put {
        held.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<()>().await;
    }
    Ok(respond(StatusCode::OK, format!("held {}\n", held.load(Ordering::Relaxed)).into()))
}

/// As a server that has done what it was asked: accepted is what writes and does not wait.
fn status(request: &Request<Incoming>) -> StatusCode {
    let reads = request.method() == http::Method::GET || request.uri().path() == "/kv/query";
    let waits = request.headers().contains_key("prefer");
    if reads || waits { StatusCode::OK } else { StatusCode::ACCEPTED }
}

fn respond(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
