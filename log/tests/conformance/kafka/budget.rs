//! Reading ahead is bounded, and a partition that nobody reads starves no other.

use millpond_log::{
    Error,
    kafka::{Cluster, Config},
};
use millpond_schemas::{Generation, Offset, PartitionId};

use super::{config, read_to, topics};
use crate::{raw, to};

const RECORDS: i64 = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_nobody_reads_on_starves_no_other() {
    // So little that each partition alone fills it several times.
    let cluster = Cluster::connect(Config { read_ahead_bytes_max: 1 << 20, ..config() }).unwrap();
    cluster.init(&topics()).await.unwrap();
    let log = cluster.mutations(Generation::FIRST).await.unwrap();
    let value = |at: i64| format!("{at:01000}");
    for at in (0..RECORDS).step_by(100) {
        let call = (at..at + 100).flat_map(|at| (0..3).map(move |p| to(p, raw("k", value(at)))));
        log.append(call.collect()).await.unwrap();
    }
    for partition in 0..3 {
        assert!(!log.read(PartitionId(partition), Offset(0), 1).await.unwrap().records.is_empty());
    }
    // Partition 0 rests all the while.
    for partition in [1, 2, 1, 0] {
        let read = read_to(&log, partition, 0, RECORDS).await;
        assert!(read.iter().map(|record| record.raw.clone()).eq((0..RECORDS).map(|at| raw("k", value(at)))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_refused_at_once_when_the_queue_is_full() {
    let cluster = Cluster::connect(Config { queue_bytes_max: 100_000, ..config() }).unwrap();
    cluster.init(&topics()).await.unwrap();
    let log = cluster.mutations(Generation::FIRST).await.unwrap();
    let call = || (0..90).map(|at| to(at % 4, raw("k", format!("{at:01000}")))).collect::<Vec<_>>();
    let (mut taken, mut refused) = (Vec::new(), 0);
    for _ in 0..100 {
        match log.enqueue(&call()) {
            Ok(acks) => taken.push(acks),
            Err(Error::Backpressure { max: 100_000, .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "calls are faster than acks");
    let mut ends = 0;
    for acks in taken {
        ends += acks.await.unwrap().len();
    }
    let mut on_the_log = 0;
    for partition in 0..4 {
        on_the_log += usize::try_from(log.bounds(PartitionId(partition)).await.unwrap().end.0).unwrap();
    }
    assert_eq!(on_the_log, ends, "what was refused is not on the log");
}
