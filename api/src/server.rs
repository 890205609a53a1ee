//! The accept loop: a bounded number of connections, and an orderly end.
//!
//! Invariant: when it has returned, no connection is left.

use std::{io, sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{connection, front::Front, phase::Timeouts};

/// Pause after the system refused to accept: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a listener is served.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// Most connections at once; the next ones wait in the system's queue.
    pub(crate) connections_max: usize,
    /// How long clients may take.
    pub(crate) timeouts: Timeouts,
    /// Longest that open calls are waited for at the end.
    pub(crate) drain: Duration,
    /// Shows how many connections are open.
    pub(crate) connections: Gauge,
}

/// Serves until `shutdown`, then waits for open calls.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Front,
    serving: Serving,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(serving.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => note(ended),
            (stream, slot) = accept(&listener, &slots) => {
                let (front, timeouts) = (front.clone(), serving.timeouts);
                let (shutdown, open) = (shutdown.clone(), Open::new(&serving.connections, slot));
                connections.spawn(async move {
                    connection::serve(stream, front, timeouts, shutdown).await;
                    drop(open);
                });
            }
        }
    }
    drop(listener);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    };
    if timeout(serving.drain, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "calls were still open when time to drain was over");
        connections.shutdown().await;
    }
}

/// The next connection, once there is a slot for it. Cancel-safe.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the slots are never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether only the connection that was to be accepted failed.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a call panicked; its connection is closed");
    }
}

/// A connection's slot and its place in the gauge.
struct Open(Gauge, #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Open {
    fn new(gauge: &Gauge, slot: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self(gauge.clone(), slot)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
