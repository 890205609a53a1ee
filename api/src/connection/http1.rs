//! HTTP/1.1 on one connection: one call at a time, in order.
//!
//! Invariant: every answer is one of ours, also to a head that the library cannot read.

use std::{future::poll_fn, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};
use tokio_util::sync::CancellationToken;

use super::Left;
use crate::{front::Front, phase::Phase, problem::Code, timed::Timed};

/// Read buffer, bytes, and with it the longest head: more than the longest URI and the longest headers together.
const BUFFER_BYTES_MAX: usize = 48 * 1024;

/// How long a connection keeps its buffers when no call is at work.
const QUIET: Duration = Duration::from_secs(1);

/// Serves a connection until it ends, or no call has been at work for a while; after `shutdown`, until its open call is
/// answered.
pub(super) async fn serve(
    socket: Timed<TcpStream>,
    front: Front,
    phase: Phase,
    shutdown: CancellationToken,
) -> Left {
    let (calls, at_work) = (front.clone(), phase.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = at_work.busy();
        calls.answer(request).handed(busy, None)
    });
    // Heads are timed by the socket. At most 100 headers are taken, hyper's own limit, which costs no allocation.
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
    let mut connection = builder.serve_connection(TokioIo::new(socket), service);
    let mut draining = false;
    let served = loop {
        tokio::select! {
            biased;
            served = poll_fn(|context| connection.poll_without_shutdown(context)) => break served,
            () = sleep(QUIET), if !draining => {
                if phase.is_quiet(QUIET) {
                    let parts = connection.into_parts();
                    return Left::Quiet(Box::new(parts.io.into_inner()), parts.read_buf);
                }
            }
            () = shutdown.cancelled(), if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
        let own = socket.take_own();
        if !own.is_empty() {
            let answer = refusal(&front, (of_head(&error, &parts.read_buf), &parts.read_buf), &own);
            let _closed = socket.write_all(&answer).await;
        }
    }
    Left::Over(socket.into_inner())
}

/// What is wrong with a head that hyper cannot read. `begun`: as much of it as was read.
fn of_head(error: &hyper::Error, begun: &[u8]) -> Code {
    if !error.is_parse_too_large() {
        return Code::RequestMalformed;
    }
    let line_ends = begun.contains(&b'\n');
    if line_ends { Code::HeadersTooLarge } else { Code::UriTooLong }
}

/// Our answer, with this code, to what was `begun`, in place of hyper's own, of which the date is kept.
fn refusal(front: &Front, (code, begun): (Code, &[u8]), own: &[u8]) -> Vec<u8> {
    let (id, body) = front.refused(code, begun);
    let own = String::from_utf8_lossy(own);
    let date = own.lines().find(|line| line.starts_with("date: ")).map(|line| format!("{line}\r\n"));
    let status = code.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nconnection: close\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n\
         content-length: {}\r\n{}\r\n",
        status.as_u16(),
        body.len(),
        date.unwrap_or_default(),
    );
    [head.into_bytes(), body].concat()
}
