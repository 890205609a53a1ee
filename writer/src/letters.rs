//! Dead letters on their way from the shard's rows to their topic.
//!
//! The rows are the truth: what a crash left unpublished is published by whoever owns the partition next.
//! Invariant: at least once each, in the order of their offsets; applying never waits for it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use millpond_log::kafka::DeadLetters;
use millpond_schemas::{DeadLetter, Generation, PartitionId};
use millpond_shard::Shard;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{Parts, stop::in_words};

/// Most of them that are read at a time: each may be as large as a record.
const LETTERS_MAX: u32 = 64;
/// Most bytes of them that are published at a time, far below any producer's queue; or a single one.
const BYTES_MAX: usize = 1 << 20;
/// Before those that could not be published are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Partitions of one shard that have something to publish. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    partitions: Mutex<BTreeSet<PartitionId>>,
    more: Notify,
}

impl Waiting {
    /// A partition may have something to publish.
    pub(crate) fn add(&self, partition: PartitionId) {
        self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
        self.0.more.notify_one();
    }

    fn take(&self) -> BTreeSet<PartitionId> {
        std::mem::take(&mut *self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Publishes until `shutdown` is cancelled.
pub(crate) async fn run(parts: Arc<Parts>, shard: usize, waiting: Waiting, shutdown: CancellationToken) {
    let Some(topic) = &parts.dead_letters else { return };
    let publishing = async {
        loop {
            waiting.0.more.notified().await;
            for partition in waiting.take() {
                if let Err(why) = publish(topic, &parts.shards[shard].primary(), partition).await {
                    tracing::warn!(partition = partition.0, "dead letters wait: {why}");
                    sleep(AGAIN).await;
                    waiting.add(partition);
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = publishing => {}
    }
}

async fn publish(topic: &DeadLetters, shard: &Shard, partition: PartitionId) -> Result<(), String> {
    loop {
        let letters = shard.unpublished(partition, LETTERS_MAX).await.map_err(|error| in_words(&error))?;
        if letters.is_empty() {
            return Ok(());
        }
        for run in runs(letters) {
            let (generation, last) =
                run.last().map(|(generation, last)| (*generation, last.offset)).expect(NONEMPTY);
            let letters = run.into_iter().map(|(_, letter)| letter).collect();
            topic.publish(partition, letters).await.map_err(|error| in_words(&error))?;
            shard.published(partition, generation, last).await.map_err(|error| in_words(&error))?;
        }
    }
}

const NONEMPTY: &str = "a run holds a letter";

/// In their order, runs of at most [`BYTES_MAX`] or of a single letter.
fn runs(letters: Vec<(Generation, DeadLetter)>) -> Vec<Vec<(Generation, DeadLetter)>> {
    let mut runs: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for letter in letters {
        bytes += letter.1.raw.len();
        match runs.last_mut().filter(|_| bytes <= BYTES_MAX) {
            Some(run) => run.push(letter),
            None => {
                bytes = letter.1.raw.len();
                runs.push(vec![letter]);
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{DeadReason, Offset, Raw, Refusal, UnixMillis};

    use super::*;

    #[test]
    fn letters_are_published_in_their_order_and_in_runs_that_fit() {
        let letter = |(offset, bytes): (i64, usize)| {
            let raw = Raw { value: Some(vec![0; bytes].into()), ..Raw::default() };
            let refusal = Refusal::new(DeadReason::Undecodable, "");
            let letter = DeadLetter { offset: Offset(offset), time: UnixMillis::EPOCH, refusal, raw };
            (Generation::FIRST, letter)
        };
        let sizes = [10, BYTES_MAX - 10, 1, BYTES_MAX + 1, 5, 5, BYTES_MAX];
        let offsets = |run: Vec<(Generation, DeadLetter)>| {
            run.into_iter().map(|(_, letter)| letter.offset.0).collect::<Vec<_>>()
        };
        let found: Vec<_> = runs((0..).zip(sizes).map(letter).collect()).into_iter().map(offsets).collect();
        assert_eq!(found, [vec![0, 1], vec![2], vec![3], vec![4, 5], vec![6]]);
        assert!(runs(Vec::new()).is_empty());
    }
}
