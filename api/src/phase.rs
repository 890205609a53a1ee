//! What a connection is at: a head is awaited, a call is at work, or nothing.
//!
//! A call lasts from its head until its answer's body was handed over. Invariant: while a call is at work, the
//! connection is neither idle nor late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For a request's head, from its first byte; for the first one, from the start.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// For taking any byte of an answer.
    pub(crate) send: Duration,
}

/// Between requests, or inside one, and since when. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Phase(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    phase: AtomicU8,
    /// Milliseconds from `start` to the phase's beginning, or to the last byte that was sent in it.
    since_ms: AtomicU64,
    start: Instant,
    /// Calls at work: at most one in HTTP/1.
    calls: AtomicUsize,
    /// A call began, and not all that it answers was flushed since.
    owing: AtomicBool,
    /// The connection speaks HTTP/2.
    http2: AtomicBool,
}

const HEAD: u8 = 0;
const IDLE: u8 = 1;
const BUSY: u8 = 2;

impl Phase {
    /// A new connection: a head is awaited.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inside {
            phase: AtomicU8::new(HEAD),
            since_ms: AtomicU64::new(0),
            start: Instant::now(),
            calls: AtomicUsize::new(0),
            owing: AtomicBool::new(false),
            http2: AtomicBool::new(false),
        }))
    }

    /// The preface of HTTP/2 came: bytes no longer mean that a head has begun.
    pub(crate) fn is_http2(&self) {
        self.0.http2.store(true, Ordering::Relaxed);
        self.enter(IDLE);
    }

    /// A call begins; it ends when the guard is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        self.0.owing.store(true, Ordering::Relaxed);
        self.enter(BUSY);
        Busy(self.clone())
    }

    /// Bytes came.
    pub(crate) fn received(&self) {
        if self.is(IDLE) && !self.0.http2.load(Ordering::Relaxed) {
            self.enter(HEAD);
        }
    }

    /// Bytes went. A long answer that is being taken is not idling.
    pub(crate) fn sent(&self) {
        if self.is(IDLE) && !self.0.http2.load(Ordering::Relaxed) {
            self.touch();
        }
    }

    /// All that there was to send was handed to the system.
    pub(crate) fn flushed(&self) {
        if !self.is(BUSY) {
            self.0.owing.store(false, Ordering::Relaxed);
        }
    }

    /// HTTP/1: whether no call wants anything sent. What is sent all the same answers no call.
    pub(crate) fn owes_nothing(&self) -> bool {
        !self.0.owing.load(Ordering::Relaxed) && !self.0.http2.load(Ordering::Relaxed)
    }

    /// When the client is too late; none while it is the server's turn. An idle HTTP/2 connection is told to go away
    /// first, which is not for the socket to do.
    pub(crate) fn deadline(&self, timeouts: Timeouts) -> Option<Instant> {
        match self.0.phase.load(Ordering::Relaxed) {
            HEAD => Some(self.since() + timeouts.head),
            IDLE if !self.0.http2.load(Ordering::Relaxed) => Some(self.since() + timeouts.idle),
            _ => None,
        }
    }

    /// Since when no call is at work. None: one is, or a head is awaited.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.is(IDLE).then(|| self.since())
    }

    /// HTTP/1: whether no call has been at work for so long, and all that was answered is gone.
    pub(crate) fn is_quiet(&self, long: Duration) -> bool {
        !self.is(BUSY) && self.owes_nothing() && self.since().elapsed() >= long
    }

    fn is(&self, phase: u8) -> bool {
        self.0.phase.load(Ordering::Relaxed) == phase
    }

    fn enter(&self, phase: u8) {
        self.touch();
        self.0.phase.store(phase, Ordering::Relaxed);
    }

    /// Counts from now on.
    fn touch(&self) {
        let ms = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.since_ms.store(ms, Ordering::Relaxed);
    }

    fn since(&self) -> Instant {
        self.0.start + Duration::from_millis(self.0.since_ms.load(Ordering::Relaxed))
    }
}

/// A call at work.
#[derive(Debug)]
pub(crate) struct Busy(Phase);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.enter(IDLE);
        }
    }
}
