//! One shard of the topology: a primary, its replicas, and which of them answers a read.
//!
//! Not here: waiting for a position that no node has yet, and what a caller does with an answer that is too old.
//! Invariant: reads that a replica can serve never reach the primary; nothing but reads is ever sent to a replica.

mod ask;
mod choose;
mod gather;
mod marks;
mod node;
mod read;
mod report;
mod rest;
mod wide;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join, join_all};
use millpond_schemas::{Offset, PartitionId, RecordKey, Watermark};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{Error, Shard, Snapshot};
use marks::{Mark, Marks, Owners, Seen};
use node::Node;
use report::Counts;

pub use node::Reading;
pub use report::{Kind, NodeReport, Reached, Report};
pub use wide::Wants;

/// How long a probe of a node that failed may take.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// Why an answer is refused.
const OLD: &str = "it answers from an old timeline";

/// What a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The answer is to have applied this; [`Offset::NONE`]: whatever is there.
    pub at_least: Offset,
    /// Until when nodes may be asked.
    pub deadline: Instant,
}

/// The nodes of one shard. A clone is the same, and sees every change.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    name: String,
    reading: Option<Reading>,
    set: Mutex<Arc<Set>>,
    owners: Mutex<Owners>,
    /// How far the primary had come, a refresh ago. A replica below it lags.
    floor: Mutex<Marks>,
    turn: AtomicUsize,
    counts: Counts,
    tasks: TaskTracker,
}

/// The nodes at one time.
struct Set {
    primary: Arc<Node>,
    replicas: Vec<Arc<Node>>,
    /// Reads that use them.
    calls: TaskTracker,
}

/// Nodes that stay open while a read uses them.
struct Lease {
    set: Arc<Set>,
    _call: TaskTrackerToken,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Router").field(&self.0.name).finish()
    }
}

/// The nodes.
impl Router {
    /// A shard of this name with these nodes. Reads reach each node as its engine likes it best.
    pub fn new(name: impl Into<String>, primary: Shard, replicas: Vec<Shard>) -> Self {
        Self::with(name.into(), (primary, replicas), None)
    }

    /// The same, with reads that reach every node in this way.
    pub fn reading(name: impl Into<String>, primary: Shard, replicas: Vec<Shard>, reading: Reading) -> Self {
        Self::with(name.into(), (primary, replicas), Some(reading))
    }

    fn with(name: String, (primary, replicas): (Shard, Vec<Shard>), reading: Option<Reading>) -> Self {
        let tasks = TaskTracker::new();
        let node = |shard: Shard| {
            let reading = reading.unwrap_or_else(|| Reading::of(&shard));
            Arc::new(Node::new(shard, reading, &tasks))
        };
        let set = Set::new(node(primary), replicas.into_iter().map(node).collect());
        Self(Arc::new(Inner {
            name,
            reading,
            set: Mutex::new(Arc::new(set)),
            owners: Mutex::default(),
            floor: Mutex::default(),
            turn: AtomicUsize::new(0),
            counts: Counts::default(),
            tasks,
        }))
    }

    /// The shard's name in the topology.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The primary as it is now: for writers, sweepers, and whatever must not be older than what was committed.
    pub fn primary(&self) -> Shard {
        self.0.set().primary.shard.clone()
    }

    /// The replicas as they are now: only for whoever must know of each how far it is.
    pub fn replicas(&self) -> Vec<Shard> {
        self.0.set().replicas.iter().map(|node| node.shard.clone()).collect()
    }

