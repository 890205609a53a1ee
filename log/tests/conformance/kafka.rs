//! Kafka passes the suite, and keeps the promises that only it has to make.

mod budget;
mod checks;
mod ends;
mod foreign;
mod outcomes;
mod remade;
mod transactions;

use std::time::Duration;

use millpond_log::{
    Error, Log,
    kafka::{Cluster, Config, Topics},
};
use millpond_schemas::{Generation, Offset, PartitionId, Received};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    config::FromClientConfig,
};
use tokio::time::timeout;

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// The broker that the tests share.
fn brokers() -> String {
    std::env::var("MILLPOND_TEST_KAFKA").expect(
        "MILLPOND_TEST_KAFKA is not set: run it with tests/run.sh or `tests/stack engines -- cargo test …`",
    )
}

/// Topics of its own, not yet made.
fn config() -> Config {
    let prefix = format!("test-{:016x}", rand::random::<u64>());
    println!("prefix {prefix}");
    let mut config = Config { dev: true, ..Config::new(brokers(), prefix) };
    // The suite seeks hundreds of times, and each waits for the fetch that is under way.
    config.properties.insert("fetch.wait.max.ms".to_owned(), "5".to_owned());
    config
}

/// A cluster with topics of its own.
async fn cluster() -> Cluster {
    let cluster = Cluster::connect(config()).unwrap();
    assert_eq!(cluster.init(&topics()).await.unwrap().mismatches, []);
    cluster
}

/// Topics with values of up to 2 MiB.
fn topics() -> Topics {
    Topics { generation: Generation::FIRST, partitions: super::PARTITIONS, value_bytes_max: 2 << 20 }
}

async fn open() -> (Log, Cluster) {
    let cluster = cluster().await;
    (cluster.mutations(Generation::FIRST).await.unwrap(), cluster)
}

/// A client of another program.
fn foreign<T: FromClientConfig>(properties: &[(&str, &str)]) -> T {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers());
    properties.iter().fold(&mut config, |config, (name, value)| config.set(*name, *value)).create().unwrap()
}

/// An operator's tool.
fn admin() -> (AdminClient<DefaultClientContext>, AdminOptions) {
    (foreign(&[]), AdminOptions::new().operation_timeout(Some(PATIENCE)))
}

/// Reads from an offset until the place to read on is `to`. No doubt may arise on the way.
async fn read_to(log: &Log, partition: u32, from: i64, to: i64) -> Vec<Received> {
    let (mut changes, mut next, mut all) = (log.changes(), Offset(from), Vec::new());
    let reading = async {
        while next < Offset(to) {
            let read = log.read(PartitionId(partition), next, 1 << 20).await.unwrap();
            if read.next == next {
                changes.changed().await.unwrap();
            }
            next = read.next;
            all.extend(read.records);
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("the reader gets from {from} to {to}"));
    assert_eq!(next, Offset(to));
    all
}

/// Reads at an offset until the answer satisfies.
async fn read_until<T>(
    log: &Log,
    from: i64,
    satisfies: impl Fn(Result<Vec<Received>, Error>) -> Option<T>,
) -> T {
    let trying = async {
        loop {
            let read = log.read(PartitionId(0), Offset(from), 1 << 20).await.map(|read| read.records);
            if let Some(found) = satisfies(read) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, trying).await.expect("a read is answered so")
}

crate::conformance! { open:
    an_appended_record_is_read_back
    one_call_spans_partitions_and_is_acked_in_its_order
    a_call_without_records_is_acked
    every_byte_comes_back
    a_read_starts_at_any_offset_and_keeps_to_its_bound
    a_large_record_is_read_whole
    a_record_that_can_never_fit_is_refused_and_harms_nothing
    a_read_outside_the_log_is_told_its_bounds
    one_record_is_read_by_its_offset
    times_never_go_back_and_are_those_of_the_acks
    concurrent_callers_each_keep_their_order
    what_nobody_waits_for_is_appended_all_the_same
    a_reader_at_the_end_is_woken
    a_trim_keeps_what_is_at_the_floor_and_no_offset_is_issued_twice
    what_it_calls_older_is_older
    its_extent_is_what_lies_from_an_offset_on
    closing_finishes_what_was_taken_and_takes_no_more
}
