//! Whether a node is left alone, and for how long.
//!
//! Pure but for the clock that it is handed. Invariant: of calls that fail together one counts; only a probe that
//! succeeded ends a rest.

use std::time::Duration;

use tokio::time::Instant;

/// First pause of a node that failed.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How a node has been doing.
#[derive(Debug, Default)]
pub(super) struct Rest {
    resting: bool,
    /// In a row.
    failures: u32,
    /// When it came back: calls from before say nothing about it.
    back: Option<Instant>,
}

impl Rest {
    pub(super) fn is_resting(&self) -> bool {
        self.resting
    }

    /// A call that began then has failed. Whether the node is to rest from now on, and for how long.
    pub(super) fn failed(&mut self, began: Instant) -> Option<Duration> {
        if self.resting || self.back.is_some_and(|back| began < back) {
            return None;
        }
        self.resting = true;
        Some(self.longer())
    }

    /// A probe has failed: how long until the next.
    pub(super) fn failed_again(&mut self) -> Duration {
        self.longer()
    }

    /// A probe has succeeded.
    pub(super) fn is_back(&mut self, now: Instant) {
        self.resting = false;
        self.back = Some(now);
    }

    /// A call has succeeded.
    pub(super) fn succeeded(&mut self) {
        if !self.resting {
            self.failures = 0;
        }
    }

    fn longer(&mut self) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_until_a_call_succeeds() {
        let now = Instant::now();
        let mut rest = Rest::default();
        assert_eq!(rest.failed(now), Some(PAUSE_MIN));
        assert!(rest.is_resting());
        assert_eq!(rest.failed(now), None, "they failed together");
        assert_eq!(rest.failed_again(), PAUSE_MIN * 2);
        for _ in 0..100 {
            rest.failed_again();
        }
        assert_eq!(rest.failed_again(), PAUSE_MAX);
        rest.is_back(now + PAUSE_MAX);
        assert!(!rest.is_resting());
        assert_eq!(rest.failed(now), None, "it began before the node came back");
        assert_eq!(rest.failed(now + PAUSE_MAX), Some(PAUSE_MAX), "coming back proves little");
        rest.is_back(now + PAUSE_MAX);
        rest.succeeded();
        assert_eq!(rest.failed(now + PAUSE_MAX), Some(PAUSE_MIN));
    }
}
