//! One HTTP/1.1 connection, from its first byte to its last.
//!
//! Invariant: a client that was refused in the middle of sending can still read why.

use std::{convert::Infallible, future::poll_fn, pin::Pin, time::Duration};

use axum::{body::Body, response::Response};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    front::Front,
    timed::{Phase, Timed, Timeouts},
};

/// Read buffer, bytes, and with it the longest head. More than the longest URI that hyper can tell from a long head.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// How much of what a refused client still sends is read and dropped, bytes: more than any body that is taken.
const LINGER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// And for how long.
const LINGER: Duration = Duration::from_secs(1);

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Serves a connection until it ends; after `shutdown`, until its open call is answered.
pub(crate) async fn serve(stream: TcpStream, front: Front, timeouts: Timeouts, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off Nagle's algorithm");
    }
    let phase = Phase::new();
    let io = TokioIo::new(Timed::new(stream, timeouts, phase.clone()));
    let service = service_fn(move |request: Request<Incoming>| -> Answering {
        let (front, busy) = (front.clone(), phase.busy());
        Box::pin(async move {
            let response = front.answer(request).await;
            drop(busy);
            Ok(response)
        })
    });
    // Heads are timed by the socket. At most 100 headers are taken, hyper's own limit, which costs no allocation.
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
    let mut connection = builder.serve_connection(io, service);
    let mut draining = false;
    let served = loop {
        tokio::select! {
            biased;
            served = poll_fn(|context| connection.poll_without_shutdown(context)) => break served,
            () = shutdown.cancelled(), if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
    let socket = connection.into_parts().io.into_inner().into_inner();
    linger(socket).await;
}

/// Says that nothing more comes, and reads on for a moment: closing at once would make the system drop the answer.
async fn linger(mut socket: TcpStream) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES_MAX;
    let mut dropped = vec![0; 16 * 1024];
    let drain = async {
        while left > 0 {
            match socket.read(&mut dropped).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    let _late = timeout(LINGER, drain).await;
}
