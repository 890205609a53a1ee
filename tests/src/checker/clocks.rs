//! Times: when a shard may have looked at its clock during a read; and I10, which is judged when all is healed.
//!
//! Invariant: a doubt about clocks is decided for the product.

use millpond_schemas::UnixMillis;

use super::verdict::{Found, Invariant};
use crate::history::{Lag, Read};

/// The times that a shard's clock may have shown during a read, ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    earliest: i64,
    latest: i64,
}

impl Clocks {
    pub(super) fn of(read: &Read, skew_ms: u64) -> Self {
        Self {
            earliest: read.start_us.div_euclid(1000).saturating_sub_unsigned(skew_ms),
            latest: read.end_us.div_euclid(1000).saturating_add(1).saturating_add_unsigned(skew_ms),
        }
    }

    /// It certainly had come.
    pub(super) fn is_past(self, at: UnixMillis) -> bool {
        at.0 < self.earliest
    }

    /// It certainly had not.
    pub(super) fn is_to_come(self, at: UnixMillis) -> bool {
        at.0 > self.latest
    }
}

/// I10.
pub(super) fn healed(line: usize, lag: &Lag, found: &mut Found) {
    found.counts.lags += 1;
    for (partition, records) in lag.records.iter().enumerate().filter(|(_, records)| **records > 0) {
        found.add(Invariant::I10, line, || {
            format!("partition {partition} is {records} records behind after healing")
        });
    }
    if lag.acked == 0 {
        found.add(Invariant::I10, line, || "no write was acked after healing".to_owned());
    }
}
