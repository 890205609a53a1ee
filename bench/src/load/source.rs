//! Where a slot takes its next call from: a queue of those that are due, or, in a closed loop, from time itself.
//!
//! Invariant: a call that is due is queued with the moment at which it was to start, and waits there while every slot is
//! busy; nothing is left out because a server is slow.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{sync::Semaphore, time::Instant};

use super::{alarm::Alarm, schedule::Schedule};

/// Shortest time between two looks at the schedule: what is due meanwhile starts together, late by no more than this.
const TICK: Duration = Duration::from_micros(100);

/// A call to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Counts from 0.
    pub(super) number: u64,
    /// From when its latency counts.
    pub(super) intended: Instant,
}

/// Gives calls to slots.
pub(super) enum Source {
    /// The next one as soon as a slot is free, until this moment.
    Closed { until: Instant, number: AtomicU64 },
    /// As the schedule says.
    Open(Queue),
}

/// Calls that are due.
pub(super) struct Queue {
    due: Mutex<VecDeque<Due>>,
    /// One permit for each of them. Closed at the end.
    ready: Semaphore,
}

impl Source {
    /// A closed loop.
    pub(super) fn closed(until: Instant) -> Self {
        Self::Closed { until, number: AtomicU64::new(0) }
    }

    /// An open loop; [`Queue::pace`] fills it.
    pub(super) fn open() -> Self {
        Self::Open(Queue { due: Mutex::default(), ready: Semaphore::new(0) })
    }

    /// The next call, when it is there; none at the end.
    pub(super) async fn next(&self) -> Option<Due> {
        match self {
            Self::Closed { until, number } => {
                let intended = Instant::now();
                let number = || number.fetch_add(1, Ordering::Relaxed);
                (intended < *until).then(|| Due { number: number(), intended })
            }
            Self::Open(queue) => {
                if let Ok(permit) = queue.ready.acquire().await {
                    permit.forget();
                }
                // After the end what is still queued is made all the same.
                queue.due.lock().expect("nothing panics while it holds the queue").pop_front()
            }
        }
    }
}

impl Queue {
    /// Queues every call when it is due, from `began` on; returns after the last one, with their number.
    pub(super) async fn pace(&self, schedule: Schedule, began: Instant, alarm: &Alarm) -> Result<u64> {
        let mut starts = schedule.map(|start| began + start).peekable();
        let (mut number, mut looked) = (0, began);
        while let Some(first) = starts.peek() {
            alarm.until((*first).max(looked + TICK)).await?;
            looked = Instant::now();
            let before = number;
            {
                let mut due = self.due.lock().expect("nothing panics while it holds the queue");
                while let Some(intended) = starts.next_if(|start| *start <= looked) {
                    due.push_back(Due { number, intended });
                    number += 1;
                }
            }
            self.ready.add_permits(usize::try_from(number - before).expect("it fits the queue"));
        }
        self.ready.close();
        Ok(number)
    }
}
