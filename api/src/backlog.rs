//! What the shards have yet to apply, and whether there is room for more of it.
//!
//! Looked at once a second, and more often from half of the budget on, apart from any call. What this api sends between
//! two looks is counted as waiting. While the share is used up nothing is accepted: to say 503 loses nothing.
//! A log whose brokers or disk do not answer leaves it as it was last seen.
//! Invariant: no read and no record of Millpond's own is ever held up by it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use millpond_log::{Error, Extent, Log, Space};
use millpond_schemas::{Offset, PartitionId};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    state::{App, State},
};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same once half of what may be is there.
const LOOK_NEAR: Duration = Duration::from_millis(100);
/// Of the budget, in hundredths: what apis have taken between two looks must still fit.
const FULL_PERCENT: u64 = 80;
/// The part of a disk that is never asked to stay free, one in so many.
const FREE_PART: u64 = 20;

/// As it was last seen.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    full: AtomicBool,
    seen: Mutex<Seen>,
    /// Bytes of it, again.
    waiting: AtomicU64,
    /// Bytes that were sent since the last look began.
    sent: AtomicU64,
    /// A look is wanted before its time.
    wanted: Notify,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) extent: Extent,
    space: Option<Space>,
}

/// What there may be.
#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes_max: Option<u64>,
    free_min: u64,
}

impl Limits {
    fn least_free(self, space: Space) -> u64 {
        self.free_min.min(space.of / FREE_PART)
    }
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self { bytes_max: config.backlog_bytes_max, free_min: config.free_bytes_min }
    }
}

impl Backlog {
    /// Whether nothing more is accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether so many bytes may be sent. They count as waiting from now on.
    pub(crate) fn takes(&self, bytes: u64, config: &Config) -> bool {
        if self.is_full() {
            return false;
        }
        let Some(max) = config.backlog_bytes_max else { return true };
        let sent = self.sent.fetch_add(bytes, Ordering::Relaxed);
        let waiting = self.waiting.load(Ordering::Relaxed).saturating_add(sent);
        if waiting >= max / 2 {
            self.wanted.notify_one();
        }
        waiting < full_from(max)
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that has changed. `sent`: what was counted when the look began.
    fn note(&self, seen: Seen, sent: u64, limits: Limits) -> bool {
        self.waiting.store(seen.extent.bytes, Ordering::Relaxed);
        self.sent.fetch_sub(sent, Ordering::Relaxed);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        let full = seen.why_full(limits).is_some();
        self.full.swap(full, Ordering::Relaxed) != full
    }
}

impl Seen {
    /// Whether more than half of what may be is there.
    fn is_near(self, limits: Limits) -> bool {
        let of_disk = self.space.is_some_and(|space| space.free / 2 < limits.least_free(space));
        of_disk || limits.bytes_max.is_some_and(|max| self.extent.bytes >= max / 2)
    }

    /// Why nothing more is accepted, in words; none: it is.
    fn why_full(&self, limits: Limits) -> Option<String> {
        let bytes = self.extent.bytes;
        if let Some(max) = limits.bytes_max.filter(|max| bytes >= full_from(*max)) {
            let records = self.extent.records;
            return Some(format!("{records} records of {bytes} bytes wait to be applied, of {max} that may"));
        }
        let space = self.space?;
        let least = limits.least_free(space);
        (space.free < least)
            .then(|| format!("the log's disk has {} bytes free, and should keep {least}", space.free))
    }
}

/// So many bytes are too many.
fn full_from(max: u64) -> u64 {
    max / 100 * FULL_PERCENT
}

impl State {
    /// Why nothing more is accepted, in words; none: it is.
    pub(crate) fn backlog_full(&self) -> Option<String> {
        let limits = Limits::from(&self.config);
        self.backlog.is_full().then(|| self.backlog.seen().why_full(limits).unwrap_or_default())
    }

    /// What lies above the watermarks that are known here. Of a partition whose shard has not answered since this api
    /// started, what has come since the first look: how much of the rest is applied nobody here can tell.
    pub(crate) async fn look_at_backlog(&self, first_ends: &mut FirstEnds) -> Result<Seen, Error> {
        let mut from = Vec::with_capacity(self.partitions.count() as usize);
        for partition in self.partitions.ids() {
            let known = self.partitions.of(partition).known();
            from.push(match known {
                Some(committed) => committed.next(),
                None => first_ends.of(&self.log, partition).await,
            });
        }
        let extent = self.log.extent(&from).await?;
        Ok(Seen { extent, space: self.log.space().await? })
    }
}

/// Where partitions ended when they were looked at first.
#[derive(Debug, Default)]
pub(crate) struct FirstEnds(HashMap<PartitionId, Offset>);

impl FirstEnds {
    /// [`Offset::MAX`]: its brokers have not answered yet.
    async fn of(&mut self, log: &Log, partition: PartitionId) -> Offset {
        if let Some(end) = self.0.get(&partition) {
            return *end;
        }
        match log.bounds(partition).await {
            Ok(bounds) => *self.0.entry(partition).or_insert(bounds.end),
            Err(_) => Offset::MAX,
        }
    }
}

/// Looks until `stop`. Where brokers would be asked for nothing, they are not.
pub(crate) async fn watch(app: App, stop: CancellationToken) {
    if app.config.backlog_bytes_max.is_none() && matches!(app.log, Log::Kafka(_)) {
        return;
    }
    let limits = Limits::from(&app.config);
    let mut pause = Duration::ZERO;
    let mut first_ends = FirstEnds::default();
    loop {
        let look = async {
            // Looks that are wanted have a pause between them, too.
            sleep(pause.min(LOOK_NEAR)).await;
            let _asked = timeout(pause.saturating_sub(LOOK_NEAR), app.backlog.wanted.notified()).await;
            let sent = app.backlog.sent.load(Ordering::Relaxed);
            app.look_at_backlog(&mut first_ends).await.map(|seen| (seen, sent))
        };
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = look => looked,
        };
        pause = LOOK_EVERY;
        match looked {
            Ok((seen, sent)) => {
                if seen.is_near(limits) {
                    pause = LOOK_NEAR;
                }
                if app.backlog.note(seen, sent, limits) {
                    tell(&app);
                }
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the backlog cannot be looked at");
            }
        }
    }
}

