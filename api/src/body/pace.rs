//! Whether a body comes fast enough.
//!
//! Not here: waiting for it. Invariant: what counts are bytes on the wire, whatever they decode to.

use std::time::Duration;

use tokio::time::Instant;

use crate::problem::{Code, Problem};

/// Longest silence inside a body, and the length of a window.
const WINDOW: Duration = Duration::from_secs(10);
/// Least bytes that a body brings in every window: 1 KiB a second.
const WINDOW_BYTES_MIN: usize = 10 * 1024;

/// The problem of a body that does not.
pub(super) fn too_slow() -> Problem {
    Problem::new(Code::BodyTimeout, "a body brings at least 1 KiB a second")
}

/// In every window a least number of bytes, and no window of silence.
pub(super) struct Pace {
    window_end: Instant,
    window_bytes: usize,
    silent_until: Instant,
}

impl Pace {
    /// From now on.
    pub(super) fn new() -> Self {
        let end = Instant::now() + WINDOW;
        Self { window_end: end, window_bytes: 0, silent_until: end }
    }

    /// Until when it may bring nothing more.
    pub(super) fn deadline(&self) -> Instant {
        if self.window_bytes < WINDOW_BYTES_MIN {
            self.window_end.min(self.silent_until)
        } else {
            self.silent_until
        }
    }

    /// It brought so many bytes.
    ///
    /// # Errors
    /// 408: too few of them in the last window.
    pub(super) fn brought(&mut self, bytes: usize) -> Result<(), Problem> {
        let now = Instant::now();
        self.silent_until = now + WINDOW;
        if now >= self.window_end {
            if self.window_bytes < WINDOW_BYTES_MIN {
                return Err(too_slow());
            }
            self.window_end = now + WINDOW;
            self.window_bytes = 0;
        }
        self.window_bytes += bytes;
        Ok(())
    }
}
