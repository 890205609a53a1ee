//! How far a copy is behind its log, from looks at the log's end.
//!
//! Not here: asking for the end. Invariant: the time is never less than the first record that is not applied has waited.

use std::time::Duration;

use millpond_schemas::{Offset, UnixMillis};

use crate::Lag;

/// What the last look has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behind {
    end: Option<Offset>,
    /// How far the copy was when it ran last.
    applied: Option<Offset>,
    /// When it was known to have applied everything, or the time of the last record that it has: whichever is later.
    /// What it has not applied came after that.
    whole_at: Option<UnixMillis>,
    waited: Duration,
}

impl Behind {
    /// The log ends here now; a copy that runs has applied so far, the last record being of that time.
    pub(crate) fn look(&mut self, end: Offset, applied: Option<(Offset, UnixMillis)>, now: UnixMillis) {
        self.end = Some(end);
        if let Some((applied, time)) = applied {
            self.applied = Some(applied);
            let whole = if applied.next() >= end { now } else { time };
            self.whole_at = self.whole_at.max(Some(whole));
        }
        self.waited = Duration::from_millis(self.whole_at.map_or(0, |whole_at| now.ms_since(whole_at)));
    }

    /// The lag of a copy that is here, or was here when it ran last.
    pub(crate) fn lag(&self, applied: Option<Offset>) -> Option<Lag> {
        let (end, applied) = (self.end?, applied.or(self.applied)?);
        let records = u64::try_from(end.0 - applied.next().0).unwrap_or(0);
        let time = if records == 0 { Duration::ZERO } else { self.waited };
        Some(Lag { records, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(records: u64, seconds: u64) -> Lag {
        Lag { records, time: Duration::from_secs(seconds) }
    }

    #[test]
    fn time_counts_from_when_everything_was_applied() {
        let mut behind = Behind::default();
        let at = |seconds: i64| UnixMillis(seconds * 1000);
        assert_eq!(behind.lag(None), None);
        // Idle since second 10, looked at in second 100.
        behind.look(Offset(5), Some((Offset(4), at(10))), at(100));
        assert_eq!(behind.lag(Some(Offset(4))), Some(lag(0, 0)));
        // Two records have come since: not 95 seconds ago.
        behind.look(Offset(7), Some((Offset(4), at(10))), at(105));
        assert_eq!(behind.lag(Some(Offset(4))), Some(lag(2, 5)));
        // It is halted from here on.
        behind.look(Offset(9), None, at(120));
        assert_eq!(behind.lag(None), Some(lag(4, 20)));
        // It runs again, and is still behind, by what came after second 115.
        behind.look(Offset(9), Some((Offset(6), at(115))), at(121));
        assert_eq!(behind.lag(Some(Offset(6))), Some(lag(2, 6)));
        assert_eq!(behind.lag(Some(Offset(8))), Some(lag(0, 0)), "applied since the look");
    }
}
