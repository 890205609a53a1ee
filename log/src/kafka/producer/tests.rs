//! A producer's bad days, on librdkafka's mock cluster.

use std::time::Duration;

use bytes::Bytes;
use millpond_schemas::{Offset, PartitionId, Raw};
use rdkafka::{
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::time::timeout;

use super::*;

mod errors;

const TOPIC: &str = "test.mutations.1";
const PATIENCE: Duration = Duration::from_mins(1);

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock() -> Mock {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(TOPIC, 1, 1).unwrap();
    mock
}

fn config(mock: &Mock) -> Config {
    let mut config = Config::new(mock.bootstrap_servers(), "test");
    config.properties.insert("retry.backoff.ms".to_owned(), "10".to_owned());
    config
}

fn start(config: &Config) -> Producer {
    let identity = Identity::new(TOPIC);
    let target = Target {
        standing: Arc::new(Standing::start(config, Arc::clone(&identity))),
        identity,
        message_bytes_max: 1 << 20,
        known_ends: [AtomicI64::new(0)].into(),
        pinned: true,
        compression: None,
        meters: Arc::default(),
    };
    Producer::start(config, target)
}

fn record(value: &str) -> Append {
    let raw = Raw { key: Some("k".into()), headers: Vec::new(), value: Some(Bytes::from(value.to_owned())) };
    Append { partition: PartitionId(0), raw }
}

async fn append(producer: &Producer, value: &str) -> Result<Vec<Ack>, Error> {
    let answered = producer.enqueue(&[record(value)])?;
    timeout(PATIENCE, answered).await.expect("every call is answered").expect("every call is answered")
}

/// Tries until the answer satisfies. No other answer than those that `may` says comes in between.
async fn until(
    producer: &Producer,
    satisfies: fn(&Result<Vec<Ack>, Error>) -> bool,
    may: fn(&Error) -> bool,
) {
    let trying = async {
        loop {
            let answer = append(producer, "again").await;
            if satisfies(&answer) {
                return;
            }
            assert!(answer.as_ref().err().is_some_and(may), "{answer:?}");
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, trying).await.expect("the answer comes");
}

const UNAVAILABLE: fn(&Error) -> bool = |error| matches!(error, Error::Unavailable { .. });

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_dies_answers_unknown_and_the_next_one_takes_over() {
    let mock = mock();
    let producer = start(&config(&mock));
    assert_eq!(append(&producer, "before").await.unwrap()[0].offset, Offset(0));
    mock.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 1],
    );
    let lost = append(&producer, "in flight").await;
    assert!(matches!(lost, Err(Error::Unknown { .. })), "{lost:?}");
    until(&producer, Result::is_ok, UNAVAILABLE).await;
    assert_eq!(producer.failures(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_cannot_be_reached_take_nothing_until_they_are_back() {
    let mock = mock();
    let producer = start(&config(&mock));
    append(&producer, "before").await.unwrap();
    mock.broker_down(1).unwrap();
    let refused = async {
        loop {
            match producer.enqueue(&[record("down")]) {
                // The answer is not waited for: it may be long in coming.
                Ok(_) | Err(Error::Backpressure { .. }) => tokio::task::yield_now().await,
                Err(Error::Unavailable { .. }) => return,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    timeout(PATIENCE, refused).await.expect("the producer notices");
    mock.broker_up(1).unwrap();
    // What was taken before it noticed may fill the queue for a moment.
    let not_taken: fn(&Error) -> bool =
        |error| matches!(error, Error::Unavailable { .. } | Error::Backpressure { .. });
    until(&producer, Result::is_ok, not_taken).await;
    assert_eq!(producer.failures(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_that_stop_stop_the_intake() {
    let mock = mock();
    let producer = start(&config(&mock));
    append(&producer, "before").await.unwrap();
    mock.broker_round_trip_time(1, Duration::from_secs(8)).unwrap();
    let slow = producer.enqueue(&[record("slow")]).unwrap();
    let refused = async {
        while producer.enqueue(&[record("more")]).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("the producer notices");
    mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
    timeout(PATIENCE, slow).await.expect("it is answered").unwrap().unwrap();
    until(&producer, Result::is_ok, UNAVAILABLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_without_an_offset_is_looked_up_on_the_log() {
    let mock = mock();
    let config = config(&mock);
    let first: BaseProducer = config.client().create().unwrap();
    for value in ["other", "twice", "other"] {
        first.send(BaseRecord::to(TOPIC).partition(0).key("k").payload(value)).unwrap();
    }
    rdkafka::producer::Producer::flush(&first, PATIENCE).unwrap();
    let producer = start(&config);
    let duplicate = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER];
    mock.request_errors(RDKafkaApiKey::Produce, &duplicate);
    assert_eq!(append(&producer, "twice").await.unwrap()[0].offset, Offset(1));
    mock.request_errors(RDKafkaApiKey::Produce, &duplicate);
    let never = append(&producer, "nowhere").await;
    assert!(matches!(never, Err(Error::Unknown { .. })), "{never:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once_and_takes_again_what_fits() {
    let mock = mock();
    let config = Config { queue_bytes_max: 1000, ..config(&mock) };
    let producer = start(&config);
    append(&producer, "before").await.unwrap();
    mock.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    let value = "v".repeat(600);
    let taken = producer.enqueue(&[record(&value)]).unwrap();
    let full = producer.enqueue(&[record(&value)]);
    assert!(matches!(full, Err(Error::Backpressure { max: 1000, .. })), "{full:?}");
    let never = producer.enqueue(&[record(&value), record(&value)]);
    assert!(matches!(never, Err(Error::TooLarge { max: 1000, .. })), "{never:?}");
    timeout(PATIENCE, taken).await.expect("it is answered").unwrap().unwrap();
    until(&producer, Result::is_ok, |error| matches!(error, Error::Backpressure { .. })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_what_was_taken() {
    let mock = mock();
    let producer = start(&config(&mock));
    append(&producer, "before").await.unwrap();
    mock.broker_round_trip_time(1, Duration::from_millis(500)).unwrap();
    let taken = producer.enqueue(&[record("last")]).unwrap();
    let producer = tokio::task::spawn_blocking(move || {
        producer.close();
        producer
    });
    let producer = producer.await.unwrap();
    assert_eq!(taken.await.unwrap().unwrap()[0].offset, Offset(1));
    assert!(matches!(append(&producer, "late").await, Err(Error::Unavailable { .. })));
}
