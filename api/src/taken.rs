//! Whether a request was taken off its connection whole: only then can another one follow on it.
//!
//! A call may be refused before its body is read. hyper then closes the connection, and says so to nobody: a client
//! that has sent its next write meanwhile would never learn what became of it.
//! Invariant: an answer that is not the last one on its connection has all of its request before it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

/// A refused body of at most so many bytes is still read.
const BYTES_MAX: u64 = 64 * 1024;
/// And for so long, beyond what is there already.
const WAIT_MAX: Duration = Duration::from_millis(10);

type Slot = Arc<Mutex<Option<Incoming>>>;

/// A body that is given back when it is dropped before its end.
#[derive(Debug)]
pub(crate) struct Watched {
    body: Option<Incoming>,
    slot: Slot,
}

/// What a call has left of its request's body.
#[derive(Debug)]
pub(crate) struct Left {
    slot: Slot,
    /// Reading on would tell the client to send what it holds back.
    held_back: bool,
}

/// Watches a request's body.
pub(crate) fn watched(request: Request<Incoming>) -> (Request<Watched>, Left) {
    let slot = Slot::default();
    let held_back = request.headers().contains_key(header::EXPECT);
    let left = Left { slot: Arc::clone(&slot), held_back };
    (request.map(|body| Watched { body: Some(body).filter(|body| !body.is_end_stream()), slot }), left)
}

/// Leaves a request's body to itself at once. In HTTP/2 what nobody reads would lie in memory until the call ends.
pub(crate) fn without_body(request: Request<Incoming>) -> (Request<Watched>, Left) {
    let slot = Slot::default();
    let left = Left { slot: Arc::clone(&slot), held_back: false };
    (request.map(|_body| Watched { body: None, slot }), left)
}

impl Left {
    /// Whether nothing is left, or it came at once. To be called when the call has ended.
    pub(crate) async fn drained(self) -> bool {
        let Some(body) = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take() else { return true };
        if self.held_back || body.size_hint().lower() > BYTES_MAX {
            return false;
        }
        timeout(WAIT_MAX, read_on(body)).await.unwrap_or(false)
    }
}

/// Whether the end comes before the limit.
async fn read_on(mut body: Incoming) -> bool {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > BYTES_MAX {
            return false;
        }
    }
    true
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if frame.is_none() {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
