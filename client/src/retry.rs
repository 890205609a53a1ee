//! When to try again, and how long to wait before.
//!
//! Not here: whether a call may be repeated at all; that depends on its Idempotency-Key and stands in `transport`.
//! Invariant: a wait that the server asked for is never cut short.

use std::time::Duration;

use crate::Error;

/// How often and how long a call is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Wait before the first repetition; doubles with each. Default 50 ms.
    pub delay_first: Duration,
    /// Longest wait of our own choosing. Default 2 s.
    pub delay_max: Duration,
    /// Gives up when the next wait would end later than this after the call began. Default 30 s; `None`: never.
    pub give_up_after: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            delay_first: Duration::from_millis(50),
            delay_max: Duration::from_secs(2),
            give_up_after: Some(Duration::from_secs(30)),
        }
    }
}

impl RetryPolicy {
    /// Never tries again.
    pub const NEVER: Self =
        Self { delay_first: Duration::ZERO, delay_max: Duration::ZERO, give_up_after: Some(Duration::ZERO) };

    /// The wait before attempt `attempt` + 1, or `None` to give up after `elapsed`.
    ///
    /// `spread`, in `0.0..1.0`, keeps many clients from coming back at once.
    pub(crate) fn delay(
        &self,
        attempt: u32,
        asked: Option<Duration>,
        elapsed: Duration,
        spread: f64,
    ) -> Option<Duration> {
        let doubled = self.delay_first.saturating_mul(1_u32.checked_shl(attempt.min(20)).unwrap_or(u32::MAX));
        let own = doubled.min(self.delay_max).mul_f64(0.5 + spread / 2.0);
        let delay = own.max(asked.unwrap_or_default());
        match self.give_up_after {
            Some(limit) if elapsed + delay >= limit => None,
            _ => Some(delay),
        }
    }
}

/// Tells that a call waits before it is made again.
#[derive(Debug)]
pub struct Retry<'a> {
    /// Why it has to be.
    pub error: &'a Error,
    /// How long until then.
    pub delay: Duration,
}

/// Reads `Retry-After` as whole seconds. A date is ignored: this client asks no clock.
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn waits_double_up_to_their_bound() {
        let policy = RetryPolicy { give_up_after: None, ..RetryPolicy::default() };
        let waits: Vec<_> = (0..8).filter_map(|n| policy.delay(n, None, MS(0), 1.0)).collect();
        assert_eq!(waits[..3], [MS(50), MS(100), MS(200)]);
        assert_eq!(waits[7], policy.delay_max);
        assert_eq!(policy.delay(0, None, MS(0), 0.0), Some(MS(25)));
        assert_eq!(policy.delay(u32::MAX, None, MS(0), 1.0), Some(policy.delay_max));
    }

    #[test]
    fn a_wait_that_the_server_asked_for_is_kept() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(0, Some(MS(7_000)), MS(0), 0.5), Some(MS(7_000)));
        assert_eq!(policy.delay(0, Some(MS(31_000)), MS(0), 0.5), None, "it would end after giving up");
    }

    #[test]
    fn never_is_never() {
        assert_eq!(RetryPolicy::NEVER.delay(0, None, MS(0), 0.0), None);
    }

    #[test]
    fn retry_after_is_seconds() {
        let mut headers = http::HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(http::header::RETRY_AFTER, "3".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(MS(3_000)));
        headers.insert(http::header::RETRY_AFTER, "Fri, 07 Nov 2025 10:00:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), None);
    }
}
