//! Threads of our own: each is woken, told to stop, and joined.
//!
//! Invariant: a dropped [`Worker`] has joined its thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

/// How long a thread rests at most when nothing wakes it.
const REST: Duration = Duration::from_millis(100);

/// A thread that stops when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    stopping: Stopping,
    handle: Option<JoinHandle<()>>,
}

/// Whether a thread should stop.
#[derive(Clone, Debug)]
pub(super) struct Stopping(Arc<AtomicBool>);

impl Stopping {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Rests until it is woken, or a while has passed.
    pub(super) fn rest(&self, at_most: Duration) {
        if !self.is_set() {
            thread::park_timeout(at_most.min(REST));
        }
    }

    /// Pauses for so long, whoever wakes it, unless it should stop.
    pub(super) fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }
}

impl Worker {
    /// Starts a thread.
    ///
    /// # Panics
    /// When the system cannot start one.
    pub(super) fn start(name: &str, run: impl FnOnce(Stopping) + Send + 'static) -> Self {
        let stopping = Stopping(Arc::new(AtomicBool::new(false)));
        let told = stopping.clone();
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || run(told));
        Self { stopping, handle: Some(handle.expect("the system can start a thread")) }
    }

    /// Wakes it: something is to be done.
    pub(super) fn wake(&self) {
        if let Some(handle) = &self.handle {
            handle.thread().unpark();
        }
    }

    /// What wakes it.
    pub(super) fn thread(&self) -> Option<Thread> {
        self.handle.as_ref().map(|handle| handle.thread().clone())
    }

    /// Tells it to stop and waits until it has. A panic there goes on here.
    pub(super) fn stop(&mut self) {
        self.stopping.0.store(true, Ordering::Release);
        self.wake();
        let Some(handle) = self.handle.take() else { return };
        if handle.thread().id() == thread::current().id() {
            // Its own work held it last: it ends with that.
            return;
        }
        if let Err(panic) = handle.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}