fn tell(app: &State) {
    match app.backlog_full() {
        Some(why) => tracing::error!("backlog-full: nothing is accepted: {why}"),
        None => tracing::info!("the backlog has room: writes are accepted again"),
    }
}

/// Tells of it.
#[derive(Debug)]
pub(crate) struct BacklogMetrics(pub(crate) App);

impl Collector for BacklogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let app = &self.0;
        let Seen { extent, space } = app.backlog.seen();
        let bytes = Some(&Unit::Bytes);
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: u64| {
            let value = ConstGauge::new(value);
            value.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        gauge("millpond_backlog_records", "Records that shards have yet to apply", None, extent.records)?;
        gauge(
            "millpond_backlog",
            "Their size; on Kafka an estimate, where there is a budget",
            bytes,
            extent.bytes,
        )?;
        let max = app.config.backlog_bytes_max.unwrap_or(0);
        gauge("millpond_backlog_max", "What there may be of it; 0: any number", bytes, max)?;
        let full = u64::from(app.backlog.is_full());
        gauge("millpond_backlog_full", "1: nothing more is accepted, 503 backlog-full", None, full)?;
        let (name, help) = ("millpond_log_disk_free", "What can still be written to the disk of a local log");
        let free = encoder.encode_descriptor(name, help, bytes, MetricType::Gauge)?;
        if let Some(space) = space {
            ConstGauge::new(space.free).encode(free)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn seen(bytes: u64, free: u64) -> Seen {
        let space = Some(Space { free, of: 1000 * MIB });
        Seen { extent: Extent { records: 7, bytes }, space }
    }

    fn is_full(seen: Seen, bytes_max: Option<u64>, free_min: u64) -> bool {
        seen.why_full(Limits { bytes_max, free_min }).is_some()
    }

    #[test]
    fn it_is_full_at_four_fifths_of_the_budget() {
        let full = |bytes| is_full(seen(bytes, 900 * MIB), Some(100 * MIB), MIB);
        assert!(!full(80 * MIB - 100));
        assert!(full(80 * MIB));
        assert!(!is_full(seen(u64::MAX, 900 * MIB), None, MIB), "there is no budget");
    }

    #[test]
    fn it_is_full_when_the_disk_has_less_than_is_to_stay_free() {
        let full = |free, least| is_full(seen(0, free), None, least);
        assert!(full(29 * MIB, 30 * MIB));
        assert!(!full(30 * MIB, 30 * MIB));
        assert!(!full(50 * MIB, 500 * MIB), "no more than a twentieth is kept free");
        assert!(full(49 * MIB, 500 * MIB));
        let brokers = Seen { space: None, ..seen(0, 0) };
        assert!(!is_full(brokers, None, 30 * MIB));
    }

    #[test]
    fn it_is_near_from_half_of_the_budget_on() {
        let limits = Limits { bytes_max: Some(100 * MIB), free_min: 10 * MIB };
        assert!(!seen(49 * MIB, 900 * MIB).is_near(limits));
        assert!(seen(50 * MIB, 900 * MIB).is_near(limits));
        assert!(seen(0, 19 * MIB).is_near(limits));
    }

    #[test]
    fn what_is_sent_between_two_looks_counts_until_a_look_has_seen_it() {
        let config = Config { backlog_bytes_max: Some(100 * MIB), ..Config::default() };
        let (backlog, limits) = (Backlog::default(), Limits::from(&config));
        assert!(backlog.takes(79 * MIB, &config) && backlog.takes(MIB, &config));
        assert!(!backlog.takes(MIB, &config), "80 were sent");
        // A look that began after 80 of them saw none waiting.
        backlog.note(seen(0, 900 * MIB), 80 * MIB, limits);
        assert!(backlog.takes(MIB, &config));
        backlog.note(seen(79 * MIB, 900 * MIB), 2 * MIB, limits);
        assert!(backlog.takes(MIB, &config) && !backlog.takes(MIB, &config));
        assert!(Backlog::default().takes(u64::MAX, &Config::default()), "there is no budget");
    }

    #[test]
    fn a_change_is_noted_once() {
        let (backlog, limits) = (Backlog::default(), Limits { bytes_max: Some(100 * MIB), free_min: 0 });
        assert!(!backlog.note(seen(0, 0), 0, limits) && !backlog.is_full());
        assert!(backlog.note(seen(90 * MIB, 0), 0, limits) && backlog.is_full());
        assert!(!backlog.note(seen(95 * MIB, 0), 0, limits) && backlog.is_full());
        assert!(backlog.note(seen(10 * MIB, 0), 0, limits) && !backlog.is_full());
    }
}
