//! All partitions, each behind a short lock of its own, and who waits on them.
//!
//! Invariant: no lock is held across an await, and nobody is woken under one.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use millpond_log::Ack;
use millpond_schemas::{Offset, Outcome, OutcomeRange, PartitionId, UnixMillis};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, oneshot};

use crate::partition::{Partition, Place, Told, Woken};

/// Least memory for kept outcomes of one partition, bytes.
const KEPT_BYTES_MIN: usize = 64 * 1024;
/// Most waiters on one partition; one more is told 202.
pub(crate) const WAITERS_MAX: usize = 1 << 20;

/// Every partition of the log.
#[derive(Debug)]
pub(crate) struct Partitions {
    each: Box<[Mutex<Partition>]>,
    /// Some outcome has to be read from a shard.
    stranded: Notify,
    waiters: Gauge,
}

/// An outcome that is known or will be.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// It was heard lately.
    Known(Outcome),
    /// It will come.
    Waiter(Waiter<Told>),
    /// Too many wait already, or all were let go.
    Full,
}

impl Awaited {
    /// Whether one waits and nothing has come yet.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Waiter(waiter) if waiter.is_open())
    }

    /// What has come so far.
    pub(crate) fn told_already(self) -> Option<Outcome> {
        match self {
            Self::Known(outcome) => Some(outcome),
            Self::Waiter(waiter) => waiter.told_already().map(Outcome::from),
            Self::Full => None,
        }
    }
}

/// A place in a partition's list, given up when dropped.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    partitions: Arc<Partitions>,
    partition: PartitionId,
    place: Place,
    receiver: oneshot::Receiver<T>,
}

impl<T> Waiter<T> {
    /// Waits. Cancel-safe. None: it was let go.
    pub(crate) fn told(&mut self) -> impl Future<Output = Option<T>> {
        poll_fn(|context| Pin::new(&mut self.receiver).poll(context).map(Result::ok))
    }

    /// What has come so far.
    pub(crate) fn told_already(mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_open(&self) -> bool {
        self.receiver.is_empty()
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        self.partitions.waiters.dec();
        self.partitions.of(self.partition).leave(self.place);
    }
}

impl Partitions {
    /// So many, with this much memory for kept outcomes together.
    pub(crate) fn new(partitions: u32, kept_bytes_max: usize, waiters: Gauge) -> Arc<Self> {
        let kept = (kept_bytes_max / (partitions.max(1) as usize)).max(KEPT_BYTES_MIN);
        let each = (0..partitions).map(|_| Mutex::new(Partition::new(kept))).collect();
        Arc::new(Self { each, stranded: Notify::new(), waiters })
    }

    /// How many.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.each.len()).expect("they were counted in 32 bits")
    }

