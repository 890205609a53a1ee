//! The body of an answer on its way out: its call is at work until it was handed over.
//!
//! Invariant: in HTTP/2, where many answers share a connection, what was handed over and not yet sent is at most one
//! piece of each.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Duration, Instant};

use crate::phase::Busy;

/// Longest piece of an answer in HTTP/2, bytes: one frame.
pub(crate) const PIECE_BYTES_MAX: usize = 16 * 1024;

/// An answer's body.
#[derive(Debug)]
pub(crate) struct Answered {
    body: Body,
    /// Taken from `body`, not handed over yet.
    rest: Bytes,
    /// HTTP/2 only.
    taking: Option<Taking>,
    _busy: Busy,
}

impl Answered {
    /// HTTP/1: one answer at a time, whose socket is watched.
    pub(crate) fn alone(body: Body, busy: Busy) -> Self {
        Self { body, rest: Bytes::new(), taking: None, _busy: busy }
    }

    /// HTTP/2: one of many.
    pub(crate) fn one_of_many(body: Body, busy: Busy, taking: Taking) -> Self {
        taking.touch();
        if body.is_end_stream() {
            taking.is_over();
        }
        Self { body, rest: Bytes::new(), taking: Some(taking), _busy: busy }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        Frame::data(self.rest.split_to(length))
    }
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(taking) = self.taking.clone() else { return Pin::new(&mut self.body).poll_frame(context) };
        taking.touch();
        let frame = if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.rest = data;
                        Some(Ok(self.piece()))
                    }
                    Err(other) => Some(Ok(other)),
                },
                end => end,
            }
        } else {
            Some(Ok(self.piece()))
        };
        if frame.is_none() || self.is_end_stream() {
            taking.is_over();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() {
            return self.body.size_hint();
        }
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// When a client last took something of one answer. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Taking(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    start: Instant,
    /// Milliseconds from `start`; [`NEVER`]: there is no answer yet.
    last_ms: AtomicU64,
    /// The last piece was handed over.
    over: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl Taking {
    /// Of a call that has no answer yet.
    pub(crate) fn new() -> Self {
        let (last_ms, over) = (AtomicU64::new(NEVER), AtomicBool::new(false));
        Self(Arc::new(Taken { start: Instant::now(), last_ms, over }))
    }

    fn touch(&self) {
        let ms = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(NEVER);
        self.0.last_ms.store(ms, Ordering::Relaxed);
    }

    fn is_over(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    /// None: there is no answer yet.
    pub(crate) fn last(&self) -> Option<Instant> {
        let ms = self.0.last_ms.load(Ordering::Relaxed);
        (ms != NEVER).then(|| self.0.start + Duration::from_millis(ms))
    }

    /// Whether the client took the whole answer, as far as can be seen here.
    pub(crate) fn was_whole(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;
    use crate::phase::Phase;

    #[tokio::test]
    async fn one_of_many_comes_in_pieces_and_says_with_the_last_one_that_it_is() {
        let value = Bytes::from(vec![7; 2 * PIECE_BYTES_MAX + 1]);
        let phase = Phase::new();
        let taking = Taking::new();
        let mut body = Answered::one_of_many(Body::from(value.clone()), phase.busy(), taking.clone());
        let mut together = Vec::new();
        for length in [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 1] {
            assert!(!body.is_end_stream() && !taking.was_whole());
            let left = body.size_hint().exact();
            assert_eq!(left, Some((value.len() - together.len()) as u64));
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(piece.len(), length);
            together.extend_from_slice(&piece);
        }
        assert!(body.is_end_stream() && taking.was_whole() && together == value);
    }

    #[tokio::test]
    async fn a_call_is_at_work_until_its_answer_is_gone() {
        let phase = Phase::new();
        let body = Answered::alone(Body::from("abc"), phase.busy());
        assert!(phase.idle_since().is_none());
        drop(body);
        assert!(phase.idle_since().is_some());
    }
}
