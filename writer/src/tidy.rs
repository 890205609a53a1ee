//! Housekeeping: deletes from a shard what nobody asks for any more, a little at a time.
//!
//! Invariant: what can be written in a second can be deleted in one, or memories would grow for ever; and records do
//! not wait for it for long.

use std::time::Duration;

use millpond_schemas::PartitionId;
use millpond_shard::Shard;
use tokio::time::Instant;

use crate::stop::in_words;

/// Rows of each memory deleted per call.
const ROWS_MAX: u32 = 1000;
/// How long one partition's housekeeping goes on at a time.
const TIME_MAX: Duration = Duration::from_millis(50);

/// Deletes until nothing old is left or time is over. Whether something is.
pub(crate) async fn tidy(shard: &Shard, partition: PartitionId) -> bool {
    let began = Instant::now();
    loop {
        match shard.prune(partition, ROWS_MAX).await {
            Ok(false) => return false,
            Ok(true) if began.elapsed() < TIME_MAX => {}
            Ok(true) => return true,
            Err(error) => {
                tracing::warn!(partition = partition.0, "housekeeping failed: {}", in_words(&error));
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{
        Fingerprint, Flush, Generation, IdHash, LogId, Offset, Operation, Outcome, OutcomeRange, Position,
        UnixMillis, Watermark, limits::MEMORY_MS,
    };
    use millpond_shard::SqliteConfig;
    use tempfile::TempDir;

    use super::*;

    const PARTITION: PartitionId = PartitionId(0);

    fn operation(number: u8, place: u32) -> Operation {
        let mut hash = [number; 16];
        hash[..4].copy_from_slice(&place.to_be_bytes());
        let position = Position { generation: Generation::FIRST, partition: PARTITION, offset: Offset(0) };
        Operation {
            hash: IdHash(hash),
            position,
            time: UnixMillis(0),
            fingerprint: Fingerprint([0; 16]),
            outcome: Outcome::Applied(None),
        }
    }

    #[tokio::test]
    async fn more_than_one_call_deletes_goes_in_the_end() {
        let dir = TempDir::new().unwrap();
        let shard = Shard::open(&SqliteConfig::new(dir.path().join("shard.sqlite"))).await.unwrap();
        let previous = Watermark::empty(PARTITION, Generation::FIRST, LogId([1; 16]));
        shard.create_copy(previous.clone()).await.unwrap();
        let time = UnixMillis(0).plus_ms(MEMORY_MS + 1);
        let flush = Flush {
            next: Watermark { applied: Offset(0), digest_offset: Offset(0), time, ..previous.clone() },
            outcomes: OutcomeRange {
                generation: Generation::FIRST,
                partition: PARTITION,
                from: Offset(0),
                to: Offset(0),
                time,
                exceptions: Vec::new(),
                expired: Vec::new(),
            },
            operations: (0..=3 * ROWS_MAX).map(|place| operation(1, place)).collect(),
            previous,
            rows: Vec::new(),
            purged: Vec::new(),
            seen: Vec::new(),
            dead_letters: Vec::new(),
        };
        shard.apply(vec![flush]).await.unwrap();
        while tidy(&shard, PARTITION).await {}
        assert_eq!(shard.operations(PARTITION).await.unwrap(), []);
        shard.close().await;
    }
}
