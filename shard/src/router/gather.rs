//! Reads that wait for a node together become one query.
//!
//! A read that is alone is sent at once. Others gather while a query is under way: with many keys in it each costs a
//! fraction. A further connection is used only for more than the next query can take, or when a query is slow.
//! Invariant: the query runs in a task of its own, so a caller that goes away harms neither it nor the others.

use std::{
    collections::VecDeque,
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use millpond_schemas::{Mutant, PartitionId, RecordKey};
use tokio::{sync::oneshot, task::yield_now, time::timeout};
use tokio_util::task::TaskTracker;

use super::node::Fault;
use crate::{Error, Shard, Snapshot, error::no_copy};

/// Keys of one query, but for a call that has more of its own. More: fewer queries, and more memory for each.
const QUERY_KEYS_MAX: usize = 64;
/// Reads that wait for one node; one more is told that it is unavailable.
const WAITING_MAX: usize = 4096;
/// Of those, how many are looked at for company of the first.
const LOOKED_MAX: usize = 512;
/// A query that takes longer is slow: it reads from a disk, or large values. The next does not wait for it.
const SLOW: Duration = Duration::from_millis(2);
const READING: &str = "read rows";

/// The reads of one node.
#[derive(Clone)]
pub(super) struct Gather(Arc<Shared>);

struct Shared {
    shard: Shard,
    queue: Mutex<Queue>,
    queries: AtomicU64,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Call>,
    /// Keys of those that wait.
    keys: usize,
    /// Tasks at work: at most as many as the node's connections. As long as there is one, it takes what waits.
    running: usize,
    /// Those of them whose query is slow.
    slow: usize,
}

impl Queue {
    /// Whether those at work will not do: none is quick, or more waits than their next queries can take.
    fn wants_another(&self) -> bool {
        !self.waiting.is_empty() && self.keys > QUERY_KEYS_MAX * (self.running - self.slow)
    }

    /// The next calls that somebody still waits for, up to [`QUERY_KEYS_MAX`] keys: the first, and others of its tenant
    /// and neighbourhood.
    fn take(&mut self, neighbourhood: impl Fn(PartitionId) -> u32) -> Vec<Call> {
        let mut calls: Vec<Call> = Vec::new();
        let mut others = VecDeque::new();
        let mut keys = 0;
        while keys < QUERY_KEYS_MAX && others.len() < LOOKED_MAX {
            let Some(call) = self.waiting.pop_front() else { break };
            if call.answer.is_closed() {
                self.keys -= call.keys.len();
                continue;
            }
            let fits = calls.first().is_none_or(|first| {
                keys + call.keys.len() <= QUERY_KEYS_MAX
                    && neighbourhood(call.partition) == neighbourhood(first.partition)
                    && call.tenant() == first.tenant()
            });
            if fits {
                keys += call.keys.len();
                calls.push(call);
            } else {
                others.push_back(call);
            }
        }
        while let Some(other) = others.pop_back() {
            self.waiting.push_front(other);
        }
        self.keys -= keys;
        calls
    }
}

struct Call {
    partition: PartitionId,
    keys: Vec<RecordKey>,
    answer: oneshot::Sender<Result<Snapshot, Error>>,
}

impl Call {
    fn tenant(&self) -> Option<&str> {
        self.keys.first().map(RecordKey::tenant)
    }
}

impl Gather {
    pub(super) fn new(shard: Shard, tasks: TaskTracker) -> Self {
        let shared = Shared { shard, queue: Mutex::default(), queries: AtomicU64::new(0), tasks };
        Self(Arc::new(shared))
    }

    /// Queries sent so far.
    pub(super) fn queries(&self) -> u64 {
        self.0.queries.load(Ordering::Relaxed)
    }

    pub(super) async fn read(&self, partition: PartitionId, keys: Vec<RecordKey>) -> Result<Snapshot, Fault> {
        let (answer, receiver) = oneshot::channel();
        self.push(Call { partition, keys, answer })?;
        let answered = receiver.await;
        let answer = answered.unwrap_or_else(|gone| Err(Error::unavailable(READING, gone)));
        answer.map_err(Fault::of)
    }

    fn push(&self, call: Call) -> Result<(), Fault> {
        let mut queue = self.0.queue();
        if queue.waiting.len() >= WAITING_MAX {
            return Err(Fault::Call(Error::unavailable(READING, "too many reads wait for the node")));
        }
        queue.keys += call.keys.len();
        queue.waiting.push_back(call);
        self.0.start_another(&mut queue);
        Ok(())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_another(self: &Arc<Self>, queue: &mut Queue) {
        if queue.running < self.shard.readers() && queue.wants_another() {
            queue.running += 1;
            self.tasks.spawn(work(Running { shared: Arc::clone(self), slow: false, left: false }));
        }
    }
}

/// One of [`Queue::running`].
struct Running {
    shared: Arc<Shared>,
    slow: bool,
    left: bool,
}

impl Drop for Running {
    /// Only after a panic: otherwise it has left under the lock under which it found nothing to do.
    fn drop(&mut self) {
        if !self.left {
            let mut queue = self.shared.queue();
            queue.running -= 1;
            queue.slow -= usize::from(self.slow);
        }
    }
}

impl Running {
    /// What it is to ask for next; leaves when there is nothing.
    fn take(&mut self) -> Vec<Call> {
        let mut queue = self.shared.queue();
        queue.slow -= usize::from(std::mem::take(&mut self.slow));
        let calls = queue.take(|partition| self.shared.shard.neighbourhood(partition));
        if calls.is_empty() {
            queue.running -= 1;
            self.left = true;
        }
        calls
    }

    /// Its query is slow: what waits is for another.
    fn is_slow(&mut self) {
        let mut queue = self.shared.queue();
        queue.slow += 1;
        self.slow = true;
        self.shared.start_another(&mut queue);
    }
}

async fn work(mut running: Running) {
    loop {
        // Whoever is about to ask comes along.
        yield_now().await;
        let calls = running.take();
        if running.left {
            return;
        }
        let shared = Arc::clone(&running.shared);
        let mut query = pin!(query(&shared, calls));
        if timeout(SLOW, &mut query).await.is_err() {
            running.is_slow();
            query.await;
        }
    }
}

async fn query(shared: &Shared, calls: Vec<Call>) {
    match asked(shared, &calls).await {
        Ok(answers) => {
            for (call, answer) in calls.into_iter().zip(answers) {
                let _gone = call.answer.send(answer);
            }
        }
        Err(error @ Error::Unavailable { .. }) => {
            let error = Arc::new(error);
            for call in calls {
                let common = Common(Arc::clone(&error));
                let _gone = call.answer.send(Err(Error::unavailable(READING, common)));
            }
        }
        // What one call has asked for must not fail its neighbours.
        Err(error) => match <[Call; 1]>::try_from(calls) {
            Ok([call]) => drop(call.answer.send(Err(error))),
            Err(calls) => alone(shared, calls).await,
        },
    }
}

async fn alone(shared: &Shared, calls: Vec<Call>) {
    for call in calls.into_iter().filter(|call| !call.answer.is_closed()) {
        let answers = asked(shared, std::slice::from_ref(&call)).await;
        let answer = answers.map(|mut answers| answers.pop().expect("one answer a call"));
        let _gone = call.answer.send(answer.flatten());
    }
}

/// One query. One answer a call.
async fn asked(shared: &Shared, calls: &[Call]) -> Result<Vec<Result<Snapshot, Error>>, Error> {
    shared.queries.fetch_add(1, Ordering::Relaxed);
    if let [call] = calls {
        let read = async || shared.shard.read(call.partition, call.keys.clone()).await;
        let mut found = read().await?;
        if Mutant::TwoStatements.is_picked() {
            found.freshness = read().await?.freshness;
        }
        return Ok(vec![Ok(found)]);
    }
    let keys = |call: &Call| {
        let partition = call.partition;
        call.keys.clone().into_iter().map(move |key| (partition, key))
    };
    let read = shared.shard.read_many(calls.iter().flat_map(keys).collect()).await?;
    let mut rows = read.rows.into_iter();
    let answer = |call: &Call| {
        let rows = rows.by_ref().take(call.keys.len()).collect();
        let mut states = read.freshness.iter();
        let freshness = states.find(|freshness| freshness.applied.partition == call.partition);
        let freshness = *freshness.ok_or_else(|| no_copy(READING))?;
        Ok(Snapshot { freshness, rows })
    };
    Ok(calls.iter().map(answer).collect())
}

/// The error of a query that several calls have shared.
#[derive(Debug)]
struct Common(Arc<Error>);

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Common {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
