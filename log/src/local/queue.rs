//! Calls that wait for the appender, bounded in bytes.
//!
//! Invariant: calls leave in the order they came, and their bytes count until they are answered.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use millpond_schemas::PartitionId;
use tokio::sync::oneshot;

use super::pieces::Piece;
use crate::{Ack, Error, meters::Queued};

/// One call of `enqueue`.
pub(super) struct Call {
    /// Where each of its records goes.
    pub(super) partitions: Vec<PartitionId>,
    pub(super) pieces: Vec<Piece>,
    /// Of all pieces.
    pub(super) bytes: usize,
    /// When it came, by the log's clock of elapsed time.
    pub(super) since: Duration,
    pub(super) answer: oneshot::Sender<Result<Vec<Ack>, Error>>,
}

pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    bytes_max: usize,
}

struct Inner {
    calls: VecDeque<Call>,
    /// Of the calls here and of those being written.
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        let inner = Inner { calls: VecDeque::new(), bytes: 0, closed: false };
        Self { inner: Mutex::new(inner), filled: Condvar::new(), bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the queue")
    }

    /// Adds a call, or fails at once.
    pub(super) fn push(&self, call: Call) -> Result<(), Error> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Error::closed());
        }
        let bytes = inner.bytes + call.bytes;
        if bytes > self.bytes_max {
            return Err(Error::Backpressure { queued_bytes: inner.bytes, max: self.bytes_max });
        }
        inner.bytes = bytes;
        inner.calls.push_back(call);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for calls and moves them to `into`, about as many as make `bytes_max`, at least one.
    /// False when the queue is closed and empty.
    pub(super) fn take(&self, bytes_max: usize, into: &mut Vec<Call>) -> bool {
        let waiting = |inner: &mut Inner| inner.calls.is_empty() && !inner.closed;
        let mut inner =
            self.filled.wait_while(self.lock(), waiting).expect("nothing panics while it holds the queue");
        let mut bytes = 0;
        while let Some(call) = inner.calls.front() {
            bytes += call.bytes;
            if bytes > bytes_max && !into.is_empty() {
                break;
            }
            into.extend(inner.calls.pop_front());
        }
        !into.is_empty()
    }

    pub(super) fn queued(&self) -> Queued {
        Queued { bytes: self.lock().bytes, max: self.bytes_max }
    }

    /// Bytes of calls that have been answered no longer count.
    pub(super) fn done(&self, bytes: usize) {
        self.lock().bytes -= bytes;
    }

    /// Takes no more calls; those that wait will still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Nobody will take calls any more: those that wait are dropped, and so answered.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.calls.clear();
        inner.bytes = 0;
    }
}
