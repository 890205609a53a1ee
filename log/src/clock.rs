//! The one place that asks what time it is.
//!
//! Wall time stamps records and is judged by people; elapsed time only measures. Invariant: elapsed time never
//! goes back, and counts the time that the machine sleeps, so that a laptop that wakes up has not parted from it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use millpond_schemas::UnixMillis;
use rustix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const ELAPSED: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const ELAPSED: ClockId = ClockId::Monotonic;

/// Wall and elapsed time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// One that a test sets.
    Manual(Arc<Manual>),
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct Manual {
    wall_ms: AtomicI64,
    elapsed_ms: AtomicI64,
}

impl Clock {
    /// The wall clock, in milliseconds. May jump either way.
    pub fn now(&self) -> UnixMillis {
        match self {
            Self::System => system_now(),
            Self::Manual(manual) => UnixMillis(manual.wall_ms.load(Ordering::SeqCst)),
        }
    }

    /// Time since some fixed moment, whatever happens to the wall clock.
    pub fn elapsed(&self) -> Duration {
        match self {
            Self::System => {
                let at = clock_gettime(ELAPSED);
                Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
            }
            Self::Manual(manual) => {
                Duration::from_millis(manual.elapsed_ms.load(Ordering::SeqCst).unsigned_abs())
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the Clock")]
fn system_now() -> UnixMillis {
    let signed = |ms: u128| i64::try_from(ms).unwrap_or(i64::MAX);
    UnixMillis(match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => signed(since.as_millis()),
        Err(before) => -signed(before.duration().as_millis()),
    })
}

impl Manual {
    /// A clock that shows `wall` until it is moved.
    pub fn new(wall: UnixMillis) -> Arc<Self> {
        Arc::new(Self { wall_ms: AtomicI64::new(wall.0), elapsed_ms: AtomicI64::new(0) })
    }

    /// Lets time pass: wall and elapsed time both move on.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or a broken time server does.
    pub fn set_wall(&self, wall: UnixMillis) {
        self.wall_ms.store(wall.0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_wall_clock_leaves_elapsed_time_alone() {
        let manual = Manual::new(UnixMillis(1_000));
        let clock = Clock::Manual(Arc::clone(&manual));
        manual.advance(Duration::from_secs(2));
        manual.set_wall(UnixMillis(5));
        assert_eq!((clock.now(), clock.elapsed()), (UnixMillis(5), Duration::from_secs(2)));
    }

    #[test]
    fn the_system_clock_is_past_the_year_2020_and_runs() {
        assert!(Clock::System.now() > UnixMillis(1_577_836_800_000));
        let before = Clock::System.elapsed();
        while Clock::System.elapsed() == before {}
        assert!(Clock::System.elapsed() > before);
    }
}
