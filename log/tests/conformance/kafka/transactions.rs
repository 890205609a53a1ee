//! A foreign producer's transactions: their markers and aborted records are passed over, and nothing else is.

use std::time::Duration;

use millpond_log::Log;
use millpond_schemas::{Generation, Offset, PartitionId};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::time::timeout;

use super::{PATIENCE, cluster, foreign, read_to};
use crate::{raw, to};

const P0: PartitionId = PartitionId(0);
const P1: PartitionId = PartitionId(1);

/// A transactional producer, as Flink and Kafka Streams have one.
struct Transactions {
    producer: BaseProducer,
    topic: String,
}

impl Transactions {
    fn on(prefix: &str) -> Self {
        let id = format!("{prefix}-foreign");
        let producer: BaseProducer = foreign(&[("transactional.id", &id), ("linger.ms", "0")]);
        producer.init_transactions(PATIENCE).unwrap();
        Self { producer, topic: format!("{prefix}.mutations.1") }
    }

    fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    fn send(&self, partition: i32, value: &str) {
        let record = BaseRecord::to(&self.topic).partition(partition).key("foreign").payload(value);
        self.producer.send(record).unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }

    fn commit(&self) {
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    fn abort(&self) {
        self.producer.abort_transaction(PATIENCE).unwrap();
    }
}

async fn open() -> (Log, Transactions) {
    let cluster = cluster().await;
    let log = cluster.mutations(Generation::FIRST).await.unwrap();
    let transactions = Transactions::on(&cluster.config().prefix);
    (log, transactions)
}

async fn append(log: &Log, partition: u32, value: &str) -> i64 {
    log.append(vec![to(partition, raw("ours", value))]).await.unwrap()[0].offset.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_marker_at_the_end_of_a_commit_is_passed_over() {
    let (log, transactions) = open().await;
    transactions.begin();
    transactions.send(0, "a");
    transactions.send(0, "b");
    transactions.commit();
    let records = read_to(&log, 0, 0, 3).await;
    assert_eq!(records.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(log.bounds(P0).await.unwrap().end, Offset(3));
    assert_eq!(append(&log, 0, "c").await, 3);
    assert_eq!(read_to(&log, 0, 3, 4).await.len(), 1);
    assert_eq!(log.counters().holes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_waits_at_the_end_is_woken_by_a_marker_alone() {
    let (log, transactions) = open().await;
    transactions.begin();
    transactions.send(0, "a");
    transactions.send(1, "a");
    transactions.commit();
    // Partition 1 gets nothing but the marker of an abort that follows.
    assert_eq!(read_to(&log, 1, 0, 2).await.len(), 1);
    transactions.begin();
    transactions.send(1, "dropped");
    transactions.abort();
    assert_eq!(read_to(&log, 1, 2, 4).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_records_in_the_middle_are_passed_over() {
    let (log, transactions) = open().await;
    assert_eq!(append(&log, 0, "first").await, 0);
    transactions.begin();
    transactions.send(0, "dropped");
    transactions.send(0, "dropped");
    transactions.abort();
    assert_eq!(append(&log, 0, "last").await, 4);
    let records = read_to(&log, 0, 0, 5).await;
    assert_eq!(records.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [0, 4]);
    for hole in 1..4 {
        assert_eq!(log.record(P0, Offset(hole)).await.unwrap(), None, "offset {hole}");
        // A read may start inside a hole, too.
        assert_eq!(read_to(&log, 0, hole, 5).await.len(), 1);
    }
    assert_eq!(log.record(P0, Offset(4)).await.unwrap().unwrap().raw, raw("ours", "last"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_holes_among_records_lose_none() {
    const ROUNDS: i64 = 60;
    let (log, transactions) = open().await;
    // Two records of ours, one of theirs and a marker in each round.
    let reader = tokio::spawn({
        let log = log.clone();
        async move { read_to(&log, 0, 0, ROUNDS * 4).await }
    });
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(append(&log, 0, "ours").await);
        ours.push(append(&log, 0, "ours").await);
        transactions.begin();
        transactions.send(0, &format!("{round}"));
        if round % 2 == 0 {
            transactions.commit();
            theirs.push(format!("{round}"));
        } else {
            transactions.abort();
        }
    }
    let (of_us, of_them): (Vec<_>, Vec<_>) =
        reader.await.unwrap().into_iter().partition(|record| record.raw.key.as_deref() == Some(b"ours"));
    assert_eq!(of_us.iter().map(|record| record.offset.0).collect::<Vec<_>>(), ours);
    let value = |raw: millpond_schemas::Raw| String::from_utf8(raw.value.unwrap().to_vec()).unwrap();
    assert_eq!(of_them.into_iter().map(|record| value(record.raw)).collect::<Vec<_>>(), theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_stalls_its_partition_alone_until_it_ends() {
    let (log, transactions) = open().await;
    assert_eq!(append(&log, 0, "before").await, 0);
    transactions.begin();
    transactions.send(0, "open");
    assert_eq!(append(&log, 0, "behind").await, 2);
    append(&log, 1, "elsewhere").await;
    assert_eq!(read_to(&log, 0, 0, 1).await.len(), 1);
    assert_eq!(read_to(&log, 1, 0, 1).await.len(), 1);
    // The end lies beyond what can be read, and strong reads must know.
    assert_eq!(log.bounds(P0).await.unwrap().end, Offset(3));
    assert_eq!(log.read(P0, Offset(1), 1000).await.unwrap().next, Offset(1));
    let stalled = async {
        let mut poll = tokio::time::interval(Duration::from_millis(100));
        while log.stalls().is_empty() {
            poll.tick().await;
        }
    };
    timeout(PATIENCE, stalled).await.expect("the stall is seen");
    assert_eq!(log.stalls().iter().map(|stall| stall.partition).collect::<Vec<_>>(), [P0]);
    transactions.commit();
    assert_eq!(read_to(&log, 0, 1, 4).await.len(), 2);
    assert_eq!(log.stalls(), []);
    assert_eq!(log.read(P1, Offset(1), 1000).await.unwrap().next, Offset(1));
}
