//! A call on its way to its answer, as the connection's library holds it.
//!
//! Of calls that wait there may be a million: what only the work needs is inside the work, and gone when that no longer
//! needs it. Invariant: the work is gone before what its request has left is looked at.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::response::Response;

use crate::{
    answered::{Answered, Taking},
    front::Around,
    phase::Busy,
    taken::{Drained, Left},
};

/// What makes the answer.
pub(crate) type Work = Pin<Box<dyn Future<Output = Response> + Send>>;

/// One call.
#[derive(Debug)]
pub(crate) struct Answering {
    around: Around,
    left: Option<Left>,
    stage: Stage,
}

enum Stage {
    AtWork(Work),
    /// What the request has left is waited for.
    Draining(Box<Response>, Pin<Box<dyn Future<Output = bool> + Send>>),
    Over,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtWork(_) => "AtWork",
            Self::Draining(..) => "Draining",
            Self::Over => "Over",
        })
    }
}

impl Answering {
    /// Does the work, and then what is `around` it.
    pub(crate) fn new(around: Around, work: Work, left: Left) -> Self {
        Self { around, left: Some(left), stage: Stage::AtWork(work) }
    }

    /// As a connection's library wants it. `taking`: of HTTP/2.
    pub(crate) fn handed(self, busy: Busy, taking: Option<Taking>) -> Handed {
        Handed { answering: self, busy: Some(busy), taking }
    }
}

impl Future for Answering {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        loop {
            match &mut self.stage {
                Stage::AtWork(work) => {
                    let response = ready!(work.as_mut().poll(context));
                    self.stage = Stage::Over;
                    match self.left.take().map_or(Drained::Now(true), Left::drained) {
                        Drained::Now(drained) => return Poll::Ready(self.around.end(response, drained)),
                        Drained::Later(later) => self.stage = Stage::Draining(Box::new(response), later),
                    }
                }
                Stage::Draining(response, later) => {
                    let drained = ready!(later.as_mut().poll(context));
                    let response = std::mem::take(&mut **response);
                    self.stage = Stage::Over;
                    return Poll::Ready(self.around.end(response, drained));
                }
                Stage::Over => unreachable!("an answer is given once"),
            }
        }
    }
}

/// A call that is at work until its answer's body was handed over.
#[derive(Debug)]
pub(crate) struct Handed {
    answering: Answering,
    busy: Option<Busy>,
    taking: Option<Taking>,
}

impl Future for Handed {
    type Output = Result<Response<Answered>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.answering).poll(context));
        let busy = self.busy.take().expect("an answer is given once");
        Poll::Ready(Ok(match self.taking.take() {
            None => response.map(|body| Answered::alone(body, busy)),
            Some(taking) => response.map(|body| Answered::one_of_many(body, busy, taking)),
        }))
    }
}