    /// Puts other nodes in place of these. A node that stays, in whichever role, is kept with all that is known of it;
    /// one that goes is closed as soon as no read uses it, and later calls of it get [`Error::Unavailable`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set_nodes(&self, primary: Shard, replicas: Vec<Shard>) {
        let inner = &self.0;
        let mut current = inner.set.lock().unwrap_or_else(PoisonError::into_inner);
        let old = Arc::clone(&current);
        let node = |shard: Shard| match old.nodes().find(|node| node.shard.is(&shard)) {
            Some(node) => Arc::clone(node),
            None => {
                let reading = inner.reading.unwrap_or_else(|| Reading::of(&shard));
                Arc::new(Node::new(shard, reading, &inner.tasks))
            }
        };
        let new = Arc::new(Set::new(node(primary), replicas.into_iter().map(node).collect()));
        *current = Arc::clone(&new);
        drop(current);
        inner.tasks.spawn(async move {
            old.calls.close();
            old.calls.wait().await;
            for gone in old.nodes().filter(|node| !new.nodes().any(|other| Arc::ptr_eq(node, other))) {
                gone.close().await;
            }
        });
    }

    /// Finishes the calls that have begun and closes every node.
    pub async fn close(&self) {
        let set = self.0.set();
        for node in set.nodes() {
            node.close().await;
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// Reads.
impl Router {
    /// Rows of keys of one partition, as [`Shard::read`], from whichever node is best.
    ///
    /// A replica that has reached [`Want::at_least`], or else one that is about as far as the primary and reaches it
    /// within a moment, or else the primary. A node that fails is asked again only after a probe has succeeded; one
    /// other is asked in its place, then the primary. An answer from an old timeline counts as a failure.
    /// # Shape
    /// An answer below [`Want::at_least`] comes when no node has reached it: the freshest that there was.
    /// # Errors
    /// [`Error::Unavailable`]: no node has answered in time. Others as [`Shard::read`].
    pub async fn read(
        &self,
        partition: PartitionId,
        keys: Vec<RecordKey>,
        want: Want,
    ) -> Result<Snapshot, Error> {
        let lease = self.0.lease();
        let wanted = [(partition, want.at_least)];
        read::Read::new(&self.0, &lease.set, ask::One(partition, keys), (&wanted, want.deadline)).run().await
    }

    /// Reads the watermarks of the primary, and meanwhile how far the replicas are: to be called about once a second,
    /// as it is from then on that replicas count as lagging which have not come up to here by the next call.
    ///
    /// # Errors
    /// As [`Shard::read_watermarks`], of the primary; also when `deadline` is over.
    pub async fn refresh(
        &self,
        partitions: Vec<PartitionId>,
        deadline: Instant,
    ) -> Result<Vec<Watermark>, Error> {
        const DOING: &str = "read watermarks";
        let lease = self.0.lease();
        let primary = &lease.set.primary;
        let before = primary.marks().clone();
        let watermarks = timeout_at(deadline, primary.shard.read_watermarks(partitions.clone()));
        let fit = lease.set.replicas.iter().filter(|node| !node.rest().is_resting());
        let looks = join_all(fit.map(|node| self.0.refresh_replica(node, &partitions, deadline)));
        let (watermarks, _) = join(watermarks, looks).await;
        *self.0.floor() = before;
        let watermarks = watermarks.unwrap_or_else(|late| Err(Error::unavailable(DOING, late)))?;
        for watermark in &watermarks {
            if !self.0.note(primary, Kind::Primary, &watermark.into()) {
                return Err(Error::unavailable(DOING, OLD));
            }
        }
        Ok(watermarks)
    }

    /// How far every replica is known to have applied a partition; [`Offset::MAX`] where there are none.
    pub fn everywhere(&self, partition: PartitionId) -> Offset {
        let set = self.0.set();
        let applied = set.replicas.iter().map(|node| node.mark(partition).applied);
        applied.min().unwrap_or(Offset::MAX)
    }

    /// What was counted, and how the nodes are doing.
    pub fn report(&self) -> Report {
        let set = self.0.set();
        let primary = set.primary.marks().clone();
        let node = |(node, kind): (&Arc<Node>, Kind)| {
            let (lag_records, lag) = lag(&primary, &node.marks());
            let (resting, pool) = (node.rest().is_resting(), node.shard.pool());
            NodeReport { kind, resting, queries: node.queries(), lag_records, lag, pool }
        };
        let replicas = set.replicas.iter().map(|replica| (replica, Kind::Replica));
        let nodes = std::iter::once((&set.primary, Kind::Primary)).chain(replicas).map(node).collect();
        Report { reads: self.0.counts.reads(), retries: self.0.counts.retries(), nodes }
    }
}

/// The most records, and the longest time, by which `node` is behind in any partition.
fn lag(primary: &Marks, node: &Marks) -> (u64, Duration) {
    primary.partitions().fold((0, Duration::ZERO), |(records, time), partition| {
        let (there, here) = (primary.of(partition), node.of(partition));
        if here.applied >= there.applied {
            return (records, time);
        }
        // Of a node that has nothing of a partition yet, no time is known.
        let known = if here == Mark::NONE { there.time } else { here.time };
        let behind = Duration::from_millis(there.time.ms_since(known));
        (records.max((there.applied.0 - here.applied.0).unsigned_abs()), time.max(behind))
    })
}

impl Set {
    fn new(primary: Arc<Node>, replicas: Vec<Arc<Node>>) -> Self {
        Self { primary, replicas, calls: TaskTracker::new() }
    }

    fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }
}

impl Inner {
    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Under the lock: whoever replaces the set afterwards waits for it.
    fn lease(&self) -> Lease {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        Lease { set: Arc::clone(&set), _call: set.calls.token() }
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn floor(&self) -> MutexGuard<'_, Marks> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers what an answer tells of its node. Whether the answer may be given: not from an old timeline.
    fn note(&self, node: &Node, kind: Kind, seen: &Seen) -> bool {
        let mut owners = self.owners();
        if owners.is_old_timeline(seen) {
            return false;
        }
        if kind == Kind::Primary {
            owners.rise(seen.partition, seen.owner);
        }
        drop(owners);
        node.marks().rise(seen.partition, seen.mark);
        true
    }

    async fn refresh_replica(
        self: &Arc<Self>,
        node: &Arc<Node>,
        partitions: &[PartitionId],
        deadline: Instant,
    ) {
        let began = Instant::now();
        let deadline = deadline.min(began + PROBE_MAX);
        if let Err(error) = self.look(node, partitions.to_vec(), deadline).await
            && let Some(partition) = partitions.first()
        {
            self.rest(node, (*partition, began), &error);
        }
    }

    /// Asks a replica how far it is.
    async fn look(&self, node: &Node, partitions: Vec<PartitionId>, deadline: Instant) -> Result<(), Error> {
        const DOING: &str = "look at a replica";
        let looked = timeout_at(deadline, node.shard.read_watermarks(partitions)).await;
        for watermark in looked.unwrap_or_else(|late| Err(Error::unavailable(DOING, late)))? {
            if !self.note(node, Kind::Replica, &Seen::from(&watermark)) {
                return Err(Error::unavailable(DOING, OLD));
            }
        }
        Ok(())
    }

    /// A replica has failed a call about `partition` that began then: leaves it alone until a probe succeeds.
    fn rest(self: &Arc<Self>, node: &Arc<Node>, (partition, began): (PartitionId, Instant), error: &Error) {
        let Some(pause) = node.rest().failed(began) else { return };
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(shard = self.name, ?pause, "a replica is left alone: {error}: {source}");
        self.tasks.spawn(probe(Arc::clone(self), Arc::clone(node), partition, pause));
    }
}

/// Probes a node until it is well again, or goes.
async fn probe(inner: Arc<Inner>, node: Arc<Node>, partition: PartitionId, mut pause: Duration) {
    loop {
        tokio::select! {
            () = node.stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        let mut partitions: Vec<PartitionId> = node.marks().partitions().collect();
        if !partitions.contains(&partition) {
            partitions.push(partition);
        }
        match inner.look(&node, partitions, Instant::now() + PROBE_MAX).await {
            Ok(()) => {
                node.rest().is_back(Instant::now());
                tracing::info!(shard = inner.name, "a replica answers again");
                return;
            }
            Err(_still) => pause = node.rest().failed_again(),
        }
    }
}
