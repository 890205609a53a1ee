//! Waiting for a moment: by a timer of the kernel, which is exact to some 50 µs, where tokio's own is to a millisecond.
//!
//! Invariant: never early.

use std::{os::fd::OwnedFd, time::Duration};

use anyhow::{Context, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{io::unix::AsyncFd, time::Instant};

/// Wakes one task.
pub(super) enum Alarm {
    /// A timer of the kernel.
    Exact(AsyncFd<OwnedFd>),
    /// Tokio's clock, which a test may have paused.
    #[cfg(test)]
    Tokio,
}

impl Alarm {
    /// Belongs to the runtime that this is called in.
    #[expect(
        deprecated,
        reason = "warns of types that change their descriptor, which OwnedFd cannot; what is to replace it is unsafe code"
    )]
    pub(super) fn exact() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("make a timer")?;
        Ok(Self::Exact(AsyncFd::new(timer).context("watch a timer")?))
    }

    /// Waits for the moment.
    pub(super) async fn until(&self, moment: Instant) -> Result<()> {
        match self {
            Self::Exact(timer) => loop {
                let left = moment.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    // Let the slots have their turn, also when the schedule is behind.
                    tokio::task::yield_now().await;
                    return Ok(());
                }
                ring(timer, left).await?;
            },
            #[cfg(test)]
            Self::Tokio => {
                tokio::time::sleep_until(moment).await;
                Ok(())
            }
        }
    }
}

async fn ring(timer: &AsyncFd<OwnedFd>, left: Duration) -> Result<()> {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let value = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let once = Itimerspec { it_interval: zero, it_value: value };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once).context("set a timer")?;
    let mut ready = timer.readable().await.context("wait for a timer")?;
    // How often it has rung, which nobody wants to know; would-block when it has not.
    let _rung = rustix::io::read(timer, &mut [0; 8]);
    ready.clear_ready();
    Ok(())
}
