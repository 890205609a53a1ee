//! Reading: a cursor per partition, filled ahead by one thread with one consumer.
//!
//! Invariant: what a read gives out is contiguous from the offset that was asked for, but for holes that the standing
//! reader has confirmed; after any doubt about the log itself the next read of each partition says so once.

mod cursor;
mod pump;

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread::Thread,
    time::Duration,
};

use millpond_schemas::{Offset, PartitionId};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};

use self::{
    cursor::{Cursor, Place, Served},
    pump::Pump,
};
use super::{
    config::Config,
    context::Identity,
    ends::{Edge, Ends},
    standing::Standing,
    worker::Worker,
};
use crate::{Error, Read, Stall};

/// A read that brings nothing for this long, though something is there, is told so.
const READ: Duration = Duration::from_secs(5);
/// After this long without news a waiting read asks whether there is anything to wait for. Doubles each time.
const ASK: Duration = Duration::from_millis(10);

/// Reads one topic.
pub(super) struct Reader {
    shared: Arc<Shared>,
    ends: Arc<Ends>,
    /// One read of a partition at a time: two would seek against each other.
    turns: Box<[tokio::sync::Mutex<()>]>,
    worker: Worker,
}

/// What reads and the thread share.
struct Shared {
    identity: Arc<Identity>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// See [`super::producer::Shared::known_ends`].
    known_ends: Arc<[AtomicI64]>,
    pump: Mutex<Option<Thread>>,
    /// Of what lies in the cursors.
    bytes_max: usize,
    holes: AtomicU64,
    restarts: AtomicU64,
}

/// Everything that was read ahead.
struct State {
    cursors: Vec<Cursor>,
    /// Of all cursors.
    bytes: usize,
    /// A cursor has changed its place: the consumer must follow.
    moved: bool,
}

impl State {
    /// Changes one cursor, and keeps count.
    fn change<T>(&mut self, slot: usize, change: impl FnOnce(&mut Cursor) -> T) -> T {
        let cursor = &mut self.cursors[slot];
        let (bytes, era, place) = (cursor.bytes(), cursor.era, cursor.place);
        let changed = change(cursor);
        self.bytes = self.bytes + cursor.bytes() - bytes;
        self.moved |= cursor.era != era || (cursor.place == Place::Wanted && place != Place::Wanted);
        changed
    }
}

/// What a reader stands on.
pub(super) struct Source {
    pub(super) identity: Arc<Identity>,
    pub(super) known_ends: Arc<[AtomicI64]>,
    pub(super) ends: Arc<Ends>,
    pub(super) standing: Arc<Standing>,
    pub(super) changes: watch::Sender<u64>,
}

impl Reader {
    pub(super) fn start(config: &Config, source: Source) -> Self {
        let partitions = source.known_ends.len();
        let cursors = (0..partitions).map(|_| Cursor::default()).collect();
        let shared = Arc::new(Shared {
            identity: source.identity,
            state: Mutex::new(State { cursors, bytes: 0, moved: false }),
            changes: source.changes,
            known_ends: source.known_ends,
            pump: Mutex::default(),
            bytes_max: config.read_ahead().0,
            holes: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
        });
        let pump = Pump::new(config, Arc::clone(&shared), Arc::clone(&source.ends), source.standing);
        let worker = Worker::start("kafka-reader", move |stopping| pump.run(&stopping));
        *shared.pump.lock().expect("nothing panics while it holds the thread") = worker.thread();
        let turns = (0..partitions).map(|_| tokio::sync::Mutex::default()).collect();
        Self { shared, ends: source.ends, turns, worker }
    }

    /// As [`crate::Log::read`].
    pub(super) async fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Read, Error> {
        let slot = partition.0 as usize;
        let _turn = self.turns[slot].lock().await;
        if from < Offset(0) {
            let seen = self.ends.seen(partition, Edge::Start).await?;
            return Err(Error::Trimmed { start: seen.edge });
        }
        let give_up = Instant::now() + READ;
        let mut pause = ASK;
        loop {
            let news = match self.shared.serve(slot, from, bytes_max) {
                Served::Read(read) => return Ok(read),
                Served::Failed(error) => return Err(error),
                Served::Lost => return Err(self.lost(partition, from).await?),
                Served::Later(news) => news,
            };
            if Instant::now() >= give_up {
                return Err(Error::Unavailable { reason: "no record came for 5 s", source: None });
            }
            if timeout_at(Instant::now() + pause, news).await.is_err() {
                pause *= 2;
                if self.nothing_there(partition, from).await? {
                    self.shared.state().cursors[slot].caught_up(from);
                    return Ok(Read { records: Vec::new(), next: from });
                }
            }
        }
    }

    /// Whether nothing can be read at `from` just now.
    async fn nothing_there(&self, partition: PartitionId, from: Offset) -> Result<bool, Error> {
        let seen = self.ends.seen(partition, Edge::Stable).await?;
        if from > seen.end {
            return Err(Error::BeyondEnd { end: seen.end });
        }
        Ok(seen.edge <= from)
    }

    /// Why the consumer cannot read at `from`.
    async fn lost(&self, partition: PartitionId, from: Offset) -> Result<Error, Error> {
        let seen = self.ends.seen(partition, Edge::Start).await?;
        Ok(if from < seen.edge {
            Error::Trimmed { start: seen.edge }
        } else if from > seen.end {
            Error::BeyondEnd { end: seen.end }
        } else {
            Error::Unavailable { reason: "the place to read on was lost", source: None }
        })
    }

    /// As [`crate::Log::rest`].
    pub(super) fn rest(&self, partition: PartitionId) {
        self.shared.state().change(partition.0 as usize, Cursor::drop_all);
        self.worker.wake();
    }

    /// Drops everything that was fetched ahead.
    pub(super) fn rest_all(&self) {
        for partition in 0..self.turns.len() {
            self.shared.state().change(partition, Cursor::drop_all);
        }
        self.worker.wake();
    }

    /// As [`crate::Log::stalls`].
    pub(super) fn stalls(&self) -> Vec<Stall> {
        let state = self.shared.state();
        let each = (0u32..).map(PartitionId).zip(&state.cursors);
        each.filter_map(|(partition, cursor)| Some(Stall { partition, since: cursor.stalled_for()? }))
            .collect()
    }

    /// Holes passed over, and consumers made anew.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.shared.holes.load(Ordering::Relaxed), self.shared.restarts.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the cursors")
    }

    /// What there is at `from`, or who will tell.
    fn serve(&self, slot: usize, from: Offset, bytes_max: usize) -> Served {
        let mut state = self.state();
        let was_full = state.bytes >= self.bytes_max;
        let known_end = Offset(self.known_ends[slot].load(Ordering::Acquire));
        let served = state.change(slot, |cursor| cursor.serve(from, bytes_max, known_end));
        let wake = state.moved || was_full;
        drop(state);
        if wake {
            self.wake_pump();
        }
        served
    }

    fn wake_pump(&self) {
        if let Some(pump) = &*self.pump.lock().expect("nothing panics while it holds the thread") {
            pump.unpark();
        }
    }
}

/// Tells a waiting read that it should look again.
type News = oneshot::Receiver<()>;
