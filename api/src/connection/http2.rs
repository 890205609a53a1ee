//! HTTP/2 by prior knowledge on one connection: many calls at once.
//!
//! What one connection may hold is bounded: [`STREAMS_MAX`] calls with [`HEAD_BYTES_MAX`] of head each, of their bodies
//! [`CONNECTION_WINDOW_BYTES`] that no call has read yet, and of answers one piece each beyond what the call itself
//! holds. Invariant: a stream that its client resets or does not take ends, and a client that mostly resets is told to
//! go away.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::response::Response;
use http::Request;
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{LINGER, lent};
use crate::{
    answered::{Answered, PIECE_BYTES_MAX, Taking},
    answering::Handed,
    front::Front,
    phase::{Phase, Timeouts},
    timed::Timed,
};

/// Most calls at once on a connection.
const STREAMS_MAX: u32 = 100;
/// Longest head, bytes as HPACK counts them: each header costs 32 more. What is longer than our own limit and within
/// this one gets a problem; beyond it, a bare 431 of the library.
const HEAD_BYTES_MAX: u32 = 48 * 1024;
/// How much of one body may come before the call reads it, bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// How much of all bodies may come before calls read them, bytes.
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Streams that were reset before they were looked at; one more ends the connection (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 20;
/// Streams that we had to reset for their own errors; one more ends the connection.
const ERRORS_MAX: usize = 128;
/// Calls that the client gave up, beyond those that it took the answer of; one more ends the connection.
const GIVEN_UP_MAX: u64 = 100;
/// A silent client is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// And has so long to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection until it ends; after `shutdown`, until its open calls are answered. Gives the socket back.
pub(super) async fn serve(
    socket: Timed<TcpStream>,
    front: Front,
    phase: Phase,
    shutdown: CancellationToken,
) -> Option<TcpStream> {
    let timeouts = socket.timeouts();
    let (lent, lender) = lent::lend(socket);
    let streams = Streams::new(timeouts);
    let calls = {
        let (streams, phase) = (streams.clone(), phase.clone());
        service_fn(move |request: Request<Incoming>| {
            let (busy, taking) = (phase.busy(), streams.next_call());
            front.answer(request).handed(busy, Some(taking))
        })
    };
    let connection = builder(streams.clone()).serve_connection(TokioIo::new(lent), calls);
    drive(connection, &streams, &phase, (timeouts, shutdown)).await;
    streams.end.cancel();
    streams.tasks.close();
    streams.tasks.wait().await;
    lender.back()
}

fn builder(streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(ERRORS_MAX)
        .max_send_buf_size(PIECE_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

type Connection<I, S> = http2::Connection<I, S, Streams>;

/// Serves until the connection ends by itself. It is told to go away at the shutdown, when it has been idle for too
/// long, and when its client gives up too many calls; then it has a moment, and for calls that are open their time.
async fn drive<S>(
    connection: Connection<TokioIo<lent::Lent>, S>,
    streams: &Streams,
    phase: &Phase,
    (timeouts, shutdown): (Timeouts, CancellationToken),
) where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response<Answered>,
            Error = Infallible,
            Future = Handed,
        > + Unpin,
{
    let mut connection = std::pin::pin!(connection);
    let mut leaving = false;
    loop {
        let patience = if leaving { LINGER } else { timeouts.idle };
        let now = Instant::now();
        let look_again = phase.idle_since().unwrap_or(now) + patience;
        tokio::select! {
            biased;
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
                }
                return;
            }
            () = shutdown.cancelled(), if !leaving => {}
            () = streams.flooded.cancelled() => {
                tracing::debug!("a client gives up too many calls");
                connection.as_mut().graceful_shutdown();
                // One look is enough to send what is to be said.
                let _ended = tokio::time::timeout(Duration::ZERO, connection.as_mut()).await;
                return;
            }
            () = sleep_until(look_again.max(now + LINGER)) => {
                match phase.idle_since() {
                    Some(since) if since + patience <= Instant::now() => {}
                    _ => continue,
                }
                if leaving {
                    return;
                }
            }
        }
        leaving = true;
        connection.as_mut().graceful_shutdown();
    }
}

/// The calls of one connection as tasks. A clone is the same one.
#[derive(Clone, Debug)]
struct Streams {
    tasks: TaskTracker,
    /// Of the call whose task comes next: hyper hands over a call and then, at once, its task.
    next: Arc<Mutex<Option<Taking>>>,
    send: Duration,
    /// Calls that were given up, and that were answered.
    counts: Arc<(AtomicU64, AtomicU64)>,
    flooded: CancellationToken,
    /// The connection is no more.
    end: CancellationToken,
}

impl Streams {
    fn new(timeouts: Timeouts) -> Self {
        Self {
            tasks: TaskTracker::new(),
            next: Arc::default(),
            send: timeouts.send,
            counts: Arc::default(),
            flooded: CancellationToken::new(),
            end: CancellationToken::new(),
        }
    }

    fn next_call(&self) -> Taking {
        let taking = Taking::new();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(taking.clone());
        taking
    }

    fn ended(&self, answered: bool) {
        let (given_up, taken) = &*self.counts;
        if answered {
            taken.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let given_up = given_up.fetch_add(1, Ordering::Relaxed) + 1;
        if given_up > taken.load(Ordering::Relaxed) + GIVEN_UP_MAX {
            self.flooded.cancel();
        }
    }
}

impl<F: Future<Output = ()> + Send + Unpin + 'static> Executor<F> for Streams {
    fn execute(&self, mut stream: F) {
        let taking = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let streams = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = streams.end.cancelled() => {}
                // Where it is: moved into this task's state a second time, each call would be twice as large.
                () = &mut stream => {}
                () = Stalled { taking: taking.as_ref(), send: streams.send, sleep: None } => {
                    tracing::debug!("an answer that nobody takes is given up");
                }
            }
            streams.ended(taking.is_some_and(|taking| taking.was_whole()));
        });
    }
}

/// Ends when a client has taken nothing of an answer for so long. To be polled after whatever hands the answer over:
/// there is no timer while there is no answer.
struct Stalled<'a> {
    taking: Option<&'a Taking>,
    send: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Stalled<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(last) = self.taking.and_then(Taking::last) else { return Poll::Pending };
        let send = self.send;
        let until = last + send;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            // It may have been set when an earlier piece was taken.
            ready!(sleep.as_mut().poll(context));
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}