    /// Every id.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.count()).map(PartitionId)
    }

    /// One of them, locked. Not to be held across an await.
    pub(crate) fn of(&self, partition: PartitionId) -> MutexGuard<'_, Partition> {
        let one = self.each.get(partition.0 as usize).expect("partitions are checked where they come in");
        one.lock().expect("nothing panics while it holds a partition")
    }

    /// The log has a write of a key.
    pub(crate) fn acked(&self, partition: PartitionId, key_hash: u64, ack: Ack) {
        self.of(partition).acked(key_hash, ack.offset, ack.time);
    }

    /// A range was received. One of no partition here is passed over.
    pub(crate) fn heard(&self, range: &Arc<OutcomeRange>) {
        if range.partition.0 < self.count() {
            let woken = self.of(range.partition).heard(range);
            self.wake(woken);
        }
    }

    /// A shard's watermark was read.
    pub(crate) fn read_watermark(&self, partition: PartitionId, applied: Offset, time: UnixMillis) {
        let woken = self.of(partition).read_watermark(applied, time);
        self.wake(woken);
    }

    /// Kept outcomes of `from..=to` were read, all of it at or below the watermark.
    pub(crate) fn read_outcomes(
        &self,
        partition: PartitionId,
        (from, to): (Offset, Offset),
        ranges: &[OutcomeRange],
    ) {
        let woken = self.of(partition).read_outcomes(from, to, ranges);
        self.wake(woken);
    }

    fn wake(&self, woken: Woken) {
        if woken.stranded {
            self.stranded.notify_one();
        }
        woken.wake();
    }

    /// Lets go of all that wait for an outcome, now and from now on.
    pub(crate) fn let_go(&self) {
        for partition in self.ids() {
            let gone = self.of(partition).let_go();
            drop(gone);
        }
    }

    /// Waits until some outcome has to be read from a shard.
    pub(crate) async fn stranded(&self) {
        self.stranded.notified().await;
    }

    /// Waits for what becomes of an offset that the log has acked.
    pub(crate) fn await_outcome(self: &Arc<Self>, partition: PartitionId, offset: Offset) -> Awaited {
        let mut one = self.of(partition);
        if let Some(outcome) = one.outcome(offset) {
            return Awaited::Known(outcome);
        }
        if one.waiting() >= WAITERS_MAX || one.has_let_go() {
            return Awaited::Full;
        }
        let (place, receiver) = one.wait_outcome(offset);
        let late = offset <= one.committed();
        drop(one);
        if late {
            self.stranded.notify_one();
        }
        Awaited::Waiter(self.waiter(partition, place, receiver))
    }

    /// Waits until an offset is applied. None: it is, or too many wait.
    pub(crate) fn await_applied(
        self: &Arc<Self>,
        partition: PartitionId,
        offset: Offset,
    ) -> Option<Waiter<()>> {
        let mut one = self.of(partition);
        if offset <= one.committed() || one.waiting() >= WAITERS_MAX {
            return None;
        }
        let (place, receiver) = one.wait_applied(offset);
        drop(one);
        Some(self.waiter(partition, place, receiver))
    }

    fn waiter<T>(
        self: &Arc<Self>,
        partition: PartitionId,
        place: Place,
        receiver: oneshot::Receiver<T>,
    ) -> Waiter<T> {
        self.waiters.inc();
        Waiter { partitions: Arc::clone(self), partition, place, receiver }
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::Generation;

    use super::*;

    fn partitions() -> Arc<Partitions> {
        Partitions::new(2, 1 << 20, Gauge::default())
    }

    fn range(from: i64, to: i64) -> Arc<OutcomeRange> {
        Arc::new(OutcomeRange {
            generation: Generation::FIRST,
            partition: PartitionId(1),
            from: Offset(from),
            to: Offset(to),
            time: UnixMillis(1),
            exceptions: Vec::new(),
            expired: Vec::new(),
        })
    }

    #[tokio::test]
    async fn a_waiter_is_told_and_its_place_is_given_up() {
        let partitions = partitions();
        let Awaited::Waiter(mut waiter) = partitions.await_outcome(PartitionId(1), Offset(0)) else {
            panic!("nothing was heard yet");
        };
        assert_eq!(partitions.waiters.get(), 1);
        partitions.heard(&range(0, 0));
        assert_eq!(waiter.told().await, Some(Told::from(Outcome::Applied(None))));
        drop(waiter);
        assert_eq!((partitions.waiters.get(), partitions.of(PartitionId(1)).waiting()), (0, 0));
    }

    #[tokio::test]
    async fn those_who_wait_are_let_go_and_nobody_waits_afterwards() {
        let partitions = partitions();
        let Awaited::Waiter(mut waiter) = partitions.await_outcome(PartitionId(1), Offset(0)) else {
            panic!("nothing was heard yet");
        };
        let reads = partitions.await_applied(PartitionId(1), Offset(0));
        partitions.let_go();
        assert_eq!(waiter.told().await, None);
        assert!(reads.is_some_and(|reads| reads.is_open()), "a read ends by itself");
        assert!(matches!(partitions.await_outcome(PartitionId(1), Offset(0)), Awaited::Full));
        drop(waiter);
        assert_eq!((partitions.waiters.get(), partitions.of(PartitionId(1)).waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_dropped_waiter_is_forgotten() {
        let partitions = partitions();
        drop(partitions.await_outcome(PartitionId(1), Offset(0)));
        drop(partitions.await_applied(PartitionId(1), Offset(0)));
        assert_eq!((partitions.waiters.get(), partitions.of(PartitionId(1)).waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_late_waiter_whose_range_is_not_kept_asks_for_the_shard() {
        let partitions = partitions();
        partitions.read_watermark(PartitionId(1), Offset(5), UnixMillis(1));
        let _waiter = partitions.await_outcome(PartitionId(1), Offset(5));
        partitions.stranded().await;
        assert_eq!(partitions.of(PartitionId(1)).stranded(), Some((Offset(5), Offset(5))));
    }

    #[test]
    fn a_range_of_no_partition_here_is_passed_over() {
        let foreign = OutcomeRange { partition: PartitionId(9), ..(*range(0, 0)).clone() };
        partitions().heard(&Arc::new(foreign));
    }
}
