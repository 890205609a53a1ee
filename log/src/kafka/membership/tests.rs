//! A group's bad days, on librdkafka's mock cluster.

use rdkafka::{
    mocking::{MockCluster, MockCoordinator},
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::time::timeout;

use super::*;

const TOPIC: &str = "test.mutations.1";
const PARTITIONS: usize = 4;
const PATIENCE: Duration = Duration::from_mins(1);

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock() -> Mock {
    let mock = MockCluster::new(2).unwrap();
    mock.create_topic(TOPIC, 4, 1).unwrap();
    mock
}

fn join(mock: &Mock) -> Membership {
    Membership::join(&Config::new(mock.bootstrap_servers(), "test"), "writers", TOPIC)
}

async fn has(member: &Membership, partitions: usize) {
    let mut assigned = member.assigned();
    let given = timeout(PATIENCE, assigned.wait_for(|set| set.len() == partitions)).await;
    given.expect("the group gives it").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_cannot_be_found_is_looked_for_until_it_is() {
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
    ] {
        let mock = mock();
        mock.request_errors(RDKafkaApiKey::FindCoordinator, &[error; 3]);
        let member = join(&mock);
        has(&member, PARTITIONS).await;
        member.leave().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_moves_is_followed() {
    let mock = mock();
    mock.coordinator(MockCoordinator::Group("test.writers".to_owned()), 1).unwrap();
    let first = join(&mock);
    has(&first, PARTITIONS).await;
    mock.coordinator(MockCoordinator::Group("test.writers".to_owned()), 2).unwrap();
    let second = join(&mock);
    has(&second, PARTITIONS / 2).await;
    has(&first, PARTITIONS / 2).await;
    second.leave().await.unwrap();
    has(&first, PARTITIONS).await;
    first.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stands_aside_leaves_its_partitions_to_others_until_it_comes_back() {
    let mock = mock();
    let [first, second] = [(); 2].map(|()| join(&mock));
    has(&first, PARTITIONS / 2).await;
    first.stand_aside();
    has(&second, PARTITIONS).await;
    assert!(first.assigned().borrow().is_empty(), "another has what it should have given up");
    first.come_back();
    has(&first, PARTITIONS / 2).await;
    has(&second, PARTITIONS / 2).await;
    // One that stands aside can be told to leave, too.
    first.stand_aside();
    for member in [first, second] {
        member.leave().await.unwrap();
    }
}
