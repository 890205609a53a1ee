//! A topic that is deleted and made anew under a running log is never read on, nor acked, as if it were the same.

use millpond_log::{Error, Log, kafka::Cluster};
use millpond_schemas::{Generation, Offset, PartitionId};
use rdkafka::{
    admin::{NewTopic, TopicReplication},
    error::RDKafkaErrorCode,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio::time::timeout;

use super::{PATIENCE, admin, cluster, foreign, read_to, read_until};
use crate::{PARTITIONS, raw, to};

const P0: PartitionId = PartitionId(0);

/// A log with five records in its first partition, all of them read.
async fn open() -> (Log, Cluster) {
    let cluster = cluster().await;
    let log = cluster.mutations(Generation::FIRST).await.unwrap();
    for at in 0..5 {
        log.append(vec![to(0, raw("k", format!("old {at}")))]).await.unwrap();
    }
    assert_eq!(read_to(&log, 0, 0, 5).await.len(), 5);
    (log, cluster)
}

/// Deletes the topic, makes it anew, and puts so many records into it, as fast as it goes.
async fn make_anew(cluster: &Cluster, records: usize) {
    let topic = format!("{}.mutations.1", cluster.config().prefix);
    let (admin, options) = admin();
    admin.delete_topics(&[&topic], &options).await.unwrap()[0].as_ref().unwrap();
    let partitions = i32::try_from(PARTITIONS).unwrap();
    let making = async {
        loop {
            let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1))
                .set("message.timestamp.type", "LogAppendTime");
            match &admin.create_topics([&new], &options).await.unwrap()[0] {
                Ok(_) => return,
                // The deletion is still under way.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    timeout(PATIENCE, making).await.unwrap();
    let producer: BaseProducer = foreign(&[("linger.ms", "0")]);
    // The broker serves the old log until it has heard of all this.
    let empty = async {
        while producer.client().fetch_watermarks(&topic, 0, PATIENCE).ok() != Some((0, 0)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, empty).await.unwrap();
    for at in 0..records {
        let value = format!("new {at}");
        producer.send(BaseRecord::to(&topic).partition(0).key("k").payload(&value)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_longer_new_topic_is_not_read_on_before_its_readers_are_told() {
    let (log, cluster) = open().await;
    make_anew(&cluster, 20).await;
    let told = read_until(&log, 5, |read| match read {
        Ok(records) if records.is_empty() => None,
        other => Some(other),
    });
    let told = told.await;
    assert!(matches!(told, Err(Error::Unavailable { .. })), "{told:?}");
    // Whoever has checked may go on, and sees what is there now.
    let found = read_until(&log, 5, |read| read.ok().filter(|records| !records.is_empty())).await;
    assert_eq!(found[0].raw.value.as_deref(), Some(&b"new 5"[..]));
    assert_eq!(log.record(P0, Offset(4)).await.unwrap().unwrap().raw.value.as_deref(), Some(&b"new 4"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_rests_is_told_too() {
    let (log, cluster) = open().await;
    log.rest(P0);
    // Another partition keeps the reader's consumer busy.
    assert_eq!(log.read(PartitionId(1), Offset(0), 1000).await.unwrap().next, Offset(0));
    make_anew(&cluster, 20).await;
    let told = read_until(&log, 5, |read| match read {
        Ok(records) if records.is_empty() => None,
        other => Some(other),
    });
    let told = told.await;
    assert!(matches!(told, Err(Error::Unavailable { .. })), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shorter_new_topic_ends_below_the_old_place() {
    let (log, cluster) = open().await;
    make_anew(&cluster, 2).await;
    let end = read_until(&log, 5, |read| match read {
        Err(Error::BeyondEnd { end }) => Some(end),
        Err(Error::Unavailable { .. }) => None,
        Ok(records) => {
            assert_eq!(records, [], "nothing lies there");
            None
        }
        Err(other) => panic!("{other:?}"),
    });
    assert_eq!(end.await, Offset(2));
    assert_eq!(log.bounds(P0).await.unwrap().end, Offset(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_a_reader_was_told_nothing_is_taken_any_more() {
    let (log, cluster) = open().await;
    make_anew(&cluster, 20).await;
    read_until(&log, 5, |read| matches!(read, Err(Error::Unavailable { .. })).then_some(())).await;
    let late = log.append(vec![to(0, raw("k", "late"))]).await;
    assert!(matches!(late, Err(Error::Unavailable { .. })), "{late:?}");
    assert_eq!(log.bounds(P0).await.unwrap().end, Offset(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_of_a_new_topic_that_is_empty_are_not_given_out() {
    let (log, cluster) = open().await;
    make_anew(&cluster, 0).await;
    let refused = async {
        loop {
            match log.append(vec![to(0, raw("k", "late"))]).await {
                Err(Error::Unavailable { .. }) => return,
                Err(Error::Unknown { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
}
