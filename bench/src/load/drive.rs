//! The loop of a load: slots take calls from a source, make them, and say how long after their intended start they ended.
//!
//! Not here: threads, connections, bytes. Invariant: every call of the schedule is made and counted, however late, unless
//! the server is so far behind that the load is void anyway.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    alarm::Alarm,
    schedule::Schedule,
    slot::{Called, Slot, Verdict},
    source::{Due, Source},
    workload::Kind,
};
use crate::latency::Latencies;

/// How long after its end a load is waited for.
const DRAIN: Duration = Duration::from_secs(30);

/// Who decides when the next call starts.
pub(super) enum Pace {
    /// The answer of the one before.
    Closed,
    /// The clock.
    Open(Box<Schedule>, Alarm),
}

/// What became of all calls.
#[derive(Default)]
pub(super) struct Seen {
    /// Of calls that did not fail, from their intended start.
    pub(super) latencies: BTreeMap<Kind, Latencies>,
    /// Calls that were to be made; in a closed loop those that were.
    pub(super) offered: u64,
    /// Calls that ended, well or not.
    pub(super) calls: u64,
    /// Calls that did not fail and ended before the time was over. In a closed loop all that did not fail.
    pub(super) in_time: u64,
    pub(super) operations: u64,
    pub(super) missed: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        for (kind, latencies) in &other.latencies {
            self.latencies.entry(*kind).or_default().add(latencies);
        }
        self.offered += other.offered;
        self.calls += other.calls;
        self.in_time += other.in_time;
        self.operations += other.operations;
        self.missed += other.missed;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    /// All kinds together.
    pub(super) fn all(&self) -> Latencies {
        let mut all = Latencies::default();
        self.latencies.values().for_each(|latencies| all.add(latencies));
        all
    }

    fn record(&mut self, due: Due, called: Called, until: Option<Instant>) {
        self.calls += 1;
        match called.verdict {
            Verdict::Failed(what) => {
                self.failed += 1;
                self.first_failure.get_or_insert(what);
                return;
            }
            Verdict::Good => {}
            Verdict::Missed => self.missed += 1,
            Verdict::Rejected => self.rejected += 1,
        }
        let now = Instant::now();
        self.in_time += u64::from(until.is_none_or(|until| now <= until));
        self.operations += called.operations;
        self.latencies.entry(called.kind).or_default().record(now - due.intended);
    }
}

/// Makes calls from `began` for so long, in all slots; returns when all were made.
///
/// # Errors
/// A connection broke.
pub(super) async fn drive(
    slots: Vec<Slot>,
    pace: Pace,
    (began, length): (Instant, Duration),
    made: &Arc<AtomicU64>,
) -> Result<Seen> {
    let until = began + length;
    let (source, judged_until) = match &pace {
        Pace::Closed => (Source::closed(until), None),
        Pace::Open(..) => (Source::open(), Some(until)),
    };
    let (source, seen) = (Arc::new(source), Arc::new(Mutex::new(Seen::default())));
    let mut running = JoinSet::new();
    for slot in slots {
        let shared = (Arc::clone(&source), Arc::clone(&seen), Arc::clone(made));
        running.spawn(calls(slot, shared, judged_until));
    }
    let all = async {
        let offered = match (&*source, pace) {
            (Source::Open(queue), Pace::Open(schedule, alarm)) => {
                Some(queue.pace(*schedule, began, &alarm).await?)
            }
            _ => None,
        };
        while let Some(ended) = running.join_next().await {
            ended.context("a slot panicked")??;
        }
        anyhow::Ok(offered)
    };
    let late = "the server is more than 30 s behind: no report";
    let offered = timeout_at(until + DRAIN, all).await.context(late)??;
    let mut seen = std::mem::take(&mut *seen.lock().expect("nothing panics while it records"));
    seen.offered = offered.unwrap_or(seen.calls);
    Ok(seen)
}

type Shared = (Arc<Source>, Arc<Mutex<Seen>>, Arc<AtomicU64>);

async fn calls(mut slot: Slot, (source, seen, made): Shared, until: Option<Instant>) -> Result<()> {
    while let Some(due) = source.next().await {
        let called = slot.call(due.number).await?;
        made.fetch_add(1, Ordering::Relaxed);
        seen.lock().expect("nothing panics while it records").record(due, called, until);
    }
    Ok(())
}
