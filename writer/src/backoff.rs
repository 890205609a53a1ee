//! How long a copy that was deposed, or holds up its neighbours, waits before it tries again.
//!
//! Invariant: two writers that both think a partition theirs claim it ever more rarely, yet never give up; nor does a
//! partition whose table is locked.

/// Longest wait, ticks.
const TICKS_MAX: u32 = 16;
/// After so many ticks at work the next wait is short again.
const TICKS_CALM: u32 = 60;

/// Counted in ticks of the worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    /// Ticks to wait.
    wait: u32,
    /// The last wait.
    last: u32,
    /// Ticks at work since.
    calm: u32,
}

impl Backoff {
    /// Another writer owns the copy, or it holds up its neighbours.
    pub(crate) fn failed(&mut self) {
        self.last = (self.last * 2).clamp(1, TICKS_MAX);
        self.wait = self.last;
        self.calm = 0;
    }

    /// A tick has passed, at work or not.
    pub(crate) fn tick(&mut self, at_work: bool) {
        self.wait = self.wait.saturating_sub(1);
        self.calm = if at_work { self.calm + 1 } else { 0 };
        if self.calm >= TICKS_CALM {
            *self = Self::default();
        }
    }

    /// Whether it may try.
    pub(crate) fn is_over(&self) -> bool {
        self.wait == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks until it may try.
    fn wait(backoff: &mut Backoff) -> u32 {
        let mut ticks = 0;
        while !backoff.is_over() {
            backoff.tick(false);
            ticks += 1;
        }
        ticks
    }

    #[test]
    fn each_time_it_waits_longer_up_to_a_bound_and_a_calm_minute_forgets() {
        let mut backoff = Backoff::default();
        let waits: Vec<u32> = (0..6)
            .map(|_| {
                backoff.failed();
                wait(&mut backoff)
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 16]);
        (0..TICKS_CALM).for_each(|_| backoff.tick(true));
        backoff.failed();
        assert_eq!(wait(&mut backoff), 1);
    }
}
