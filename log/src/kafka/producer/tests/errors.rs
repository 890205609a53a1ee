//! What brokers may answer to a record besides an ack, one by one, and producers that die young.
//!
//! The mock cluster appends nothing where it answers with an error, so a call that is acked has its record once.

use RDKafkaRespErr as Code;

use super::*;

const UNKNOWN_OR_UNAVAILABLE: fn(&Error) -> bool =
    |error| matches!(error, Error::Unknown { .. } | Error::Unavailable { .. });

/// How a call ends whose record meets the error, and how many producers die of it; the next call is acked.
async fn meets(error: Code) -> (Result<Vec<Ack>, Error>, u64) {
    let mock = mock();
    let producer = start(&config(&mock));
    append(&producer, "before").await.unwrap();
    mock.request_errors(RDKafkaApiKey::Produce, &[error]);
    let answer = append(&producer, "in flight").await;
    until(&producer, Result::is_ok, UNAVAILABLE).await;
    assert_eq!(producer.shut(), None);
    (answer, producer.failures())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_passes_is_tried_again_and_acked() {
    for error in [
        Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    ] {
        let (answer, dead) = meets(error).await;
        assert_eq!((answer.unwrap()[0].offset, dead), (Offset(1), 0), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_stays_is_unknown_and_the_producer_goes_on() {
    for error in [
        Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN,
    ] {
        let (answer, dead) = meets(error).await;
        assert!(matches!(answer, Err(Error::Unknown { .. })), "{error:?}: {answer:?}");
        assert_eq!(dead, 0, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_time_is_over_is_unknown_and_the_producer_goes_on() {
    let mock = mock();
    let mut config = config(&mock);
    config.properties.insert("delivery.timeout.ms".to_owned(), "1000".to_owned());
    let producer = start(&config);
    append(&producer, "before").await.unwrap();
    mock.broker_round_trip_time(1, Duration::from_secs(3)).unwrap();
    let late = append(&producer, "late").await;
    assert!(matches!(late, Err(Error::Unknown { .. })), "{late:?}");
    mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
    until(&producer, Result::is_ok, UNKNOWN_OR_UNAVAILABLE).await;
    assert_eq!(producer.failures(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_dies_takes_every_call_in_flight_with_it() {
    let mock = mock();
    let producer = start(&config(&mock));
    append(&producer, "before").await.unwrap();
    mock.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    let error = Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    mock.request_errors(RDKafkaApiKey::Produce, &[error; 5]);
    let calls: Vec<_> =
        (0..50).map(|n| producer.enqueue(&[record(&format!("in flight {n}"))]).unwrap()).collect();
    for call in calls {
        let answer = timeout(PATIENCE, call).await.expect("every call is answered").unwrap();
        assert!(matches!(answer, Err(Error::Unknown { .. })), "{answer:?}");
    }
    assert_eq!(producer.queued_bytes(), 0);
    mock.clear_request_errors(RDKafkaApiKey::Produce);
    mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
    until(&producer, Result::is_ok, UNKNOWN_OR_UNAVAILABLE).await;
    assert!(producer.failures() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_producers_die_at_once_the_log_is_shut_and_says_so() {
    let mock = mock();
    let error = Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::InitProducerId, &[error; 3]);
    let producer = start(&config(&mock));
    let dead = async {
        while producer.shut() != Some(Shut { reason: DEAD, dead: true }) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, dead).await.expect("it dies");
    let refused = producer.enqueue(&[record("none")]);
    assert!(matches!(refused, Err(Error::Unavailable { reason: DEAD, .. })), "{refused:?}");
    until(&producer, Result::is_ok, UNKNOWN_OR_UNAVAILABLE).await;
    assert_eq!((producer.failures(), producer.shut()), (3, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_finds_no_broker_for_long_is_made_anew_and_stays_shut_until_it_does() {
    let mock = mock();
    let mut config = config(&mock);
    config.properties.insert("delivery.timeout.ms".to_owned(), "1000".to_owned());
    let producer = start(&config);
    append(&producer, "before").await.unwrap();
    let live = || producer.shared.live.read().unwrap().as_ref().map(|live| Arc::as_ptr(&live.calls));
    let first = live();
    mock.broker_down(1).unwrap();
    let replaced = async {
        while live() == first {
            let _refused_or_unknown = append(&producer, "down").await;
        }
    };
    timeout(PATIENCE * 2, replaced).await.expect("it is made anew");
    assert_eq!(producer.shut(), Some(Shut { reason: DOWN, dead: false }));
    assert_eq!(producer.queued_bytes(), 0);
    mock.broker_up(1).unwrap();
    until(&producer, Result::is_ok, UNKNOWN_OR_UNAVAILABLE).await;
    assert_eq!(producer.failures(), 0);
}
