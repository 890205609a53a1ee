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
    slot: Option<Slot>,
}

/// What a call has left of its request's body.
#[derive(Debug)]
pub(crate) struct Left {
    /// None: there was nothing to be left.
    slot: Option<Slot>,
    /// Reading on would tell the client to send what it holds back.
    held_back: bool,
}

/// Watches a request's body.
pub(crate) fn watched(request: Request<Incoming>) -> (Request<Watched>, Left) {
    let held_back = request.headers().contains_key(header::EXPECT);
    let slot = (!request.body().is_end_stream()).then(Slot::default);
    let left = Left { slot: slot.clone(), held_back };
    (request.map(|body| Watched { body: slot.is_some().then_some(body), slot }), left)
}

/// Leaves a request's body to itself at once. In HTTP/2 what nobody reads would lie in memory until the call ends.
pub(crate) fn without_body(request: Request<Incoming>) -> (Request<Watched>, Left) {
    (request.map(|_body| Watched { body: None, slot: None }), Left { slot: None, held_back: false })
}

/// Whether nothing is left of a request, or it came at once.
pub(crate) enum Drained {
    Now(bool),
    /// What is left is being read.
    Later(Pin<Box<dyn Future<Output = bool> + Send>>),
}

impl Left {
    /// To be called when the call has ended.
    pub(crate) fn drained(self) -> Drained {
        let body = self.slot.and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(body) = body else { return Drained::Now(true) };
        if self.held_back || body.size_hint().lower() > BYTES_MAX {
            return Drained::Now(false);
        }
        let read = timeout(WAIT_MAX, read_on(body));
        Drained::Later(Box::pin(async move { read.await.unwrap_or(false) }))
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
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream())
            && let Some(slot) = &self.slot
        {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
