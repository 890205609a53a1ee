//! Every engine passes the same suite.
//!
//! An engine's module says how to open an empty log of [`PARTITIONS`] partitions; [`suite`] says what it must do.
//! Invariant: a promise in the suite holds for every engine, or it is not in the suite.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its case")]

mod kafka;
mod local;
mod suite;

use millpond_log::{Append, Log};
use millpond_schemas::{Offset, PartitionId, Raw, Received};

/// Of the log that every case gets.
const PARTITIONS: u32 = 4;

/// Makes a test of every case for an engine with this way to open a log, which comes with what keeps it alive.
#[macro_export]
macro_rules! conformance {
    ($open:path: $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (log, _alive) = $open().await;
            $crate::suite::$case(&log).await;
            log.close().await;
        }
    )*};
}

/// A record with this key and value.
fn raw(key: &str, value: impl AsRef<[u8]>) -> Raw {
    Raw { key: Some(key.to_owned().into()), headers: Vec::new(), value: Some(value.as_ref().to_vec().into()) }
}

/// A record for this partition.
fn to(partition: u32, raw: Raw) -> Append {
    Append { partition: PartitionId(partition), raw }
}

/// Reads from an offset to the end, in steps of this many bytes, and checks that nothing is missing between.
async fn read_all(log: &Log, partition: u32, from: Offset, bytes_max: usize) -> Vec<Received> {
    let mut all: Vec<Received> = Vec::new();
    loop {
        let next = all.last().map_or(from, |last| last.offset.next());
        let read = log.read(PartitionId(partition), next, bytes_max).await.unwrap();
        let some = read.records;
        assert_eq!(read.next, some.last().map_or(next, |last| last.offset.next()));
        let expected = (next.0..).map(Offset).take(some.len());
        assert!(
            some.iter().map(|record| record.offset).eq(expected),
            "the offsets from {next} are contiguous"
        );
        if some.is_empty() {
            assert_eq!(log.bounds(PartitionId(partition)).await.unwrap().end, next);
            return all;
        }
        all.extend(some);
    }
}
